"""LabelMe's JSON files: masks as LabelMe paints them, by prepare-data and import-masks alike; and whose they are."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from door_files import HEIGHT, WIDTH, dump, labels_of, mask_of, photographs, plan
from format_oracles import rasterise
from helpers import Tool
from PIL import Image, ImageDraw

from dsrg.data.drawn import read_folder
from dsrg.data.prepare import write_set
from dsrg.errors import InputError
from dsrg.files.pictures import read_mask

SQUARE = [[1.0, 1.0], [5.0, 1.0], [5.0, 5.0], [1.0, 5.0]]


def shape(label: str, points: list[list[float]] = SQUARE, kind: str = "polygon", **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, **more}


def labelme(path: Path, *shapes: dict[str, Any], said: str = "", **more: Any) -> Path:
    head: dict[str, Any] = {"version": "5.5.0", "flags": {}, "imageData": None, **({"imagePath": said} if said else {})}
    return dump(path, {**head, "shapes": list(shapes), **more})


def flags_png(flags: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(flags).convert("1").save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def every_shape() -> list[dict[str, Any]]:
    """Large on small and small on large, a mask of LabelMe's AI, a circle, and two parts of one object."""
    flags = np.array([[0, 1, 1], [1, 1, 0]], bool)
    return [
        shape("cat", [[2, 2], [4, 2], [4, 4], [2, 4]]),
        shape("dog"),  # over the cat, which it hides
        shape("cat", [[6, 1], [8, 2]], "mask", mask=flags_png(flags)),
        shape("dog", [[7, 5], [8.2, 5]], "circle"),
        shape("cat", [[0, 6], [2, 6], [2, 7]], group_id=1),
        shape("cat", [[5, 6], [6.5, 6], [6, 7]], group_id=1),
    ]


def test_shapes_are_painted_as_labelme_paints_them_in_both_ways(tmp_path: Path, tool: Tool) -> None:
    photos = photographs(tmp_path / "photos", "a.jpg", "b.jpg")
    for name in "ab":
        labelme(photos / f"{name}.json", *every_shape(), said=f"{name}.jpg")
    made = plan(photos)
    flags = np.zeros((HEIGHT, WIDTH), bool)
    flags[1:3, 6:9] = [[0, 1, 1], [1, 1, 0]]
    round_ = Image.new("L", (WIDTH, HEIGHT))
    ImageDraw.Draw(round_).ellipse([7 - 1.2, 5 - 1.2, 7 + 1.2, 5 + 1.2], outline=1, fill=1)
    circle = np.array(round_, bool)
    theirs = np.zeros((HEIGHT, WIDTH), np.uint8)
    for one in every_shape():
        own = {"mask": flags, "circle": circle}.get(one["shape_type"])
        theirs[rasterise(theirs.shape, one["points"]) if own is None else own] = {"cat": 1, "dog": 2}[one["label"]]
    mask = mask_of(made, "a")
    np.testing.assert_array_equal(mask, theirs)
    write_set(tmp_path / "set", made)
    words = ("--root", tmp_path / "set", "--masks", photos)
    code, out, err = tool("import_masks", *words)
    assert (code, err) == (0, "")
    assert "0 masks are new, 0 are replaced, 2 were the same" in out
    np.testing.assert_array_equal(read_mask(tmp_path / "set/SegmentationClass/a.png", 3), mask)


def test_rectangles_are_boxes_behind_everything(tmp_path: Path) -> None:
    photos = photographs(tmp_path, "a.jpg", "b.jpg")
    labelme(tmp_path / "a.json", shape("cat"), shape("dog", [[0, 0], [3, 7]], "rectangle"), said="a.jpg")
    labelme(tmp_path / "b.json", shape("dog", [[2, 3], [4, 3]], "circle"), said="b.jpg")
    made = plan(photos)
    mask = mask_of(made, "a")
    assert (mask[1:6, 1:6] == 1).all() and (mask[:, 0] == 255).all() and (mask == 0).any()
    assert (mask_of(made, "b") == 2).any()  # a circle has an outline
    assert any("1 rectangles are boxes and no outlines; they are void (255)" in note for note in made.notes)
    assert all(item.annotation is not None for item in made.items)
    labelme(tmp_path / "a.json", shape("dog", [[0, 0], [3, 7]], "rectangle"), said="a.jpg")
    labelme(tmp_path / "b.json", shape("cat", [[0, 0], [3, 7]], "rectangle"), said="b.jpg")
    made = plan(photos)
    assert {item.mask for item in made.items} == {None}
    assert any("all objects are rectangles, boxes alone, so there are no masks" in note for note in made.notes)


@pytest.mark.parametrize(
    ("lying", "files"),
    [
        ({"a.jpg": "cat", "b.jpg": "dog"}, {"x1.json": "a.jpg", "x2.json": "b.jpg"}),
        ({"a.jpg": "cat", "b.png": "dog"}, {"a.json": "..\\elsewhere\\a.jpg", "b.json": "/home/me/b.png"}),
        ({"img/s1/a.jpg": "cat", "img/s2/a.jpg": "dog"}, {"ann/s1/a.json": "../../img/s1/a.jpg", "ann/s2/a.json": ""}),
        ({"img/s1/a.jpg": "cat", "img/s2/a.jpg": "dog"}, {"ann/s1/a.json": "a.jpg", "ann/s2/a.json": "a.jpg"}),
        ({"s1/a.jpg": "cat", "s2/a.jpg": "dog"}, {"s1/a.json": "a.jpg", "s2/a.json": "a.jpg"}),
        ({"a.jpg": "cat", "b.jpg": "dog"}, {"a.json": "gone.jpg", "b.json": "b.jpg"}),
    ],
)
@pytest.mark.parametrize("boxes", [False, True])
def test_a_file_is_of_the_photograph_that_it_says(
    tmp_path: Path, lying: dict[str, str], files: dict[str, str], boxes: bool
) -> None:
    photos = photographs(tmp_path, *lying)
    for label, (name, said) in zip(("cat", "dog"), files.items(), strict=True):
        labelme(tmp_path / name, shape(label), said=said)
    if boxes:
        found = read_folder(photos, photos, [photos / name for name in lying], {})
        assert {path.relative_to(photos).as_posix(): own for path, own in found.labels.items()} == {
            name: [label] for name, label in lying.items()
        }
        notes = found.notes
    else:
        made = plan(photos)
        shown = {item.photo.relative_to(photos).as_posix(): item.labels[0] for item in made.items}
        assert shown == lying
        notes = made.notes
    sentence = (
        "1 files name a photograph (imagePath) that does not exist, such as a.json, which names 'gone.jpg'; the "
        "photograph called as the file is was taken instead."
    )
    assert any(sentence in note for note in notes) == ("gone.jpg" in files.values())


def test_of_two_photographs_of_a_name_imagepath_tells(tmp_path: Path) -> None:
    photos = photographs(tmp_path, "a.jpg", "a.png", "b.jpg")
    labelme(tmp_path / "a.json", shape("cat"), said="a.png")
    labelme(tmp_path / "b.json", shape("dog"), said="b.jpg")
    assert {item.photo.name for item in plan(photos).items} == {"a.png", "b.jpg"}


FAR: list[list[float]] = [[-500, 0], [4, 4], [400, 1]]
ONE_BOX: list[list[float]] = [[1, 1], [2, 2]]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (shape("cat", FAR), r"a\.json \(shape 2\): lies outside of its photograph \(10 x 8\); correct it"),
        (shape("cat", ONE_BOX, "mask", mask="?"), r"a\.json \(shape 2\): its mask is no picture in base64"),
        (shape("cat", ONE_BOX, "mask"), r"a\.json \(shape 2\): is a mask without its picture"),
        (shape("cat", ONE_BOX, "mask", mask="YWJj"), r"a\.json \(shape 2\): the mask cannot be decoded"),
        (
            shape("cat", ONE_BOX, "mask", mask=flags_png(np.ones((2, 3), bool))),
            r"a\.json \(shape 2\): its mask is 3 x 2, and its box 2 x 2; mend it",
        ),
    ],
)
def test_a_broken_shape_is_refused_before_anything_is_copied(
    tmp_path: Path, broken: dict[str, Any], message: str
) -> None:
    photos = photographs(tmp_path, "a.jpg", "b.jpg")
    labelme(tmp_path / "a.json", shape("cat"), broken, said="a.jpg")
    labelme(tmp_path / "b.json", shape("dog"), said="b.jpg")
    with pytest.raises(InputError, match=message):
        plan(photos)


@pytest.mark.parametrize(
    ("sides", "read"),
    [
        *(((10.0, 8.0), True), ((10, 8.0), True), ((None, None), True), ((10.5, 8), False), ((True, 8), False)),
        *(((0, 8), False), ((1e999, 8), False), (("10", 8), False), ((10, None), False)),
    ],
)
def test_a_size_may_be_written_with_a_point(tmp_path: Path, sides: tuple[Any, Any], read: bool) -> None:
    photos = photographs(tmp_path, "a.jpg", "b.jpg")
    labelme(tmp_path / "a.json", shape("cat"), said="a.jpg", imageWidth=sides[0], imageHeight=sides[1])
    labelme(tmp_path / "b.json", shape("dog"), said="b.jpg")
    (tmp_path / "a.json").write_text((tmp_path / "a.json").read_text().replace("Infinity", "1e999"))
    if read:
        assert {item.size for item in plan(photos).items} == {(10, 8)}
    else:
        with pytest.raises(InputError, match=r"a\.json: its imageWidth and imageHeight are .*must be whole numbers"):
            plan(photos)


@pytest.mark.parametrize("names", ["ac", "xy"])
def test_links_to_one_file_are_photographs_of_their_own(tmp_path: Path, names: str) -> None:
    photos = photographs(tmp_path / "photos", "a.jpg", "c.jpg")
    (photos / "a.jpg").rename(tmp_path / "blob")
    for name in ("a.jpg", "c.jpg"):
        (photos / name).unlink(missing_ok=True)
        (photos / name).symlink_to(tmp_path / "blob")
    labelme(photos / f"{names[0]}.json", shape("cat"), said="a.jpg")
    labelme(photos / f"{names[1]}.json", shape("dog"), said="c.jpg")
    assert {item.photo.name: item.labels for item in plan(photos).items} == {"a.jpg": ("cat",), "c.jpg": ("dog",)}
    # Said by a way that is neither's, a photograph is told by the file's name.
    labelme(photos / f"{names[1]}.json", shape("dog"), said="../blob")
    if names == "ac":
        assert {item.photo.name: item.labels for item in plan(photos).items} == {"a.jpg": ("cat",), "c.jpg": ("dog",)}
    else:
        with pytest.raises(InputError, match=r"y\.json: 'blob' may be .*a\.jpg or .*c\.jpg; write its path into"):
            plan(photos)


def test_a_photograph_where_the_file_says_needs_no_name(tmp_path: Path) -> None:
    photos = photographs(tmp_path, "img/s1/a.jpg", "img/s2/b.jpg")
    labelme(tmp_path / "ann/b.json", shape("cat"), said="../img/s1/a.jpg")
    labelme(tmp_path / "ann/c.json", shape("dog"), said="../img/s2/b.jpg")
    assert {item.photo.name: item.labels for item in plan(photos).items} == {"a.jpg": ("cat",), "b.jpg": ("dog",)}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.json": "b.jpg"}, r"a\.json: says that it is of 'b\.jpg', but its name is that of a\.jpg; rename it"),
        ({"x.json": "gone.jpg"}, r"x\.json: is of 'gone\.jpg', which is no photograph of .*; correct its imagePath"),
        ({"x.json": "s3/c.jpg"}, r"x\.json: 'c\.jpg' may be .*s1/c\.jpg or .*s2/c\.jpg; write its path into imagePath"),
        (
            {"a.json": "a.jpg", "x/a.json": "../a.jpg"},
            r"is of the photograph .*a\.jpg, as .* is; remove one of the two",
        ),
    ],
)
def test_files_that_contradict_are_refused(tmp_path: Path, files: dict[str, str], message: str) -> None:
    photos = photographs(tmp_path, "a.jpg", "b.jpg", "s1/c.jpg", "s2/c.jpg")
    for name, said in files.items():
        labelme(tmp_path / name, shape("cat"), said=said)
    with pytest.raises(InputError, match=message):
        plan(photos)


def test_flags_are_labels_where_no_file_has_a_shape(tmp_path: Path) -> None:
    photos = photographs(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    for name, flags in {"a": {"cat": True, "dog": False}, "b": {"cat": True, "dog": True}, "c": {"cat": False}}.items():
        labelme(tmp_path / f"{name}.json", said=f"{name}.jpg", flags=flags)
    made = plan(photos)
    assert labels_of(made) == {"a": {"cat"}, "b": {"cat", "dog"}}
    assert f"{tmp_path}: no file has a shape of a class, so the flags that are true were read as labels." in made.notes
    labelme(tmp_path / "c.json", shape("cow"), said="c.jpg")
    labelme(tmp_path / "b.json", shape("dog"), said="b.jpg", flags={"cat": True})
    made = plan(photos)
    assert labels_of(made) == {"b": {"dog"}, "c": {"cow"}}
    assert any("flags of 2 photographs are true and were not read" in note for note in made.notes)  # a has no shape
    for name in "abc":
        labelme(tmp_path / f"{name}.json", said=f"{name}.jpg")
    with pytest.raises(InputError, match="its LabelMe files hold no shape of a class, and no flag that is true"):
        plan(photos)


def test_a_photograph_in_no_split_undoes_those_of_the_others_and_is_named(tmp_path: Path) -> None:
    photos = photographs(tmp_path, "train/a.jpg", "train/b.jpg", "val/c.jpg", "d.jpg")
    for name in ("train/a", "train/b", "val/c", "d"):
        labelme(tmp_path / f"{name}.json", shape("cat"), said=f"{name[-1]}.jpg")
    sentence = f"{photos}: 1 of 4 photographs are in no split, such as d.jpg; so the splits of the others were not"
    assert any(note.startswith(sentence) for note in plan(photos).notes)
    (tmp_path / "d.json").unlink()
    made = plan(photos)
    assert made.splits == {"train": ["a", "b"], "val": ["c"]}
    assert not any("in no split" in note for note in made.notes)
