"""Names of photographs from outside: whichever door they come in by, none leads out of a folder."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from coco_files import plan_json
from helpers import Tool, check_refusal, make_voc, write_mask_file
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dsrg.data.check import check_data
from dsrg.data.cues import read_list
from dsrg.data.ids import LONGEST, check_id, read_ids
from dsrg.data.own import plan_own
from dsrg.data.prepare import Item, Plan, name_ids, write_set
from dsrg.data.voc import VocFolder
from dsrg.data.voc_sbd import plan_voc
from dsrg.errors import InputError

BAD = [
    "../victim",
    "../../../victim",
    "..",
    ".",
    ".hidden",
    "a/b",
    "/etc/passwd",
    "a\\b",
    "C:x",
    "c:",
    "a\x1b[31mb",
    "a\x7fb",
    "nul",
    "CON.x",
    "com1",
    "x" * (LONGEST + 1),
    "ü" * (LONGEST // 2 + 1),
]


def of_split(root: Path, name: str) -> None:
    make_voc(root, {"train": ("a",), "val": ("c",)})
    (root / "ImageSets/Segmentation/train.txt").write_text(f"a\n{name}\n")
    VocFolder(root).photos("train")


def of_voc_list(root: Path, name: str) -> None:
    voc = make_voc(root / "VOCdevkit/VOC2012")
    (voc / "ImageSets/Segmentation/train.txt").write_text(f"a\n{name}\n")
    plan_voc(root, label_source="masks")


def of_sbd_list(root: Path, name: str) -> None:
    voc = make_voc(root / "VOCdevkit/VOC2012")
    sbd = root / "sbd"
    (sbd / "cls").mkdir(parents=True)
    for split in ("train", "val"):
        (sbd / f"{split}.txt").write_text(name)
    plan_voc(voc, sbd, label_source="masks")


def of_cues(root: Path, name: str) -> None:
    (root / "list.txt").write_text(f"a 0\n{name} 1\n")
    found = read_list(root / "list.txt")
    assert set(found) <= {"a", "b", "passwd", "victim"}, found  # of a path the name alone is taken
    raise InputError("names no folder")


def of_a_plan(root: Path, name: str) -> None:
    Image.new("RGB", (4, 3)).save(root / "a.jpg")
    items = [Item(name, root / "a.jpg", ("cat",), lambda: np.zeros((3, 4), np.uint8))]
    write_set(root / "x/y/set", Plan(("background", "cat"), items, {"train": [name]}, {}))


@pytest.mark.parametrize("door", [of_split, of_voc_list, of_sbd_list, of_cues, of_a_plan])
@pytest.mark.parametrize("name", BAD)
def test_no_door_takes_a_name_that_is_none(tmp_path: Path, door: Callable[[Path, str], None], name: str) -> None:
    root = tmp_path / "in"
    root.mkdir()
    with pytest.raises(InputError) as caught:
        door(root, name)
    assert "rename the photograph" in str(caught.value) or "outside its folder" in str(caught.value) or door is of_cues
    assert str(caught.value).isprintable()
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize(
    "name", ["a", "2007_000032", "x.y.z", "straße", "日本", "cat 1", "a'b", "com10", "null", "x" * LONGEST]
)
def test_other_names_are_taken(tmp_path: Path, name: str) -> None:
    assert check_id(name, "here") == name
    of_a_plan(tmp_path, name)
    assert (tmp_path / f"x/y/set/JPEGImages/{name}.jpg").is_file()


@given(st.text(st.characters(exclude_categories=()), max_size=300))
def test_a_name_that_is_taken_stays_in_its_folder_on_every_system(name: str) -> None:
    try:
        check_id(name, "here")
    except InputError as error:
        assert str(error).isprintable()
    else:
        assert str(Path(os.path.normpath(f"/data/{name}.jpeg")).parent) == "/data"
        assert len(os.fsencode(f".{name}.jpeg.tmp")) <= 255
        assert not set(name) & set("/\\\0\n\r")


@pytest.mark.parametrize("stem", ["aux", "a" * 250, "a\x07b", "a\udcffb"])
def test_photographs_of_ones_own_are_named_likewise(tmp_path: Path, stem: str) -> None:
    for name in ("cat/1", f"cat/{stem}"):
        path = tmp_path / f"{name}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 3), (len(name), 0, 0)).save(os.fsencode(path))
    with pytest.raises(InputError, match="rename the photograph"):
        plan_own(tmp_path)
    images = [{"id": k, "file_name": f"cat/{name}.jpg", "width": 4, "height": 3} for k, name in enumerate(("1", stem))]
    rows = [{"id": k, "image_id": k, "category_id": 1, "bbox": [0, 0, 1, 1]} for k in range(2)]
    content = {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "cat"}]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="rename the photograph|does not lie in"):
        plan_json(tmp_path / "a.json")
    with pytest.raises(InputError, match="rename the photograph"):
        name_ids([tmp_path / "cat" / f"{stem}.jpg"])


def test_check_data_tells_of_the_name_and_reads_the_rest(tmp_path: Path) -> None:
    root = make_voc(tmp_path / "set", labels={"a": "cat;traffic light", "b": "dog", "c": "dog"})
    (root / "ImageSets/Segmentation/train.txt").write_text("a\n../../victim\nb\n")
    result = check_data(VocFolder(root), "train", "val")
    assert [(fault.kind, fault.photo) for fault in result.faults] == [("name unusable", "../../victim")]
    assert result.splits["train"].photographs == 2


def test_a_hostile_archive_overwrites_nothing(tmp_path: Path, tool: Tool) -> None:
    voc = tmp_path / "a/VOCdevkit/VOC2012"
    for folder in ("JPEGImages", "SegmentationClass", "Annotations", "ImageSets/Segmentation"):
        (voc / folder).mkdir(parents=True)
    for name in ("v", "../../../victim"):
        Image.new("RGB", (16, 12)).save(voc / f"JPEGImages/{name}.jpg")
        write_mask_file(voc / f"SegmentationClass/{name}.png", np.ones((12, 16)))
        (voc / f"Annotations/{name}.xml").write_text("<annotation><object><name>cat</name></object></annotation>")
    (voc / "ImageSets/Segmentation/train.txt").write_text("../../../victim")
    (voc / "ImageSets/Segmentation/val.txt").write_text("v")
    for ending in ("xml", "png"):
        (tmp_path / "home/data").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"home/victim.{ending}").write_text("years of work")
    result = tool("prepare_data", "--voc", voc, "--root", tmp_path / "home/data/set", "--threads", "1")
    check_refusal(result, voc / "ImageSets/Segmentation/train.txt", "'../../../victim' holds a slash")
    assert all((tmp_path / f"home/victim.{ending}").read_text() == "years of work" for ending in ("xml", "png"))


def test_a_folder_of_the_set_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x/y/.set.partial").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "x/y/.set.partial/source.json").write_text('{"link": null}')
    (tmp_path / "x/y/.set.partial/JPEGImages").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="JPEGImages: is a link to another folder"):
        of_a_plan(tmp_path, "a")
    assert not any((tmp_path / "elsewhere").iterdir())


def test_two_photographs_of_one_name_are_refused(tmp_path: Path) -> None:
    Image.new("RGB", (4, 3)).save(tmp_path / "a.jpg")
    items = [Item(name, tmp_path / "a.jpg", ("cat",)) for name in ("a", "A")]
    with pytest.raises(InputError, match="another photograph has the name 'A' too"):
        write_set(tmp_path / "set", Plan(("background", "cat"), items, {"train": ["a"]}, {}))


def test_lists_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "list.txt").write_text("a\nb\nc\n")
    monkeypatch.setattr("dsrg.data.ids.MOST", 2)
    with pytest.raises(InputError, match="names 3 photographs, and 2 are the most"):
        read_ids(tmp_path / "list.txt", "list")
    monkeypatch.setattr("dsrg.data.ids.LARGEST_LIST", 5)
    with pytest.raises(InputError, match="a list may have"):
        read_ids(tmp_path / "list.txt", "list")
