"""Annotations in COCO's format that are broken, hostile or of other photographs end in one sentence."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from coco_files import CATEGORIES, SQUARE, box, image, photo, plan_json, write

from dsrg.data.coco import plan_coco, read_instances
from dsrg.data.prepare import write_set
from dsrg.data.regions import paint
from dsrg.errors import InputError


def test_other_categories_than_coco_s_are_refused(tmp_path: Path) -> None:
    for split in ("train", "val"):
        photo(tmp_path / f"{split}2017/000000000001.jpg")
        rows = [{"image_id": 1, "category_id": 3, "segmentation": [box(0, 0, 9, 9)]}]
        write(tmp_path / f"annotations/instances_{split}2017.json", [image(1)], rows)
    with pytest.raises(InputError, match=r"its categories are not COCO's 80 \('cat' where 'person' .* --coco-json"):
        plan_coco(tmp_path, 2017)
    with pytest.raises(InputError, match=r"train2014: does not exist; unpack train2014\.zip"):
        plan_coco(tmp_path, 2014)
    (tmp_path / "annotations/instances_train2017.json").unlink()
    with pytest.raises(InputError, match=r"instances_train2017\.json: the annotation file does not exist"):
        plan_coco(tmp_path, 2017)


@pytest.mark.parametrize(
    ("images", "rows", "categories", "message"),
    [
        (
            [image(1)],
            [{**SQUARE, "image_id": 9}],
            CATEGORIES,
            r"\(annotation 1\): is of image 9, which 'images' does not",
        ),
        ([image(1)], [{**SQUARE, "image_id": "1"}], CATEGORIES, "has 'image_id' '1'; it must be a whole number"),
        ([image(1), image(1)], [SQUARE], CATEGORIES, "image 1 is listed twice"),
        (
            [image(1), image(2, "000000000001.jpg")],
            [SQUARE, {**SQUARE, "image_id": 2, "category_id": 7}],
            CATEGORIES,
            "two images are the photograph '000000000001.jpg', 1 and 2, and their labels or sizes differ",
        ),
        ([image(1, "ghost.jpg")], [SQUARE], CATEGORIES, r"ghost\.jpg: the photograph does not exist"),
        ([image(1, width=None)], [SQUARE], CATEGORIES, r"\(image 1\): has 'width' None"),
        ([image(1)], [{**SQUARE, "iscrowd": "0"}], CATEGORIES, r"\(annotation 1\): has 'iscrowd' '0'"),
        ([image(1)], [{**SQUARE, "image_id": [1]}], CATEGORIES, r"has 'image_id' \[1\]; it must be a whole number"),
        ([image(1)], [{**SQUARE, "segmentation": [[10**400] * 6]}], CATEGORIES, "has neither polygons nor"),
        (
            [image(1)],
            [{**SQUARE, "segmentation": [[0, 0, 40, 30] * 5000]}],
            CATEGORIES,
            "a polygon's outline is 400,000 pixels long",
        ),
        ([image(1, height=0)], [SQUARE], CATEGORIES, r"\(image 1\): is 40 x 0 pixels"),
        (
            [image(1)],
            [SQUARE, {**SQUARE, "category_id": 9}],
            [*CATEGORIES, {"id": 9, "name": "cat"}],
            "two categories have the name 'cat'",
        ),
        ([image(1)], [SQUARE], [*CATEGORIES, {"id": 3, "name": "dog"}], "category 3 is listed twice"),
        ([image(1)], [SQUARE], [{"id": 3}], r"\(a category\): has 'name' None; it must be a text"),
        (
            [image(1)],
            [SQUARE, {**SQUARE, "segmentation": []}],
            CATEGORIES,
            r"\(annotation 2\): has neither polygons nor",
        ),
        ([image(1)], [{**SQUARE, "segmentation": [["a"] * 6]}], CATEGORIES, "has neither polygons nor"),
        (
            [image(1)],
            [{**SQUARE, "segmentation": [[0, 0, 9, 9, 1e9, 3]]}],
            CATEGORIES,
            r"no list of x, y .* \(40 x 30\)",
        ),
        ([image(1)], [{**SQUARE, "segmentation": [[0, 0, 9, 9, 1, 3, 7]]}], CATEGORIES, "no list of x, y"),
        ([image(1)], [{**SQUARE, "segmentation": {"counts": [1]}}], CATEGORIES, "has no 'size' and 'counts'"),
        ([image(1)], [5], CATEGORIES, "holds no list 'annotations'"),
    ],
)
def test_broken_annotations_are_refused(
    tmp_path: Path, images: list[Any], rows: list[Any], categories: list[Any], message: str
) -> None:
    photo(tmp_path / "000000000001.jpg")
    path = tmp_path / "a.json"
    rows = [{"id": number, **row} if isinstance(row, dict) else row for number, row in enumerate(rows, 1)]
    path.write_text(json.dumps({"images": images, "annotations": rows, "categories": categories}))
    with pytest.raises(InputError, match=message):
        read_instances(path, tmp_path)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe{}", b"[]", b'{"images": [], "annotations": {}}'])
def test_what_is_no_annotation_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(
        InputError,
        match=r"a\.json: (the annotation file is not in UTF-8|not valid JSON|holds no list '(images|annotations)')",
    ):
        read_instances(path, tmp_path)


@pytest.mark.parametrize("size", [(60_000, 60_000), (41, 30), (2**40, 1)])
def test_sizes_are_compared_before_anything_is_painted(tmp_path: Path, size: tuple[int, int]) -> None:
    for number in (1, 2):
        photo(tmp_path / f"{number:012d}.jpg")
    rows = [{"image_id": number, "category_id": 3, "segmentation": [box(0, 0, 20, 30)]} for number in (1, 2)]
    images = [image(1), image(2, width=size[0], height=size[1])]
    plan = plan_json(write(tmp_path / "a.json", images, rows), val=0.5)
    tracemalloc.start()
    with pytest.raises(InputError, match=rf"photograph is 40 x 30 pixels, .* for {size[0]} x {size[1]}"):
        write_set(tmp_path / "set", plan, threads=1)
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()
    if size[0] > 41:
        with pytest.raises(InputError, match="more than a photograph may have"):
            paint([], size)


@pytest.mark.parametrize(
    "name",
    ["../000000000001.jpg", "/etc/passwd", "C:\\y.jpg", "a/../../y.jpg", "..\\y.jpg", "", " ", "a\0.jpg", "a\n.jpg"],
)
def test_a_photograph_outside_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    photo(tmp_path / "000000000001.jpg")
    photo(tmp_path / "photos/x.jpg")
    path = write(tmp_path / "a.json", [{**image(1), "file_name": name}], [SQUARE])
    with pytest.raises(
        InputError, match=r"a\.json \(image 1\): the photograph .* does not lie in .*photos; name it by"
    ):
        read_instances(path, tmp_path / "photos")


def test_deep_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"images": ' + "[" * 100_000)
    with pytest.raises(InputError, match=r"a\.json: is nested too deeply"):
        read_instances(path, tmp_path)


def test_a_photograph_with_too_many_objects_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dsrg.data.coco_objects.MOST_OBJECTS", 2)
    photo(tmp_path / "000000000001.jpg")
    with pytest.raises(InputError, match="image 1 has more than 2 objects"):
        read_instances(write(tmp_path / "a.json", [image(1)], [SQUARE] * 3), tmp_path)
