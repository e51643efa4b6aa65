"""YOLO's folders as Ultralytics, CVAT, Roboflow, LabelImg and Label Studio lay them: labels, boxes, masks, splits."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from helpers import save_photo
from PIL import Image

from dsrg.data.doors.recognise import Choice, plan_any
from dsrg.data.prepare import Plan
from dsrg.errors import InputError

# pycocotools 2 with NumPy 2, at each decoding
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
WIDTH, HEIGHT = 10, 8  # of `save_photo`
BOX, OUTLINE = "0 0.5 0.5 0.4 0.5", "1 0 0 0.5 0 0.5 1 0 1"
"""A cat at 3..7, 2..6; a dog on the left half."""
NAMES = "names: [cat, dog]\n"


def plan(photos: Path, labels: Path | None = None) -> Plan:
    return plan_any(photos, labels, Choice(0.4, "stop", 1))


def make(root: Path, files: dict[str, str]) -> Path:
    for colour, (name, text) in enumerate(files.items()):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".jpg"):
            save_photo(root / name, 20 * colour)
        else:
            (root / name).write_text(text)
    return root


ULTRALYTICS = {
    "images/train/a.jpg": "",
    "images/train/b.jpg": "",
    "images/val/c.jpg": "",
    "images/val/empty.jpg": "",
    "labels/train/a.txt": BOX,
    "labels/train/b.txt": OUTLINE,
    "labels/val/c.txt": f"{BOX}\n{OUTLINE}\n\n",
}
BESIDE = {
    "a.jpg": "",
    "a.txt": f"{BOX}\n",
    "b.jpg": "",
    "b.txt": OUTLINE,
    "c.jpg": "",
    "c.txt": f"{BOX}\r\n{OUTLINE}",
    "empty.jpg": "",
    "empty.txt": "",
}


@pytest.mark.parametrize(
    "files",
    [
        {**ULTRALYTICS, "data.yaml": f"path: ../sets/pets\ntrain: images/train\nval: images/val\nnc: 2\n{NAMES}"},
        {**ULTRALYTICS, "pets.yaml": "names:\n  0: cat\n  1: dog\n"},
        {
            **{
                name.replace("images/train", "train/images").replace("images/val", "valid/images"): text
                for name, text in ULTRALYTICS.items()
                if name.endswith(".jpg")
            },
            **{
                name.replace("labels/train", "train/labels").replace("labels/val", "valid/labels"): text
                for name, text in ULTRALYTICS.items()
                if name.endswith(".txt")
            },
            "data.yaml": f"train: ../train/images\nval: ../valid/images\n{NAMES}",
            "README.roboflow.txt": "Provided by a Roboflow user",
        },
        {**BESIDE, "classes.txt": "cat\ndog\n"},
        {**BESIDE, "_darknet.labels": "cat\ndog"},
        {
            **{f"obj_train_data/{name}": text for name, text in BESIDE.items()},
            "obj.names": "cat\ndog\n",
            "obj.data": "classes = 2\n",
            "train.txt": "data/obj_train_data/a.jpg\n",
        },
        {
            **{f"images/{name}" if name.endswith(".jpg") else f"labels/{name}": text for name, text in BESIDE.items()},
            "classes.txt": "cat\ndog\n",
            "notes.json": '{"categories": []}',
        },
    ],
)
def test_yolo_s_folders(tmp_path: Path, files: dict[str, str]) -> None:
    root = make(tmp_path, files)
    made = plan(root)
    assert made.classes == ("background", "cat", "dog")
    assert {item.id: set(item.labels) for item in made.items} == {"a": {"cat"}, "b": {"dog"}, "c": {"cat", "dog"}}
    assert made.notes[0] == f"{root}: read as YOLO."
    assert any("1 of 4 photographs show no object and were left out" in note for note in made.notes)
    if "data.yaml" in files or "pets.yaml" in files:
        assert made.splits == {"train": ["a", "b"], "val": ["c"]}
    mask = next(item.mask for item in made.items if item.id == "c")
    assert callable(mask)
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[:, :5] = 2
    expected[2:6, 5:7] = 255  # below outlines, for a box does not say which of its pixels are the cat's
    np.testing.assert_array_equal(mask(), expected)
    box = next(item.annotation for item in made.items if item.id == "a")
    assert callable(box)
    edges = ElementTree.fromstring(box()).find("object/bndbox")
    assert edges is not None
    assert [edge.text for edge in edges] == ["4", "3", "7", "6"]  # from 1, the last included


def test_splits_are_those_of_the_file_of_names(tmp_path: Path) -> None:
    files = {
        name.replace("/train/", "/first2017/").replace("/val/", "/other/"): text for name, text in ULTRALYTICS.items()
    }
    root = make(
        tmp_path, {**files, "data.yaml": f"train: /home/me/pets/images/first2017\nval: [images/other]\n{NAMES}"}
    )
    assert plan(root).splits == {"train": ["a", "b"], "val": ["c"]}


@pytest.mark.parametrize(
    "lists",
    [
        {
            "data.yaml": f"path: .\ntrain: train.txt\nval: C:\\\\pets\\\\val.txt\n{NAMES}",
            "train.txt": "./images/c.jpg\n./images/b.jpg\n",
            "val.txt": "./images/a.jpg\n",
        },
        {
            "obj.names": "cat\ndog\n",
            "obj.data": "train = data/train.txt\nvalid = data/valid.txt\n",
            "train.txt": "data/images/c.jpg\ndata/images/b.jpg\n",
            "valid.txt": "data/images/a.jpg\ndata/images/empty.jpg\n",
        },
    ],
)
def test_splits_are_those_of_lists(tmp_path: Path, lists: dict[str, str]) -> None:
    files = {f"{'images' if name.endswith('.jpg') else 'labels'}/{name}": text for name, text in BESIDE.items()}
    root = make(tmp_path, {**files, **lists})
    made = plan(root)
    assert made.splits == {"train": ["b", "c"], "val": ["a"]}
    assert not any("are no photographs" in note for note in made.notes)
    (root / "train.txt").write_text("images/c.jpg\nimages/b.jpg\nimages/a.jpg\n")
    with pytest.raises(
        InputError, match=r"\.txt: lists '.*images/a\.jpg', which is also in the list of 'train'; remove it"
    ):
        plan(root)
    (root / "train.txt").write_text("images/c.jpg\n")
    note = "1 of 3 photographs are in no split, such as b.jpg; so the splits of the others were not followed."
    assert any(said.endswith(note) for said in plan(root).notes)


def test_one_list_may_serve_as_val_and_test(tmp_path: Path) -> None:
    lists = {"train.txt": "b.jpg\nc.jpg\n", "val.txt": "a.jpg\n", "test.txt": "a.jpg\n"}
    root = make(tmp_path, {**BESIDE, **lists, "data.yaml": f"train: train.txt\nval: val.txt\ntest: test.txt\n{NAMES}"})
    assert plan(root).splits == {"train": ["b", "c"], "val": ["a"]}


def test_a_list_of_a_split_that_is_not_there_is_told(tmp_path: Path) -> None:
    root = make(tmp_path, {**BESIDE, "data.yaml": f"train: pets/train2017.txt\n{NAMES}"})
    note = f"{root / 'data.yaml'}: the list of a split that it names, 'pets/train2017.txt', does not exist."
    assert note in plan(root).notes


@pytest.mark.parametrize("given", ["labels", "data.yaml"])
def test_photographs_that_lie_elsewhere(tmp_path: Path, given: str) -> None:
    make(tmp_path / "photos", {name: "" for name in BESIDE if name.endswith(".jpg")})
    root = make(tmp_path, {f"labels/{name}": text for name, text in BESIDE.items() if name.endswith(".txt")})
    (root / "data.yaml").write_text(NAMES)
    made = plan(tmp_path / "photos", root / given)
    assert {item.id: set(item.labels) for item in made.items} == {"a": {"cat"}, "b": {"dog"}, "c": {"cat", "dog"}}


def test_a_turned_photograph_is_measured_upright(tmp_path: Path) -> None:
    root = make(tmp_path, {**BESIDE, "classes.txt": "cat\ndog\n"})
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (WIDTH, HEIGHT)).save(root / "b.jpg", exif=exif)
    item = next(item for item in plan(root).items if item.id == "b")
    assert item.size == (HEIGHT, WIDTH)


TURNED = "0 0.5 0.25 0.8 0.625 0.5 1 0.2 0.625"
"""A square that stands on its corner: 5, 2; 8, 5; 5, 8; 2, 5 in pixels."""


@pytest.mark.parametrize(
    ("texts", "boxes"),
    [((TURNED, BOX), True), ((TURNED, TURNED), True), ((TURNED, "1 0 0 0.5 0 0.5 1 0 0.5"), False)],
    ids=["with upright ones", "alone", "with an outline"],
)
def test_turned_boxes_are_no_outlines(tmp_path: Path, texts: tuple[str, str], boxes: bool) -> None:
    files = {"classes.txt": "cat\ndog\n", "a.jpg": "", "a.txt": texts[0], "b.jpg": "", "b.txt": texts[1]}
    made = plan(make(tmp_path, files))
    assert any("read as rotated boxes" in note for note in made.notes) == boxes
    assert all((item.mask is None) == boxes for item in made.items)
    first = made.items[0]
    assert callable(first.annotation)
    box = ElementTree.fromstring(first.annotation()).find("object/bndbox")
    assert box is not None
    assert [box.findtext(side) for side in ("xmin", "ymin", "xmax", "ymax")] == ["3", "3", "8", "8"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"b.txt": "2 0.5 0.5 0.1 0.1"}, r"b\.txt: object 1 is of class 2, which .*classes\.txt does not name; add it"),
        ({"b.txt": "0 5 5 2 2"}, r"b\.txt: object 1 has numbers beyond 0\.\.1"),
        ({"b.txt": "0 nan 0.5 0.2 0.2"}, r"b\.txt: object 1 has numbers beyond 0\.\.1"),
        ({"b.txt": "0 0.5 0.5 0.2 0.2 0.9"}, r"b\.txt: object 1 is '0 0\.5 .*', not 'class x y width height' or"),
        ({"b.txt": "cat 0.5 0.5 0.2 0.2"}, r"b\.txt: object 1 is 'cat 0\.5"),
        ({"b.txt": "0 0.5 0.5"}, r"b\.txt: object 1 is '0 0\.5 0\.5', not"),
        ({"lost.txt": BOX}, r"lost: the photograph does not exist, but .*lost\.txt names it"),
        ({"labels/a.txt": BOX}, r"labels/a\.txt: is of the photograph .*a\.jpg, as .*a\.txt is; remove one"),
        (
            {"classes.txt": None},
            r"has a \.txt for each photograph, as YOLO writes, and no file of names; add data\.yaml",
        ),
        ({"data.yaml": "names: 5"}, r"data\.yaml: has no list 'names'"),
        ({"data.yaml": "names: [cat\n"}, r"data\.yaml: not valid YAML"),
        ({"data.yaml": f"{NAMES}kpt_shape: [17, 3]\n"}, r"data\.yaml: is of key points \(kpt_shape\)"),
        ({"data.yaml": "names: [cat, cat]\n"}, r"data\.yaml: .*'cat'"),
    ],
)
def test_broken_folders_of_yolo_are_refused(tmp_path: Path, changes: dict[str, str | None], message: str) -> None:
    files = {**BESIDE, "classes.txt": "cat\ndog\n", **changes}
    root = make(tmp_path, {name: text for name, text in files.items() if text is not None})
    with pytest.raises(InputError, match=message):
        plan(root)


def test_captions_beside_photographs_are_not_taken_for_objects(tmp_path: Path) -> None:
    root = make(tmp_path, {"cat/a.jpg": "", "cat/a.txt": "a photo of a cat", "dog/b.jpg": "", "dog/b.txt": "3 dogs"})
    made = plan(root)
    assert {item.id: set(item.labels) for item in made.items} == {"a": {"cat"}, "b": {"dog"}}


def test_label_studio_s_files_without_the_photographs(tmp_path: Path) -> None:
    photos = make(tmp_path / "photos", {"a.jpg": "", "b.jpg": ""})
    texts = {"labels/1f2e3d4c-a.txt": BOX, "labels/0a1b2c3d-b.txt": OUTLINE, "classes.txt": "cat\ndog\n"}
    made = plan(photos, make(tmp_path / "export", texts))
    assert {item.id: item.labels for item in made.items} == {"a": ("cat",), "b": ("dog",)}
    assert any("2 photographs were found by the last part of their names, such as b.jpg" in note for note in made.notes)
