"""COCO's annotations become labels and masks that agree with pycocotools' own decoding."""

import contextlib
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as rle_masks
from pycocotools.coco import COCO
from torchvision.models._meta import _COCO_CATEGORIES

from dsrg import labels
from dsrg.data.coco import Region, paint, plan_coco, plan_json, read_instances, unpack_runs
from dsrg.data.prepare import write_set
from dsrg.data.voc import VocFolder
from dsrg.errors import InputError
from dsrg.files.pictures import read_mask

# pycocotools 2 with NumPy 2, at each decoding
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
WIDTH, HEIGHT = 40, 30
OFFICIAL = [
    {"id": number, "name": name}
    for number, name in enumerate(_COCO_CATEGORIES)
    if name not in ("__background__", "N/A")
]
"""The 80 categories with their ids of 1 to 90, as torchvision's detectors list them."""
CATEGORIES = [{"id": 7, "name": "traffic light"}, {"id": 3, "name": "cat"}]


def photo(path: Path, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (9, 99, 199)).save(path)
    return path


def image(number: int, name: str | None = None, **more: Any) -> dict[str, Any]:
    return {"id": number, "file_name": name or f"{number:012d}.jpg", "width": WIDTH, "height": HEIGHT, **more}


def box(left: float, top: float, right: float, bottom: float) -> list[float]:
    return [left, top, right, top, right, bottom, left, bottom]


def runs(mask: np.ndarray) -> dict[str, Any]:
    """An uncompressed run-length encoding, column by column, beginning with zeros, as COCO writes crowds."""
    flat = mask.ravel(order="F").astype(int)
    cuts = np.flatnonzero(np.diff(np.concatenate([[0], flat])))
    return {"size": list(mask.shape), "counts": np.diff(np.concatenate([[0], cuts, [flat.size]])).tolist()}


def write(
    path: Path, images: Sequence[Any], annotations: Sequence[Any], categories: Sequence[Any] = CATEGORIES
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"id": number, "iscrowd": 0, **row} for number, row in enumerate(annotations, 1)]
    path.write_text(json.dumps({"images": images, "annotations": rows, "categories": categories}))
    return path


def naive_mask(path: Path, number: int, categories: Sequence[int]) -> np.ndarray:
    """What pycocotools decodes, put together pixel by pixel: the smallest object, else a crowd, else background."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(path))
    found = [(row, coco.annToMask(row)) for row in coco.imgToAnns[number]]
    mask = np.zeros(found[0][1].shape, np.uint8)
    for pixel in np.ndindex(mask.shape):
        here = [(shown.sum(), -row["id"], row) for row, shown in found if shown[pixel]]
        objects = [one for one in here if not one[2]["iscrowd"]]
        if objects:
            mask[pixel] = 1 + categories.index(min(objects, key=lambda one: one[:2])[2]["category_id"])
        elif here:
            mask[pixel] = 255
    return mask


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """Every kind of segmentation in one photograph, a crowd alone in another, nothing in the third."""
    crowd = np.zeros((HEIGHT, WIDTH), np.uint8)
    crowd[2:20, 10:36] = 1
    small = np.zeros((HEIGHT, WIDTH), np.uint8)
    small[5:9, 4:30] = 1
    packed = rle_masks.encode(np.asfortranarray(small))
    annotations = [
        {"image_id": 1, "category_id": 3, "segmentation": [box(1.3, 2.2, 20.7, 25.5), [30, 3, 38, 3.5, 34, 20]]},
        {"image_id": 1, "category_id": 7, "segmentation": runs(crowd), "iscrowd": 1},
        {"image_id": 1, "category_id": 7, "segmentation": {**packed, "counts": packed["counts"].decode()}},
        {"image_id": 2, "category_id": 7, "segmentation": runs(crowd), "iscrowd": 1},
    ]
    for number in (1, 2, 3):
        photo(tmp_path / f"photos/{number:012d}.jpg")
    return write(tmp_path / "instances.json", [image(number) for number in (1, 2, 3)], annotations)


def test_masks_are_pycocotools_own(sample: Path, tmp_path: Path) -> None:
    plan = plan_json(sample, tmp_path / "photos", val=0.5)
    assert plan.classes == ("background", "cat", "traffic light")  # in the order of the ids
    assert {item.id: item.labels for item in plan.items} == {
        "000000000001": ("cat", "traffic light"),
        "000000000002": ("traffic light",),  # a crowd is a label too
    }
    assert plan.notes == [f"{sample}: 1 of 3 photographs show no object and were left out."]
    assert write_set(tmp_path / "set", plan) == []
    for number in (1, 2):
        mask = read_mask(tmp_path / f"set/SegmentationClass/{number:012d}.png", 3)
        np.testing.assert_array_equal(mask, naive_mask(sample, number, [3, 7]))
        assert Image.open(tmp_path / f"set/SegmentationClass/{number:012d}.png").mode == "P"
    assert set(np.unique(read_mask(tmp_path / "set/SegmentationClass/000000000001.png"))) == {0, 1, 2, 255}
    folder = VocFolder(tmp_path / "set")
    assert folder.has_masks(folder.photos("train") + folder.photos("val"))


coordinate = st.floats(0, WIDTH, width=32)
polygon = st.lists(st.tuples(coordinate, coordinate), min_size=3, max_size=6).map(
    lambda points: [min(value, HEIGHT) if k % 2 else value for k, value in enumerate(sum(points, ()))]
)
thing = st.tuples(st.sampled_from([3, 7]), st.booleans(), st.lists(polygon, min_size=1, max_size=3))


@given(st.lists(thing, min_size=1, max_size=5))
def test_any_polygons_are_painted_as_pycocotools_does(things: list[Any]) -> None:
    annotations = [
        {"id": k, "image_id": 1, "category_id": category, "iscrowd": int(crowd), "segmentation": polygons}
        for k, (category, crowd, polygons) in enumerate(things, 1)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {"images": [image(1)], "annotations": annotations, "categories": CATEGORIES}
        coco.createIndex()
    shown = np.stack([coco.annToMask(row) for row in annotations]).astype(bool)
    areas = np.where([crowd for _, crowd, _ in things], WIDTH * HEIGHT + 1, shown.sum((1, 2)))
    best = np.where(shown, areas[:, None, None], WIDTH * HEIGHT + 2)[::-1].argmin(0)  # of equal ones the later
    values = np.array([255 if crowd else {3: 1, 7: 2}[category] for category, crowd, _ in things])[::-1]
    regions = [
        Region(255 if crowd else {3: 1, 7: 2}[category], [np.array(one) for one in polygons])
        for category, crowd, polygons in things
    ]
    np.testing.assert_array_equal(paint(regions, (WIDTH, HEIGHT)), np.where(shown.any(0), values[best], 0))


@given(st.integers(1, 40), st.integers(1, 90), st.floats(0, 1), st.integers(0, 9))
def test_packed_run_lengths_are_unpacked(height: int, width: int, share: float, seed: int) -> None:
    mask = (np.random.default_rng(seed).random((height, width)) < share).astype(np.uint8)
    packed = rle_masks.encode(np.asfortranarray(mask))["counts"]
    assert unpack_runs(packed).tolist() == unpack_runs(packed.decode()).tolist() == runs(mask)["counts"]


@pytest.mark.parametrize("year", [2014, 2017])
@pytest.mark.parametrize("below", ["", "images/"])
def test_the_official_layout(tmp_path: Path, year: int, below: str) -> None:
    prefix = {2014: "COCO_{split}2014_", 2017: ""}[year]
    number = 0
    for split in ("train", "val"):
        images, annotations = [], []
        for category in OFFICIAL[:: 1 if split == "train" else 20]:
            number += 1
            name = f"{prefix.format(split=split)}{number:012d}.jpg"
            photo(tmp_path / f"{below}{split}{year}/{name}")
            images.append(image(number, name))
            annotations.append({"image_id": number, "category_id": category["id"], "segmentation": [box(0, 0, 9, 9)]})
        write(tmp_path / f"annotations/instances_{split}{year}.json", images, annotations, OFFICIAL)
    plan = plan_coco(tmp_path, year)
    assert plan.classes == labels.COCO
    assert len(plan.classes) == 81
    assert plan.notes == []
    assert [item.labels[0] for item in plan.items[:80]] == [str(category["name"]) for category in OFFICIAL]
    write_set(tmp_path / "set", plan, link="hard")
    folder = VocFolder(tmp_path / "set", classes="coco")
    photos = folder.photos("train")
    assert len(photos) == 80
    assert len(folder.photos("val")) == 4
    folder.check(photos, masks=folder.mask_dir)
    for position, one in enumerate(photos, 1):
        assert set(np.unique(read_mask(folder.mask_path(one)))) == {0, position}


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
    with pytest.raises(InputError, match=r"instances_train2017\.json: the annotations do not exist"):
        plan_coco(tmp_path, 2017)


def test_objects_without_a_polygon_are_void(tmp_path: Path) -> None:
    photo(tmp_path / "000000000001.jpg")
    rows = [
        {
            "image_id": 1,
            "category_id": 3,
            "segmentation": [box(0, 0, 4, 4), [1, 2, 3, 4]],
        },  # the second encloses nothing
        {"image_id": 1, "category_id": 7, "segmentation": [[1, 1, 5, 5]], "bbox": [10, 10, 5, 6]},
        {"image_id": 1, "category_id": 7, "bbox": [20, 10, 5, 6]},
    ]
    path = write(tmp_path / "a.json", [image(1)], rows)
    found = read_instances(path, tmp_path)
    assert found.notes == [
        f"{path}: 2 objects have no polygon of three points; their boxes are void (255) in the masks."
    ]
    assert callable(found.items[0].mask)
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[:4, :4] = 1
    expected[10:16, 10:15] = expected[10:16, 20:25] = 255
    np.testing.assert_array_equal(found.items[0].mask(), expected)


def test_labels_alone_give_no_masks(tmp_path: Path) -> None:
    for number in (1, 2):
        photo(tmp_path / f"{number:012d}.jpg")
    rows = [{"image_id": number, "category_id": 3, "bbox": [1, 1, 5, 5]} for number in (1, 2)]
    path = write(tmp_path / "a.json", [image(1), image(2)], rows)
    plan = plan_json(path, val=0.5)  # photographs beside the file
    assert plan.notes == [f"{path}: no object has a segmentation, so there are no masks to measure with."]
    write_set(tmp_path / "set", plan)
    assert not (tmp_path / "set/SegmentationClass").exists()
    assert plan.counts == {"cat": 2, "traffic light": 0}


def test_categories_named_background_are_background(tmp_path: Path) -> None:
    photo(tmp_path / "000000000001.jpg")
    rows = [{"image_id": 1, "category_id": number, "segmentation": [box(0, 0, 4, 4)]} for number in (0, 3)]
    path = write(tmp_path / "a.json", [image(1)], rows, [{"id": 0, "name": "_background_"}, {"id": 3, "name": "cat"}])
    found = read_instances(path, tmp_path)
    assert dict(found.categories) == {3: "cat"}
    assert found.items[0].labels == ("cat",)
    assert found.notes == [f"{path}: 1 annotations are of no class (category 0) and count as background."]


def test_photographs_are_found_in_sub_folders_and_others_are_named(tmp_path: Path) -> None:
    for name in ("batch/x.jpg", "y.jpg"):
        photo(tmp_path / "photos" / name)
    (tmp_path / "photos/list.txt").touch()
    rows = [{"image_id": number, "category_id": 3, "segmentation": [box(0, 0, 4, 4)]} for number in (1, 2)]
    path = write(tmp_path / "a.json", [image(1, "batch\\x.jpg"), image(2, "upload/y.jpg")], rows)
    with pytest.raises(InputError, match=r"photos/upload/y\.jpg: the photograph does not exist"):
        read_instances(path, tmp_path / "photos")
    path = write(tmp_path / "a.json", [image(1, "batch\\x.jpg"), image(2, "y.jpg")], rows)
    found = read_instances(path, tmp_path / "photos")
    assert [item.photo.name for item in found.items] == ["x.jpg", "y.jpg"]
    assert found.notes == [f"{tmp_path}/photos: 1 files are no photographs and were left out: list.txt."]


SQUARE = {"image_id": 1, "category_id": 3, "segmentation": [box(0, 0, 4, 4)]}


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
            [SQUARE, {**SQUARE, "image_id": 2}],
            CATEGORIES,
            "two images are the",
        ),
        ([image(1, "ghost.jpg")], [SQUARE], CATEGORIES, r"ghost\.jpg: the photograph does not exist"),
        ([image(1, width=None)], [SQUARE], CATEGORIES, r"\(image 1\): has 'width' None"),
        ([image(1, height=0)], [SQUARE], CATEGORIES, r"\(image 1\): is 40 x 0 pixels"),
        ([image(1)], [SQUARE], [*CATEGORIES, {"id": 9, "name": "cat"}], "two categories have the name 'cat'"),
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


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": [3, 3], "counts": [9]},
        {"size": [HEIGHT, WIDTH], "counts": [5]},
        {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH + 5, -5]},
        {"size": [HEIGHT, WIDTH], "counts": ["x"]},
        {"size": [HEIGHT, WIDTH], "counts": "zzzz"},
        {"size": [HEIGHT, WIDTH], "counts": "Pn20"},
        {"size": [HEIGHT, WIDTH], "counts": "PPPPPPPPPPPPPPPPP"},
        {"size": [HEIGHT, WIDTH], "counts": ""},
        {"size": [HEIGHT, WIDTH], "counts": "k\u00e4se"},
        {"size": [HEIGHT, WIDTH], "counts": None},
    ],
)
def test_broken_run_lengths_are_refused(segmentation: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"a\.json \(image 1\): a segmentation cannot be decoded"):
        paint([Region(1, segmentation)], (WIDTH, HEIGHT), "a.json (image 1)")


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe{}", b"[]", b'{"images": [], "annotations": {}}'])
def test_what_is_no_annotation_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.json: (not valid JSON|holds no list '(images|annotations)')"):
        read_instances(path, tmp_path)


def test_a_new_annotation_file_begins_the_set_anew(tmp_path: Path, sample: Path) -> None:
    first = plan_json(sample, tmp_path / "photos", val=0.5)
    os.utime(sample, (1, 1))
    second = plan_json(sample, tmp_path / "photos", val=0.5)
    assert first.source != second.source
    assert second.source == plan_json(sample, tmp_path / "photos", val=0.5).source


def test_a_photograph_of_another_size_is_refused(tmp_path: Path, sample: Path) -> None:
    photo(tmp_path / "photos/000000000002.jpg", (WIDTH + 1, HEIGHT))
    with pytest.raises(InputError, match=r"000000000002\.jpg: the photograph is 41 x 30 pixels, .* for 40 x 30"):
        write_set(tmp_path / "set", plan_json(sample, tmp_path / "photos", val=0.5))
