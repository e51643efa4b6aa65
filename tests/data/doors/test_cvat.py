"""CVAT's XML: tags, shapes, painted masks and subsets."""

from pathlib import Path

import numpy as np
import pytest
from door_files import HEIGHT, WIDTH, labels_of, mask_of, photographs, plan, write

from dsrg.errors import InputError

# pycocotools 2 with NumPy 2, at each decoding
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def cvat(*images: str, labels: tuple[str, ...] = ("dog", "cat")) -> str:
    listed = "".join(f"<label><name>{name}</name></label>" for name in labels)
    meta = f"<meta><task><labels>{listed}</labels></task></meta>"
    head = '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>'
    return f"{head}{meta}{''.join(images)}</annotations>"


def image(name: str, shapes: str, **more: str) -> str:
    extra = "".join(f' {key}="{value}"' for key, value in more.items())
    return f'<image id="0" name="{name}" width="{WIDTH}" height="{HEIGHT}"{extra}>{shapes}</image>'


def test_cvat_s_tags(tmp_path: Path) -> None:
    root = photographs(tmp_path, "images/job/a.jpg", "images/job/b.jpg", "images/job/c.jpg")
    text = cvat(
        image("job/a.jpg", '<tag label="cat"></tag><tag label="dog"/>'),
        image("job/b.jpg", '<tag label="dog" source="manual"><attribute name="x">1</attribute></tag>'),
        image("job/c.jpg", ""),
    )
    write(tmp_path / "annotations.xml", text)
    made = plan(root, unlabelled="leave-out")
    assert labels_of(made) == {"a": {"cat", "dog"}, "b": {"dog"}}
    assert made.notes[0] == f"{tmp_path / 'annotations.xml'}: read as CVAT's 'CVAT for images'."
    assert any("1 of 3 photographs have no label" in note for note in made.notes)


def test_cvat_s_shapes(tmp_path: Path) -> None:
    root = photographs(tmp_path, "images/a.jpg", "images/b.jpg")
    mask = '<mask label="dog" source="manual" rle="1, 2, 1, 4" left="2" top="3" width="4" height="2" z_order="2"/>'
    square = '<polygon label="cat" points="0.00,0.00;6.00,0.00;6.00,8.00;0.00,8.00" z_order="1"></polygon>'
    below = '<polygon label="dog" points="0,0;10,0;10,8;0,8" z_order="-1"/><points label="cat" points="1,1"/>'
    write(tmp_path / "annotations.xml", cvat(image("a.jpg", mask + square), image("b.jpg", square + below)))
    made = plan(root)
    assert made.classes == ("background", "dog", "cat")  # in the order of the task
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[:, :6] = 2
    expected[3, 3:5], expected[4, 2:6] = 1, 1
    np.testing.assert_array_equal(mask_of(made, "a"), expected)
    expected[:] = 1
    expected[:, :6] = 2  # the larger lies above: the layers say so
    np.testing.assert_array_equal(mask_of(made, "b"), expected)
    assert any("shapes that fill nothing were not read: 1 of <points>" in note for note in made.notes)


def test_cvat_s_subsets_are_splits(tmp_path: Path) -> None:
    root = photographs(tmp_path, "images/Train/a.jpg", "images/Validation/a.jpg")
    square = '<polygon label="cat" points="0,0;6,0;6,8;0,8"/>'
    parts = [image("a.jpg", square, subset=name) for name in ("Train", "Validation")]
    write(tmp_path / "annotations.xml", cvat(*parts))
    assert plan(root).splits == {"train": ["Train_a"], "val": ["Validation_a"]}


def test_cvat_s_photographs_of_no_subset_lie_in_default(tmp_path: Path) -> None:
    root = photographs(tmp_path, "images/default/a.jpg", "images/Train/a.jpg", "images/Train/b.jpg")
    tags = [("a.jpg", "default", "cat"), ("a.jpg", "Train", "dog"), ("b.jpg", "Train", "cat")]
    text = cvat(*(image(name, f'<tag label="{label}"/>', subset=subset) for name, subset, label in tags))
    write(tmp_path / "annotations.xml", text)
    assert labels_of(plan(root)) == {"default_a": {"cat"}, "Train_a": {"dog"}, "b": {"cat"}}


@pytest.mark.parametrize("part", ['<tag label="{}"/>', '<polygon label="{}" points="0,0;6,0;6,8;0,8"/>'])
def test_cvat_s_photographs_of_no_subset_may_lie_flat(tmp_path: Path, part: str) -> None:
    root = photographs(tmp_path, "images/a.jpg", "images/train/b.jpg", "images/train/a.jpg")
    parts = [("a.jpg", "default", "cat"), ("b.jpg", "train", "dog"), ("a.jpg", "train", "dog")]
    text = cvat(*(image(name, part.format(label), subset=subset) for name, subset, label in parts))
    write(tmp_path / "annotations.xml", text)
    made = plan(root)
    shown = {item.photo.relative_to(root / "images").as_posix(): item.labels for item in made.items}
    assert shown == {"a.jpg": ("cat",), "train/b.jpg": ("dog",), "train/a.jpg": ("dog",)}
    labels = plan(root / "images", tmp_path / "annotations.xml")
    assert {item.photo: item.labels for item in labels.items} == {item.photo: item.labels for item in made.items}
    (root / "images/a.jpg").unlink()
    with pytest.raises(InputError, match=r"default/a\.jpg: the photograph does not exist"):
        plan(root / "images", tmp_path / "annotations.xml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (cvat('<track id="0" label="cat"/>'), "holds tracks of a video; export the task as 'CVAT for images 1.1'"),
        (cvat('<image name="a.jpg" width="x" height="8"/>'), "has width 'x' in <image>, which must be a number"),
        (cvat(image("a.jpg", '<polygon label="cat" points="1,2;3"/>')), "has points '1,2;3' that are no list"),
        (cvat(image("a.jpg", '<mask label="cat" rle="x" left="0" top="0" width="1" height="1"/>')), "rle 'x' is no"),
        (cvat(image("a.jpg", '<box label="cat" xtl="1"/>')), "has ytl '' in <box>"),
        (cvat(image("a.jpg", '<tag label=""/>')), "has a <tag> without a label"),
        (cvat(image("b.jpg", '<tag label="cat"/>')), r"b\.jpg: the photograph does not exist"),
        ("<html/>", "is XML of no kind that is known"),
        ("<annotation/>", "is a VOC annotation of one photograph"),
        ("<annotations>", "not valid XML"),
        ('<!DOCTYPE a [<!ENTITY x "y">]><annotations/>', "it defines a document type"),
    ],
)
def test_broken_xml_of_cvat_is_refused(tmp_path: Path, text: str, message: str) -> None:
    photos = photographs(tmp_path / "photos", "a.jpg", "c.jpg")
    with pytest.raises(InputError, match=message):
        plan(photos, write(tmp_path / "annotations.xml", text))


def test_runs_that_do_not_fill_their_box_are_refused_when_painted(tmp_path: Path) -> None:
    photos = photographs(tmp_path / "photos", "a.jpg", "b.jpg")
    masks = [
        '<mask label="cat" rle="9, 9" left="0" top="0" width="2" height="2"/>',
        '<mask label="cat" rle="0, 4" left="9" top="0" width="2" height="2"/>',
    ]
    made = plan(photos, write(tmp_path / "a.xml", cvat(*map(image, ("a.jpg", "b.jpg"), masks))))
    for name, message in (("a", "do not add up to its box"), ("b", "does not lie in 10 x 8 pixels")):
        with pytest.raises(InputError, match=message):
            mask_of(made, name)


def test_an_export_that_lies_deeper_is_read_and_of_several_tasks_none(tmp_path: Path) -> None:
    photographs(tmp_path / "task_1/images", "a.jpg", "b.jpg")
    tags = [image(f"{name}.jpg", f'<tag label="{label}"/>') for name, label in (("a", "cat"), ("b", "dog"))]
    write(tmp_path / "task_1/annotations.xml", cvat(*tags))
    assert labels_of(plan(tmp_path)) == {"a": {"cat"}, "b": {"dog"}}
    write(tmp_path / "task_2/annotations.xml", cvat())
    with pytest.raises(InputError, match=r"'task_1/annotations\.xml' and 'task_2/annotations\.xml' are of several of"):
        plan(tmp_path)
