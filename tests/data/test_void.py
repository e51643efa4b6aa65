"""Labels that stand for void, such as LabelMe's '__ignore__', are no class, whichever door they come in by."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from door_files import HEIGHT, WIDTH, dump, labels_of, mask_of, photographs, plan, write

from dsrg.data.own import plan_own
from dsrg.errors import InputError

# pycocotools 2 with NumPy 2, at each decoding
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

LEFT, RIGHT = [[0, 0], [5, 0], [5, 7], [0, 7]], [[4, 0], [9, 0], [9, 7], [4, 7]]
NAMES = ("ignore", "__ignore__", "Void")


def as_labelme(folder: Path, name: str) -> None:
    for photo, labels in {"a": ("cat", name), "b": ("dog",), "c": (name,), "d": ("cat",)}.items():
        shapes = [{"label": label, "points": LEFT if label != name else RIGHT} for label in labels]
        dump(folder / f"{photo}.json", {"shapes": shapes, "imagePath": f"{photo}.jpg", "imageData": None})


def as_coco(folder: Path, name: str) -> None:
    rows: list[dict[str, Any]] = []
    for image, category in ((1, 1), (1, 3), (2, 2), (3, 3), (4, 1)):
        outline = [float(value) for point in (RIGHT if category == 3 else LEFT) for value in point]
        rows.append({"id": len(rows), "image_id": image, "category_id": category, "segmentation": [outline]})
    images = [{"id": number, "file_name": f"{photo}.jpg"} for number, photo in enumerate("abcd", 1)]
    categories = [{"id": number, "name": label} for number, label in enumerate(("cat", "dog", name), 1)]
    dump(folder / "instances.json", {"images": images, "annotations": rows, "categories": categories})


def as_cvat(folder: Path, name: str) -> None:
    images = ""
    for photo, labels in {"a": ("cat", name), "b": ("dog",), "c": (name,), "d": ("cat",)}.items():
        parts = ""
        for label in labels:
            points = ";".join(f"{x},{y}" for x, y in (LEFT if label != name else RIGHT))
            parts += f'<polygon label="{label}" points="{points}"/>'
        images += f'<image name="{photo}.jpg" width="{WIDTH}" height="{HEIGHT}">{parts}</image>'
    write(folder / "annotations.xml", f"<annotations>{images}</annotations>")


@pytest.mark.parametrize("name", (*NAMES, "no_label"))
@pytest.mark.parametrize("make", [as_labelme, as_coco, as_cvat])
def test_objects_that_are_void(tmp_path: Path, make: Any, name: str) -> None:
    photos = photographs(tmp_path, "a.jpg", "b.jpg", "c.jpg", "d.jpg")
    make(tmp_path, name)
    made = plan(photos)
    assert made.classes == ("background", "cat", "dog")
    assert labels_of(made) == {"a": {"cat"}, "b": {"dog"}, "d": {"cat"}}  # c shows nothing else
    mask = mask_of(made, "a")
    assert {*np.unique(mask[:7, :9]).tolist()} == {1, 255}
    assert (mask[:7, :4] == 1).all() and (mask[:7, 6:9] == 255).all()
    boxed = {item.id: item.annotation is not None for item in made.items}
    assert boxed == {"a": False, "b": True, "d": True}  # what is in no box is background, and void is not
    assert any(" objects have a label that stands for void" in note for note in made.notes)
    assert not any("without a box" in note for note in made.notes)  # every object has one


def test_a_void_object_hides_what_it_lies_on(tmp_path: Path) -> None:
    photos = photographs(tmp_path, "a.jpg", "b.jpg")
    outlines = [(1, [0, 0, 10, 0, 10, 8, 0, 8]), (2, [2, 2, 6, 2, 6, 6, 2, 6])]
    rows = [
        {"id": image * 10 + category, "image_id": image, "category_id": category, "segmentation": [outline]}
        for image in (1, 2)
        for category, outline in outlines
    ]
    images = [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}]
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "ignore"}]
    dump(tmp_path / "instances.json", {"images": images, "annotations": rows, "categories": categories})
    mask = mask_of(plan(photos), "a")
    assert (mask[2:6, 2:6] == 255).all() and (mask == 255).sum() == 16 and (mask == 1).sum() == 64


@pytest.mark.parametrize("name", NAMES)
def test_labels_of_photographs_that_are_void(tmp_path: Path, name: str) -> None:
    photos = photographs(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    table = write(tmp_path / "labels.csv", f"image,labels\na,cat;{name}\nb,dog\nc,{name}\n")
    with pytest.raises(InputError, match=r"1 of 3 photographs have no label in .*labels\.csv: c\.jpg"):
        plan_own(photos, table)
    made = plan_own(photos, table, unlabelled="leave-out")
    assert made.classes == ("background", "cat", "dog")
    assert f"{table}: '{name}' stands for what is not counted, and is no class." in made.notes


def test_boxes_that_are_void(tmp_path: Path) -> None:
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox>"
    photos = photographs(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    for photo, labels in {"a": ("cat", "ignore"), "b": ("dog",), "c": ("cat",)}.items():
        objects = "".join(f"<object><name>{label}</name>{box}</object>" for label in labels)
        write(tmp_path / f"{photo}.xml", f"<annotation>{objects}</annotation>")
    made = plan(photos)
    assert made.classes == ("background", "cat", "dog")
    assert {item.id: item.annotation is not None for item in made.items} == {"a": False, "b": True, "c": True}
    assert json.dumps(made.notes).count("1 objects have a label that stands for void") == 1
    assert "without a box" not in json.dumps(made.notes)
