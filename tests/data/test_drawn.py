"""Boxes that other tools drew, in VOC XML, LabelMe's JSON and COCO's, become annotations of a data set."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_files import plan_json
from helpers import Tool, check_refusal
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from dsrg.data.annotations import document, read_boxes_for, read_drawn
from dsrg.data.doors.recognise import Choice, plan_any
from dsrg.data.drawn import annotations_in, coco_box
from dsrg.data.labelme import read_labelme
from dsrg.data.prepare import Plan, write_set
from dsrg.data.regions import Runs
from dsrg.data.voc import VocFolder
from dsrg.errors import InputError

WIDTH, HEIGHT = 20, 12
# pycocotools 2 with NumPy 2, at each decoding
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def plan(photos: Path, labels: Path | None = None, boxes: Path | None = None) -> Plan:
    return plan_any(photos, labels, Choice(0.4, "stop", 1, boxes))


def photo(path: Path, colour: int = 0, size: tuple[int, int] = (WIDTH, HEIGHT), turn: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size, (colour, 9, 9))
    exif = image.getexif()
    exif[0x0112] = turn
    image.save(path, exif=exif)
    return path


def xml(path: Path, *objects: tuple[str, Sequence[object]], head: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = []
    for name, edges in objects:
        box = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), edges, strict=True))
        parts.append(f"<object><name>{name}</name><bndbox>{box}</bndbox></object>")
    path.write_text(f"<annotation>{head}{''.join(parts)}</annotation>")
    return path


def labelme(path: Path, *shapes: dict[str, Any], **more: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"version": "5.5.0", "shapes": list(shapes), "imageData": None} | more))
    return path


def shape(label: str, points: object, kind: str = "rectangle", **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": kind} | more


def boxes_of(root: Path) -> dict[str, list[tuple[str, list[float]]]]:
    """Every annotation of a data set, by the reader of the stages."""
    folder, found = VocFolder(root), {}
    for own in [*folder.photos("train"), *folder.photos("val")]:
        path = folder.annotation_path(own)
        if path.exists():
            size = Image.open(own.path).size
            classes, boxes = read_boxes_for(path, size, folder.classes, own.path)
            names = [folder.classes.names[index] for index in classes]
            found[own.id] = list(zip(names, boxes.tolist(), strict=True))
    return found


def labels_of(root: Path) -> dict[str, list[str]]:
    folder = VocFolder(root)
    photos = [*folder.photos("train"), *folder.photos("val")]
    return {own.id: [folder.classes.names[index] for index in own.own] for own in photos}


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Photographs beside their annotations of both kinds; one of them has a row in a table alone."""
    for number, name in enumerate("abcd"):
        photo(tmp_path / f"mixed/{name}.jpg", 50 * number)
    xml(tmp_path / "mixed/a.xml", ("cat", (1, 2, 9, 8)), ("cat", (10, 1, 20, 12)))
    labelme(tmp_path / "mixed/b.json", shape("dog", [[9, 8], [2.5, 1.5]]), imagePath="b.jpg")
    xml(tmp_path / "mixed/c.xml", ("cat", (1, 1, 20, 12)), ("dog", (3, 3, 4, 4)))
    (tmp_path / "labels.csv").write_text("image,labels\nd,dog\na,cat\n")
    return tmp_path


def test_some_photographs_have_boxes_and_the_others_labels(mixed: Path, tool: Tool) -> None:
    arguments = ("--photos", mixed / "mixed", "--boxes", mixed / "mixed", "--labels", mixed / "labels.csv")
    code, out, err = tool("prepare_data", *arguments, "--root", mixed / "set")
    assert (code, err) == (0, "")
    assert "note: " not in out  # annotations are no files that were left out
    assert boxes_of(mixed / "set") == {
        "a": [("cat", [0, 1, 9, 8]), ("cat", [9, 0, 20, 12])],
        "b": [("dog", [2, 1, 10, 9])],  # as LabelMe fills a rectangle: both of its corners' pixels are in it
        "c": [("cat", [0, 0, 20, 12]), ("dog", [2, 2, 4, 4])],
    }
    assert labels_of(mixed / "set") == {"a": ["cat"], "b": ["dog"], "c": ["cat", "dog"], "d": ["dog"]}
    code, out, _ = tool("check-data", "--root", mixed / "set")
    assert code == 0
    assert "d.xml: the annotation does not exist, though others do" in out


def test_an_export_of_xml_needs_no_table(tmp_path: Path, tool: Tool) -> None:
    for number, name in enumerate("abc"):
        photo(tmp_path / f"photos/{name}.jpg", 50 * number)
        xml(tmp_path / f"photos/{name}.xml", ("cat", (1, 1, 5 + number, 5)), ("dog", (2, 2, 3, 3)))
    code, out, _ = tool("prepare_data", "--photos", tmp_path / "photos", "--root", tmp_path / "set")
    assert code == 0
    assert out.endswith(f"note: {tmp_path / 'photos'}: read as VOC's annotations.\n")
    found = boxes_of(tmp_path / "set")
    assert found["c"] == [("cat", [0, 0, 7, 5]), ("dog", [1, 1, 3, 3])]
    assert len(found) == 3
    # The XML may lie elsewhere, and then in Annotations/ too.
    (tmp_path / "else").mkdir()
    (tmp_path / "photos/a.xml").rename(tmp_path / "else/a.xml")
    (tmp_path / "photos/b.xml").rename(tmp_path / "else/b.xml")
    (tmp_path / "photos/c.xml").rename(tmp_path / "else/c.xml")
    write_set(tmp_path / "again", plan(tmp_path / "photos", tmp_path / "else"))
    assert boxes_of(tmp_path / "again") == found
    # What names objects and draws none gives labels, as ever.
    (tmp_path / "else/b.xml").write_text("<annotation><object><name>cat</name></object></annotation>")
    made = plan(tmp_path / "photos", tmp_path / "else")
    assert any("1 photographs have an object without a box, and so get no boxes at all." in n for n in made.notes)
    assert {item.id: item.annotation is None for item in made.items} == {"a": False, "b": True, "c": False}


def test_labelme_s_files_give_boxes_and_masks(tmp_path: Path, tool: Tool) -> None:
    for number, name in enumerate(("train/a", "train/b", "val/c", "val/d")):
        photo(tmp_path / f"{name}.jpg", 50 * number)
    labelme(tmp_path / "train/a.json", shape("dog", [[2, 2], [7, 2], [7, 6], [2, 6]], "polygon"), imagePath="a.jpg")
    labelme(tmp_path / "train/b.json", shape("cat", [[9, 8], [2.5, 1.5]]), imageWidth=WIDTH, imageHeight=HEIGHT)
    labelme(tmp_path / "val/c.json", shape("cat", [[3, 3], [5, 6]]), shape("dog", [[9, 9], [30, 30]]))
    labelme(tmp_path / "val/d.json")
    code, out, err = tool("prepare_data", "--photos", tmp_path, "--root", tmp_path / "set")
    assert (code, err) == (0, "")
    assert f"note: {tmp_path}: read as LabelMe's JSON.\n" in out
    assert "1 of 4 photographs show no object and were left out" in out
    assert "1 boxes reached beyond their photographs and end at the edge now" in out
    assert "are no photographs" not in out
    assert boxes_of(tmp_path / "set") == {
        "a": [("dog", [2, 2, 8, 7])],  # around the polygon that is the mask, as LabelMe fills it
        "b": [("cat", [2, 1, 10, 9])],
        "c": [("cat", [3, 3, 6, 7]), ("dog", [9, 9, 20, 12])],
    }
    folder = VocFolder(tmp_path / "set")
    assert folder.classes.names == ("background", "cat", "dog")
    assert [own.id for own in folder.photos("val")] == ["c"]
    mask = np.array(Image.open(tmp_path / "set/SegmentationClass/a.png"))
    assert mask[4, 4] == 2 and mask[0, 0] == 0
    assert np.array(Image.open(tmp_path / "set/SegmentationClass/b.png"))[5, 5] == 255  # a rectangle is no outline
    check_refusal(
        tool("prepare_data", "--photos", tmp_path, "--labels", tmp_path / "val/c.json", "--root", tmp_path / "x"),
        "c.json: is LabelMe's file of one photograph; give the folder that holds all",
    )


def test_folders_of_classes_label_the_photographs_without_boxes(tmp_path: Path) -> None:
    for number, name in enumerate(("cat/a.jpg", "cat/b.jpg", "dog/c.jpg")):
        photo(tmp_path / "photos" / name, 60 * number)
    xml(tmp_path / "boxes/a.xml", ("cat", (1, 1, 5, 5)), ("dog", (6, 6, 8, 8)))
    write_set(tmp_path / "set", plan(tmp_path / "photos", None, tmp_path / "boxes"))
    assert labels_of(tmp_path / "set") == {"a": ["cat", "dog"], "b": ["cat"], "c": ["dog"]}
    assert boxes_of(tmp_path / "set").keys() == {"a"}


def test_an_annotation_s_size_decides_on_turning(tmp_path: Path) -> None:
    size = "<size><width>{}</width><height>{}</height></size>"
    for name, head in (("a", size.format(HEIGHT, WIDTH)), ("b", size.format(WIDTH, HEIGHT)), ("c", size.format(0, 0))):
        photo(tmp_path / f"{name}.jpg", turn=6)
        xml(tmp_path / f"{name}.xml", ("cat", (1, 1, 5, 12)), head=head)
    write_set(tmp_path / "set", plan(tmp_path))
    sizes = {name: Image.open(tmp_path / f"set/JPEGImages/{name}.jpg").size for name in "abc"}
    assert sizes == {"a": (HEIGHT, WIDTH), "b": (WIDTH, HEIGHT), "c": (HEIGHT, WIDTH)}


def test_boxes_that_reach_beyond_are_cut_off_at_the_edge(tmp_path: Path) -> None:
    edges = [(0, 0, 20, 12), (-7, 3, 5, 99), (19.5, 11.5, 23, 12.4)]
    for number, box in enumerate(edges):
        photo(tmp_path / f"{number}.jpg")
        xml(tmp_path / f"{number}.xml", ("cat", box))
    made = plan(tmp_path)
    # Counting from 0 in place of 1 is no fault.
    assert f"{tmp_path}: 2 boxes reached beyond their photographs and end at the edge now." in made.notes
    write_set(tmp_path / "set", made)
    found = {name: boxes[0][1] for name, boxes in boxes_of(tmp_path / "set").items()}
    assert found == {"0": [0, 0, 20, 12], "1": [0, 2, 5, 12], "2": [18, 10, 20, 12]}


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        ([("cat", (21, 1, 25, 5))], r"a\.xml: the box of a 'cat' from 20, 0 to 25, 5 does not lie in its photograph"),
        ([("cat", (1, -9, 5, 0))], r"does not lie in its photograph, which is 20 x 12; correct it or remove it"),
        ([("cat", (5, 1, 1, 5))], r"a\.xml: the box 5, 1, 1, 5 of a 'cat' ends before it begins"),
        ([("cat", (1, 1, "nan", 5))], "ends before it begins"),
        ([("cat", (1, 1, "inf", 5))], "ends before it begins"),
        ([("cat", (1, 1, "", 5))], r"the box of a 'cat' is xmin, ymin, xmax, ymax = 1, 1, , 5; write four numbers"),
        ([("a;b", (1, 1, 5, 5))], "the class 'a;b' is empty or has a ';'"),
    ],
)
def test_wrong_boxes_are_refused(tmp_path: Path, objects: list[tuple[str, Sequence[object]]], message: str) -> None:
    for name in "ab":
        photo(tmp_path / f"{name}.jpg")
        xml(tmp_path / f"{name}.xml", *objects)
    with pytest.raises(InputError, match=message):
        plan(tmp_path)


def test_what_is_missing_or_contradicts_is_refused(mixed: Path, tool: Tool, tmp_path: Path) -> None:
    def refused(*named: object, boxes: Path = mixed / "mixed", labels: Path = mixed / "labels.csv") -> None:
        arguments = ("--photos", mixed / "mixed", "--boxes", boxes, "--labels", labels, "--root", tmp_path / "set")
        check_refusal(tool("prepare_data", *arguments), *named)

    refused("ghost: the folder of annotations does not exist; check --boxes", boxes=mixed / "ghost")
    (mixed / "empty").mkdir()
    refused("empty: holds no annotation, .xml of VOC's or .json of LabelMe's", boxes=mixed / "empty")
    refused("--boxes: the objects in", "have places of their own; leave it out", labels=mixed / "mixed")
    (mixed / "labels.csv").write_text("image,labels\nd,dog\na,cat dog\n")
    refused("a.xml: has no box of 'dog', which is a label of", "a.jpg")
    (mixed / "labels.csv").write_text("image,labels\na,cat\n")
    refused("1 of 4 photographs have no label in", "labels.csv: d.jpg")
    labelme(mixed / "mixed/a.json", shape("cat", [[1, 1], [5, 5]]))
    refused("a.xml: is of the photograph", "a.jpg, as", "a.json is; remove one of the two")
    (mixed / "mixed/a.json").rename(mixed / "mixed/e.json")
    refused("e: the photograph does not exist, but", "mixed names it")
    (mixed / "mixed/e.json").write_text('{"images": [], "annotations": []}')  # no file of LabelMe's
    (mixed / "labels.csv").write_text("image,labels\nd,dog\n")
    arguments = ("--photos", mixed / "mixed", "--boxes", mixed / "mixed", "--labels", mixed / "labels.csv", "--root")
    code, out, _ = tool("prepare_data", *arguments, tmp_path / "set")
    assert code == 0
    assert "mixed: 1 files are no photographs and were left out: e.json.\n" in out


def test_labelme_s_shapes_become_boxes(tmp_path: Path) -> None:
    path = labelme(
        tmp_path / "a.json",
        shape("cat", [[10, 20], [20, 30]]),
        shape("dog", [[3, 4], [8.9, 4], [5, 7.2]], "polygon"),
        shape("cow", [[10, 10], [13, 14]], "circle"),  # of a radius of five
        shape("pig", [[1, 1], [2, 1], [2, 2]], "polygon", group_id=3),
        shape("pig", [[7, 8], [9, 8], [9, 9]], "polygon", group_id=3),
        shape("pig", [[7, 8], [9, 9]], group_id=None),
        shape("hen", [[1, 2], [3, 4]], "mask", mask="..."),
        shape("owl", [[1, 2], [8, 2], [8, 4], [1, 4]]),  # as X-AnyLabeling has them
        shape("owl", [[5, 1], [9, 5], [5, 9], [1, 5]], "rotation", direction=0.8),
        imagePath="..\\photos\\a.jpg",
        imageWidth=40,
        imageHeight=50,
    )
    found = read_labelme(path)
    assert found.size == (40, 50)
    assert found.boxes is not None
    assert list(zip(found.names, found.boxes.tolist(), strict=True)) == [
        ("cat", [10, 20, 21, 31]),
        ("dog", [3, 4, 9, 8]),
        ("cow", [5, 5, 16, 16]),
        ("pig", [1, 1, 10, 10]),
        ("pig", [7, 8, 10, 10]),
        ("hen", [1, 2, 4, 5]),
        ("owl", [1, 2, 9, 5]),
        ("owl", [1, 1, 10, 10]),
    ]


@pytest.mark.parametrize(
    ("one", "message"),
    [
        (
            shape("cat", [[1, 1], [5, 5]], "line"),
            r"the 'cat', shape 0, is of the shape_type 'line' with 2 points and no",
        ),
        (shape("cat", [[1, 1]], "point"), "draw a rectangle, or remove it"),
        (shape("cat", [[1, 1], [2, 2]], "polygon"), "with 2 points and no box"),
        (shape("cat", [[1, 1], [2, 2], [3, 3]]), "'rectangle' with 3 points"),
        (shape("cat", [[1, 1], [2, "x"]]), "has no list of points x, y"),
        (shape("cat", [[1, 1], [2]]), "has no list of points x, y"),
        (shape("cat", [[1, 1], [2, 1e999]]), "has no list of points x, y"),
        (shape("cat", None), "has no list of points x, y"),
        (shape("cat", {"x": 1}), "has no list of points x, y"),
        (shape("cat", [[1, 1], [5, 5]], ["polygon"]), "is of the shape_type"),
        ({"points": [[1, 1], [2, 2]]}, "shape 0 has no label"),
        (shape(" ", [[1, 1], [2, 2]]), "shape 0 has no label"),
    ],
)
def test_shapes_that_are_no_box_are_refused(tmp_path: Path, one: dict[str, Any], message: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"shapes": [one]}).replace("Infinity", "1e999"))
    with pytest.raises(InputError, match=message) as refused:
        read_labelme(path)
    assert str(refused.value).startswith(f"{path}: ")


def test_a_file_whose_keys_were_sorted_is_labelme_s(tmp_path: Path) -> None:
    """The photograph within it comes before the shapes then."""
    path = labelme(tmp_path / "a.json", shape("cat", [[10, 20], [20, 30]]), imageData="A" * 50_000)
    path.write_text(json.dumps(json.loads(path.read_text()), sort_keys=True))
    assert annotations_in(tmp_path) == [path]


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    boxes = np.array([[0, 0, 20, 12], [3, 4, 4, 5]])
    path = tmp_path / "a.xml"
    path.write_bytes(document("a & b.jpg", (20, 12), ["traffic light", "<cat>"], boxes))
    found = read_drawn(path)
    assert (found.names, found.size) == (("traffic light", "<cat>"), (20, 12))
    assert "<filename>a &amp; b.jpg</filename>" in path.read_text()
    assert found.boxes is not None
    np.testing.assert_array_equal(found.boxes, boxes)


def coco(path: Path, *annotations: dict[str, Any], images: int = 2, **size: Any) -> Path:
    size = size or {"width": WIDTH, "height": HEIGHT}
    for number in range(images):
        photo(path.parent / f"{number}.jpg", 60 * number)
    rows = [{"id": number} | row for number, row in enumerate(annotations)]
    content = {
        "images": [{"id": number, "file_name": f"{number}.jpg"} | size for number in range(images)],
        "annotations": rows,
        "categories": [{"id": 5, "name": "cat"}, {"id": 2, "name": "dog"}],
    }
    path.write_text(json.dumps(content))
    return path


def row(image: int, category: int = 5, **more: Any) -> dict[str, Any]:
    return {"image_id": image, "category_id": category} | more


@pytest.mark.parametrize("size", [{}, {"width": None, "height": None}])
def test_coco_s_bounding_boxes_are_written(tmp_path: Path, size: dict[str, Any]) -> None:
    path = coco(
        tmp_path / "photos/a.json",
        row(0, bbox=[1, 2, 3.5, 4]),
        row(0, 2, bbox=[-3, 0, 50, 12.2]),
        row(1, bbox=[2, 2, 0, 0]),
        **size,
    )
    made = plan_json(path, val=0.5)
    assert made.notes == [
        f"{path}: no object has a segmentation, so there are no masks to measure with.",
        f"{path}: 1 boxes reached beyond their photographs and end at the edge now.",
    ]
    write_set(tmp_path / "set", made)
    assert boxes_of(tmp_path / "set") == {
        "0": [("cat", [1, 2, 5, 6]), ("dog", [0, 0, 20, 12])],
        "1": [("cat", [2, 2, 3, 3])],
    }


def test_coco_s_polygons_have_boxes_and_what_has_none_is_told(tmp_path: Path) -> None:
    runs = {"size": [HEIGHT, WIDTH], "counts": [10, 30, WIDTH * HEIGHT - 40]}
    path = coco(
        tmp_path / "photos/a.json",
        row(0, segmentation=[[1, 1, 6.5, 1, 6.5, 4, 1, 4], [8, 8, 9, 8, 9, 9]], bbox=[0, 0, 0, 0]),
        row(1, segmentation=runs),  # without a bbox: its photograph gets none
        row(1, segmentation=[[1, 1, 5, 1, 5, 5]]),
        row(2, segmentation=runs, bbox=[0, 0, 4, 12]),
        row(3, segmentation=runs, bbox="none"),
        row(4, segmentation=runs, bbox=[30, 0, 4, 12]),
        images=5,
    )
    made = plan_json(path, val=0.2)
    assert f"{path}: 3 photographs have an object without a box, and so get no boxes at all." in made.notes
    write_set(tmp_path / "set", made)
    assert boxes_of(tmp_path / "set") == {"0": [("cat", [1, 1, 9, 9])], "2": [("cat", [0, 0, 4, 12])]}


@pytest.mark.parametrize(
    ("bbox", "message"),
    [
        ([1, 2, 3], r"a\.json \(annotation 0\): its bbox is no x, y, width, height of a box"),
        ([1, 2, "x", 3], "its bbox is no x, y"),
        ([1, 2, -3, 3], "its bbox is no x, y"),
        ([1, 2, 1e999, 3], "its bbox is no x, y"),
        ("abcd", "its bbox is no x, y"),
        ([30, 2, 3, 3], r"a\.json \(image 0\): the box of a 'cat' from 30, 2 to 33, 5 does not lie in its photograph"),
    ],
)
def test_wrong_bounding_boxes_are_refused(tmp_path: Path, bbox: object, message: str) -> None:
    path = coco(tmp_path / "a.json", row(0, bbox=bbox), row(1, bbox=[1, 1, 2, 2]))
    path.write_text(path.read_text().replace("Infinity", "1e999"))
    with pytest.raises(InputError, match=message):
        plan_json(path)


@settings(deadline=None)
@given(mask=arrays(np.uint8, (5, 6), elements=st.integers(0, 1)), place=st.tuples(st.integers(0, 3), st.integers(0, 4)))
def test_a_box_around_runs_is_that_of_their_pixels(mask: np.ndarray, place: tuple[int, int]) -> None:
    flat = np.concatenate([[0], mask.ravel(), [0]])
    turns = np.flatnonzero(np.diff(flat))
    lengths = np.diff(np.concatenate([[0], turns, [mask.size]]))
    runs = Runs(lengths if lengths.sum() == mask.size else lengths[:-1], (*place, 6, 5))
    found = coco_box({"segmentation": runs, "bbox": [0, 0, 20, 12]}, (WIDTH, HEIGHT), "here")
    if not mask.any():
        assert found is None or found == (0, 0, 20, 12)
        return
    rows, columns = np.nonzero(mask)
    left, top = place
    assert found == (columns.min() + left, rows.min() + top, columns.max() + 1 + left, rows.max() + 1 + top)
