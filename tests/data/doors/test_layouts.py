"""Folders as tools lay them: Roboflow's splits, COCO files by subset, VOC's lists, masks with a labelmap."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from door_files import HEIGHT, WIDTH, dump, labels_of, mask_of, photographs, plan, write
from helpers import COLOURS
from PIL import Image

from dsrg.data.prepare import write_set
from dsrg.data.voc import VocFolder
from dsrg.errors import InputError
from dsrg.labels import palette

# pycocotools 2 with NumPy 2, at each decoding
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def coco(names: list[str], categories: list[str], used: list[int], **info: Any) -> dict[str, Any]:
    """Photograph k shows an object of category used[k]."""
    square = [[1, 1, 6, 1, 6, 6, 1, 6]]
    return {
        "info": info,
        "images": [{"id": k, "file_name": name, "width": WIDTH, "height": HEIGHT} for k, name in enumerate(names)],
        "categories": [{"id": k, "name": name} for k, name in enumerate(categories)],
        "annotations": [{"id": k, "image_id": k, "category_id": c, "segmentation": square} for k, c in enumerate(used)],
    }


def test_roboflow_s_splits_are_joined(tmp_path: Path) -> None:
    """The root category, of which nothing is, may have a class's name; a split may lack a class."""
    names = ["animals", "cat", "dog", "cat"]
    for split, files, used in (("train", "ab", [1, 2]), ("valid", "c", [2]), ("test", "d", [2])):
        files_of = [f"{name}_jpg.rf.0123456789abcdef0123456789abcdef.jpg" for name in files]
        photographs(tmp_path / split, *files_of)
        dump(tmp_path / split / "_annotations.coco.json", coco(files_of, names, used))
    write(tmp_path / "README.roboflow.txt", "x")
    made = plan(tmp_path)
    assert made.classes == ("background", "cat", "dog")
    assert {key: len(ids) for key, ids in made.splits.items()} == {"train": 2, "val": 1, "test": 1}
    assert made.notes[0] == f"{tmp_path}: read as Roboflow's COCO."
    for item in made.items:
        mask = mask_of(made, item.id)
        assert set(np.unique(mask)) == {0, made.classes.index(item.labels[0])}
    write_set(tmp_path / "set", made)
    assert len(VocFolder(tmp_path / "set").photos("train")) == 2


def test_roboflow_s_csv(tmp_path: Path) -> None:
    for split, rows in (("train", "a.jpg, 0, 1, 1\nb.jpg, 0, 0, 1\n"), ("valid", "c.jpg, 0, 1, 0\nd.jpg, 1, 0, 0\n")):
        photographs(tmp_path / split, *(row.split(",")[0] for row in rows.splitlines()))
        write(tmp_path / split / "_classes.csv", "filename, Unlabeled, cat, dog\n" + rows)
    with pytest.raises(InputError, match=r"1 of 4 photographs have no label in .*: valid/d\.jpg"):
        plan(tmp_path)
    made = plan(tmp_path, unlabelled="leave-out")
    assert labels_of(made) == {"a": {"cat", "dog"}, "b": {"dog"}, "c": {"cat"}}
    assert made.splits == {"train": ["a", "b"], "val": ["c"]}


def test_roboflow_s_masks(tmp_path: Path) -> None:
    photographs(tmp_path / "train", "a.jpg", "b.jpg")
    write(tmp_path / "train/_classes.csv", "Pixel Value, Class\n0, background\n1, road\n2, tree\n3, wall")
    for name, value in (("a", 3), ("b", 1)):
        Image.fromarray(np.full((HEIGHT, WIDTH), value, np.uint8)).save(tmp_path / f"train/{name}_mask.png")
    made = plan(tmp_path)
    assert made.classes == ("background", "road", "wall")
    assert labels_of(made) == {"a": {"wall"}, "b": {"road"}}
    assert (mask_of(made, "a") == 2).all()


def test_several_subsets_of_cvat(tmp_path: Path) -> None:
    for used, (split, name) in enumerate((("Train", "a"), ("Validation", "b"))):
        photographs(tmp_path / "images" / split, f"{name}.jpg")
        dump(tmp_path / f"annotations/instances_{split}.json", coco([f"{name}.jpg"], ["cat", "dog", "cow"], [used]))
    photographs(tmp_path / "images", "more.jpg")
    made = plan(tmp_path)
    assert made.splits == {"train": ["a"], "val": ["b"]}
    assert made.classes == ("background", "cat", "dog")
    assert f"{tmp_path}: no object is of the categories 'cow', which are no classes then." in made.notes
    assert f"{tmp_path}: 1 photographs are listed in none of the files and were left out." in made.notes
    assert not any("are no photographs" in note for note in made.notes)  # the files themselves


def test_a_labelmap_without_colours_has_voc_s(tmp_path: Path) -> None:
    """As Datumaro writes it for labels without a colour."""
    photographs(tmp_path / "JPEGImages", "a.jpg", "b.jpg")
    write(tmp_path / "labelmap.txt", "# label:color_rgb:parts:actions\nbackground:::\ncat:::\ndog:::\n")
    (tmp_path / "SegmentationClass").mkdir()
    for index, name in enumerate("ab", 1):
        pixels = np.full((HEIGHT, WIDTH, 3), palette()[index], np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"SegmentationClass/{name}.png")
    assert labels_of(plan(tmp_path)) == {"a": {"cat"}, "b": {"dog"}}


@pytest.mark.parametrize("names", ["instances_{}2017", "instances_{}", "instances_pets-{}-1"])
def test_files_of_coco_with_a_split_in_their_names(tmp_path: Path, names: str) -> None:
    photographs(tmp_path, "train2017/a.jpg", "val2017/b.jpg")
    for split, name in (("train", "a.jpg"), ("val", "b.jpg")):
        dump(tmp_path / f"annotations/{names.format(split)}.json", coco([name], ["cat"], [0]))
    assert plan(tmp_path).splits == {"train": ["a"], "val": ["b"]}


def test_a_file_of_coco_without_a_split_beside_others_is_told(tmp_path: Path) -> None:
    photographs(tmp_path, "images/a.jpg", "images/b.jpg", "images/c.jpg")
    for split, name in (("train", "a.jpg"), ("val", "b.jpg"), ("more", "c.jpg")):
        dump(tmp_path / f"annotations/instances_{split}.json", coco([name], ["cat"], [0]))
    note = (
        f"{tmp_path}: 1 of 3 photographs are in no split, such as c.jpg; so the splits of the others were not followed."
    )
    assert note in plan(tmp_path).notes


@pytest.mark.parametrize("above", ["", "VOCdevkit/VOC2012/"])
def test_lists_of_voc_that_lie_deeper(tmp_path: Path, above: str) -> None:
    photographs(tmp_path / above / "JPEGImages", "a.jpg", "b.jpg", "c.jpg")
    for name in "abc":
        write(
            tmp_path / above / f"Annotations/{name}.xml",
            "<annotation><object><name>cat</name></object></annotation>",
        )
    write(tmp_path / above / "ImageSets/Main/train.txt", "b\nc\n")
    write(tmp_path / above / "ImageSets/Main/val.txt", "a\n")
    assert plan(tmp_path).splits == {"train": ["b", "c"], "val": ["a"]}
    write(tmp_path / above / "ImageSets/Main/val.txt", "")
    assert any("1 of 3 photographs are in no split, such as a.jpg" in note for note in plan(tmp_path).notes)


def test_lists_of_each_class_as_voc_has_them(tmp_path: Path) -> None:
    photographs(tmp_path / "JPEGImages", "a.jpg", "b.jpg", "c.jpg")
    lists = {"Train": "a\nb\n", "Test": "c\n", "cat_Train": "a  1\nb -1\n", "cat_Test": "c  0\n"}
    lists |= {"polar_bear_Train": "a  1\nb  1\n", "polar_bear_Test": "c -1\n", "background_Train": "a  1\n"}
    for name, text in lists.items():
        write(tmp_path / f"ImageSets/Main/{name}.txt", text)
    write(tmp_path / "labelmap.txt", "background:::\ncat:::\npolar_bear:::\n")
    made = plan(tmp_path)
    assert labels_of(made) == {"a": {"cat", "polar_bear"}, "b": {"polar_bear"}, "c": {"cat"}}
    assert made.splits == {"train": ["a", "b"], "val": ["c"], "test": ["c"]}
    write(tmp_path / "ImageSets/Main/cat_Train.txt", "a yes\n")
    with pytest.raises(InputError, match=r"cat_Train\.txt: line 1 is not '<photograph> <1, 0 or -1>'"):
        plan(tmp_path)


@pytest.mark.parametrize("palette", [False, True])
def test_colours_of_a_labelmap(tmp_path: Path, palette: bool) -> None:
    """Background is not first, void has VOC's colour; in colour, and with a palette of other numbers."""
    photographs(tmp_path / "JPEGImages", "a.jpg", "b.jpg")
    write(tmp_path / "labelmap.txt", "# label:color_rgb:parts:actions\ncat:9,8,7::\nbackground:0,0,0::\ndog:1,2,3::\n")
    colours = np.array([(0, 0, 0), (9, 8, 7), (224, 224, 192)], np.uint8)
    for name in "ab":
        pixels = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 3
        made = Image.fromarray(colours[pixels])
        if palette:
            made = Image.fromarray(pixels.astype(np.uint8))
            made.putpalette(colours.tobytes())
        (tmp_path / "SegmentationClass").mkdir(exist_ok=True)
        made.save(tmp_path / f"SegmentationClass/{name}.png")
    write(tmp_path / "ImageSets/Segmentation/train.txt", "a\n")
    write(tmp_path / "ImageSets/Segmentation/val.txt", "b\n")
    made_plan = plan(tmp_path)
    assert made_plan.classes == ("background", "cat")
    assert made_plan.splits == {"train": ["a"], "val": ["b"]}
    np.testing.assert_array_equal(mask_of(made_plan, "a"), np.array([0, 1, 255], np.uint8)[pixels])
    Image.fromarray(COLOURS[pixels]).save(tmp_path / "SegmentationClass/a.png")
    with pytest.raises(InputError, match=r"a\.png: holds the colour 20, 20, 20, which .*labelmap\.txt does not list"):
        plan(tmp_path)


def test_xml_of_voc_beside_its_photographs(tmp_path: Path) -> None:
    for split, name, label in (("train", "a", "cat"), ("train", "b", "dog"), ("valid", "c", "cat")):
        photographs(tmp_path / split, f"{name}.jpg")
        objects = f"<object><name>{label}</name></object>" * 2
        write(tmp_path / split / f"{name}.xml", f"<annotation>{objects}</annotation>")
    made = plan(tmp_path)
    assert labels_of(made) == {"a": {"cat"}, "b": {"dog"}, "c": {"cat"}}
    assert made.splits == {"train": ["a", "b"], "val": ["c"]}


@pytest.mark.parametrize("name", ["", "<name> </name>"])
@pytest.mark.parametrize("folder", ["", "Annotations/"])
def test_an_object_of_voc_without_a_name_is_refused_by_its_file(tmp_path: Path, folder: str, name: str) -> None:
    photographs(tmp_path / ("JPEGImages" if folder else ""), "a.jpg", "b.jpg")
    for stem, own in (("a", "<name>cat</name>"), ("b", name)):
        write(tmp_path / f"{folder}{stem}.xml", f"<annotation><object>{own}</object></annotation>")
    with pytest.raises(InputError, match=r"b\.xml: an object has no <name>; write its class there, or remove"):
        plan(tmp_path)


def test_annotations_beside_masks_are_of_the_photographs_in_images(tmp_path: Path) -> None:
    """As Oxford's pets lie: annotations/xmls/, annotations/trimaps/ and images/."""
    photographs(tmp_path, "images/a.jpg", "images/b.jpg", "annotations/trimaps/a.png", "annotations/trimaps/b.png")
    for name, label in (("a", "cat"), ("b", "dog")):
        objects = f"<object><name>{label}</name></object>"
        write(tmp_path / f"annotations/xmls/{name}.xml", f"<annotation>{objects}</annotation>")
    made = plan(tmp_path)
    assert labels_of(made) == {"a": {"cat"}, "b": {"dog"}}
    assert {item.photo.parent.name for item in made.items} == {"images"}


def test_masks_without_a_legend_are_refused(tmp_path: Path) -> None:
    photographs(tmp_path, "JPEGImages/a.jpg", "SegmentationClass/a.png")
    with pytest.raises(
        InputError, match=r"SegmentationClass: holds masks, and nothing says .* add CVAT's labelmap\.txt"
    ):
        plan(tmp_path)
