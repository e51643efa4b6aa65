"""COCO's annotations become labels and masks that agree with pycocotools' own decoding."""

import contextlib
import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from coco_files import CATEGORIES, HEIGHT, WIDTH, box, image, photo, plan_json, runs, write
from helpers import Tool
from PIL import Image
from pycocotools import mask as rle_masks
from pycocotools.coco import COCO
from torchvision.models._meta import _COCO_CATEGORIES

from dsrg import labels
from dsrg.data.checked import check_files
from dsrg.data.coco import plan_coco, read_instances
from dsrg.data.coco_rows import unfolded
from dsrg.data.doors.recognise import Choice, plan_any
from dsrg.data.prepare import write_set
from dsrg.data.voc import VocFolder
from dsrg.errors import InputError
from dsrg.files.pictures import read_mask

# pycocotools 2 with NumPy 2, at each decoding
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
OFFICIAL = [
    {"id": number, "name": name}
    for number, name in enumerate(_COCO_CATEGORIES)
    if name not in ("__background__", "N/A")
]
"""The 80 categories with their ids of 1 to 90, as torchvision's detectors list them."""


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
    assert plan.notes == [
        f"{sample}: 1 of 3 photographs show no object and were left out.",
        f"{sample}: 2 of the objects are marked as crowds (iscrowd 1) and are void (255) in the masks; where they are "
        "single objects, give them iscrowd 0.",
    ]
    assert write_set(tmp_path / "set", plan) == []
    for number in (1, 2):
        mask = read_mask(tmp_path / f"set/SegmentationClass/{number:012d}.png", 3)
        np.testing.assert_array_equal(mask, naive_mask(sample, number, [3, 7]))
        assert Image.open(tmp_path / f"set/SegmentationClass/{number:012d}.png").mode == "P"
    assert set(np.unique(read_mask(tmp_path / "set/SegmentationClass/000000000001.png"))) == {0, 1, 2, 255}
    folder = VocFolder(tmp_path / "set")
    assert folder.has_masks(folder.photos("train") + folder.photos("val"))


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
    check_files(folder, photos, masks=folder.mask_dir)
    for position, one in enumerate(photos, 1):
        assert set(np.unique(read_mask(folder.mask_path(one)))) == {0, position}


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
    path = write(tmp_path / "a.json", [image(1), image(2)], rows, CATEGORIES[1:])
    plan = plan_json(path, val=0.5)  # photographs beside the file
    assert plan.notes == [f"{path}: no object has a segmentation, so there are no masks to measure with."]
    write_set(tmp_path / "set", plan)
    assert not (tmp_path / "set/SegmentationClass").exists()
    assert plan.counts == {"cat": 2}


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
    path = write(tmp_path / "a.json", [image(1, "batch\\x.jpg"), image(2, "y.jpg")], rows, CATEGORIES[1:])
    found = read_instances(path, tmp_path / "photos")
    assert [item.photo.name for item in found.items] == ["x.jpg", "y.jpg"]
    assert found.notes == [f"{tmp_path}/photos: 1 files are no photographs and were left out: list.txt."]


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


def test_objects_that_are_all_marked_as_crowds_are_objects(tmp_path: Path) -> None:
    """Tools that paint masks mark them iscrowd 1; a category whose every object is so has no crowds."""
    left, right = np.zeros((2, HEIGHT, WIDTH), np.uint8)
    left[:, :20], right[5:, 20:] = 1, 1
    photo(tmp_path / "000000000001.jpg")
    cats = [{"image_id": 1, "category_id": 3, "iscrowd": 1, "segmentation": runs(left)}]
    lights = [
        {"image_id": 1, "category_id": 7, "iscrowd": 1, "segmentation": runs(right)},
        {"image_id": 1, "category_id": 7, "segmentation": [box(25, 10, 30, 20)]},
    ]
    for rows, right_is in ((cats + lights[:1], 2), (cats + lights, 255)):
        path = write(tmp_path / "a.json", [image(1)], rows)
        found = read_instances(path, tmp_path)
        assert callable(found.items[0].mask)
        mask = found.items[0].mask()
        assert np.unique(mask[:, :20]).tolist() == [1]
        assert (mask[5:, 20:] == right_is).mean() > 0.89
        names = "cat', 'traffic light" if right_is == 2 else "cat"
        assert any(note.startswith(f"{path}: objects of '{names}' are marked as crowds") for note in found.notes)
        assert any("1 of the objects are marked as crowds" in note for note in found.notes) == (right_is == 255)


def test_a_size_that_the_file_leaves_open_is_the_photographs(tmp_path: Path) -> None:
    for number in (1, 2):
        photo(tmp_path / f"{number:012d}.jpg")
    rows = [{"image_id": 1, "category_id": 3, "segmentation": [box(0, 0, 20, 30)]}]
    images = [image(1, width=None, height=None), image(2, width=None, height=None)]
    found = read_instances(write(tmp_path / "a.json", images, rows), tmp_path)
    (item,) = found.items
    assert item.size == (WIDTH, HEIGHT)
    assert callable(item.mask)
    np.testing.assert_array_equal(item.mask(), np.repeat([[1] * 20 + [0] * 20], HEIGHT, 0))


def test_a_category_without_objects_is_no_class_for_any_door(tmp_path: Path, tool: Tool) -> None:
    for number in (1, 2):
        photo(tmp_path / f"{number:012d}.jpg")
    rows = [{"image_id": number, "category_id": 3, "segmentation": [box(0, 0, 20, 30)]} for number in (1, 2)]
    path = write(tmp_path / "a.json", [image(1), image(2)], rows, [{"id": 0, "name": "animals"}, *CATEGORIES])
    code, out, _ = tool("prepare_data", "--coco-json", path, "--root", tmp_path / "set")
    assert code == 0
    assert f"note: {path}: no object is of the categories 'animals', 'traffic light', which are no classes then." in out
    assert (tmp_path / "set/classes.txt").read_text() == "background\ncat\n"
    code, out, err = tool("check_data", "--root", tmp_path / "set")
    assert (code, err) == (0, "")


SIX = {
    "cvat": ("annotations/instances_default.json", "images"),
    "roboflow": ("_annotations.coco.json", "."),
    "min_crowd": ("annotations.json", "."),
    "min_null_width": ("result.json", "."),
    "labelstudio_up": ("result.json", "images"),
    "ls_real": ("COCO/result.json", "photos"),
}


@pytest.mark.parametrize("name", SIX)
def test_exports_of_other_tools_are_read(shared: Path, tmp_path: Path, name: str) -> None:
    file, photos = SIX[name]
    folder = shared / "cases/coco" / name
    plan = plan_any(folder / photos, folder / file, Choice(0.1, "stop", 1))
    animals = ("cat", "dog") if name.startswith("min") else ("cat", "cow", "dog", "horse", "person", "sheep")
    assert plan.classes == ("background", *animals)
    write_set(tmp_path / "set", plan)
    read = VocFolder(tmp_path / "set")
    for one in read.photos("train") + read.photos("val"):
        present = set(np.unique(read_mask(read.mask_path(one))).tolist())
        assert present - {0} == set(np.flatnonzero(one.tags)) - {0}  # and so no void: what is painted is no crowd
    tools = {"cvat": "CVAT", "roboflow": "Roboflow", "labelstudio_up": "Label Studio", "ls_real": "Label Studio"}
    if name in tools:
        assert plan.notes[0] == f"{folder / file}: read as {tools[name]}'s COCO."


def test_a_polygon_in_no_list_is_one_polygon_and_no_polygon_is_none(tmp_path: Path) -> None:
    for number in (1, 2):
        photo(tmp_path / f"{number:012d}.jpg")
    flat = [{"image_id": number, "category_id": 3, "segmentation": box(0, 0, 4, 4)} for number in (1, 2)]
    nested = [{**row, "segmentation": [row["segmentation"]]} for row in flat]
    masks = []
    for rows in (flat, nested):
        made = plan_json(write(tmp_path / "a.json", [image(1), image(2)], rows), val=0.5)
        assert callable(made.items[0].mask)
        masks.append(made.items[0].mask())
        told = [note for note in made.notes if "objects have their polygon as one list of numbers" in note]
        assert len(told) == (rows is flat)
    np.testing.assert_array_equal(*masks)
    assert (masks[0] == 1).sum() == 16
    for nothing in ([[]], [[1, 2, 3, 4]], [], None):
        rows = [{**row, "segmentation": nothing, "bbox": [1, 1, 5, 5]} for row in flat]
        made = plan_json(write(tmp_path / "a.json", [image(1), image(2)], rows), val=0.5)
        assert {item.mask for item in made.items} == {None}
        assert (
            f"{tmp_path / 'a.json'}: no object has a segmentation, so there are no masks to measure with." in made.notes
        )


def test_rows_that_need_no_unfolding_are_not_copied() -> None:
    nested = [{"segmentation": [box(0, 0, 4, 4)]}, {"segmentation": []}, {"segmentation": None}, {"bbox": [1, 1, 2, 2]}]
    found, notes = unfolded([*nested, {"segmentation": box(0, 0, 4, 4)}, {"segmentation": [[1, 2]]}], Path("a.json"))
    assert all(one is other for one, other in zip(found, nested, strict=False))
    assert found[4:] == [nested[0], nested[1]]
    assert len(notes) == 1 and notes[0].startswith("a.json: 1 objects have their polygon")


@pytest.mark.parametrize(
    ("row", "kind"),
    [({"segments_info": [], "file_name": "a.png"}, "panoptic segmentation"), ({"caption": "A cat."}, "captions")],
)
def test_coco_s_files_of_other_kinds_are_named(tmp_path: Path, row: dict[str, object], kind: str) -> None:
    photo(tmp_path / "a.jpg")
    path = write(tmp_path / "a.json", [image(1, "a.jpg")], [{"image_id": 1, **row}])
    with pytest.raises(InputError, match=rf"a\.json: is COCO's file of {kind}, which is not read; give that of instan"):
        plan_json(path)
