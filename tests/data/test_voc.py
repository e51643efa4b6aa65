"""Data sets in VOC's layout: what is read, and what is refused before anything is written."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from helpers import make_voc, quadrants, write_mask_file
from PIL import Image

from dsrg.data.checked import check_files
from dsrg.data.voc import VocFolder, read_mask_for
from dsrg.errors import InputError


def tags_of(root: Path, split: str = "train", **settings: str) -> dict[str, list[int]]:
    return {photo.id: np.flatnonzero(photo.tags).tolist() for photo in VocFolder(root, **settings).photos(split)}


def write_labels(root: Path, rows: Sequence[str], header: str = "image,labels") -> None:
    (root / "image_labels.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


def refusal(root: Path, split: str = "train", **settings: str) -> str:
    with pytest.raises(InputError) as caught:
        VocFolder(root, **settings).photos(split)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_reads_splits_in_their_order(tmp_path: Path) -> None:
    root = make_voc(tmp_path, {"train": ("b", "a"), "val": ("c",)})
    folder = VocFolder(root)
    photos = folder.photos("train")
    assert [photo.id for photo in photos] == ["b", "a"]
    assert [photo.path for photo in photos] == [root / "JPEGImages/b.jpg", root / "JPEGImages/a.jpg"]
    assert folder.mask_path(photos[0]) == root / "SegmentationClass/b.png"
    assert photos[0].tags.dtype == bool
    assert photos[0].tags.tolist() == [True, True, True, False]
    assert folder.has_masks(photos)
    check_files(folder, photos, masks=folder.mask_dir)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ("cat", [0, 1]),
        ("cat dog", [0, 1, 2]),
        ("  dog   cat  ", [0, 1, 2]),
        ("cat;dog", [0, 1, 2]),
        ("cat; dog ;", [0, 1, 2]),
        ("traffic light", [0, 3]),  # a name with a blank, alone
        ("traffic light;cat", [0, 1, 3]),
        ("traffic light;", [0, 3]),
        ("cat cat", [0, 1]),
        ("background cat", [0, 1]),
    ],
)
def test_labels_of_the_csv(tmp_path: Path, labels: str, classes: list[int]) -> None:
    assert tags_of(make_voc(tmp_path, labels={"a": labels}))["a"] == classes


def test_the_csv_may_name_files_have_a_byte_order_mark_and_more_columns(tmp_path: Path) -> None:
    root = make_voc(tmp_path)
    write_labels(root, ["x/a.jpg,1,cat", "b.PNG,2,dog", "", "unused,3,zebra"], header="\ufeffimage,n,labels")
    assert tags_of(root) == {"a": [0, 1], "b": [0, 2]}


def test_ids_may_hold_points(tmp_path: Path) -> None:
    root = make_voc(tmp_path, {"train": ("2007.000032", "x.y.z"), "val": ("c",)}, labels={"2007.000032": "dog"})
    assert tags_of(root) == {"2007.000032": [0, 2], "x.y.z": [0, 1, 2]}
    folder = VocFolder(root)
    photos = folder.photos("train")
    assert folder.has_masks(photos)
    check_files(folder, photos, masks=folder.mask_dir)


def test_splits_may_have_blanks_and_a_byte_order_mark(tmp_path: Path) -> None:
    root = make_voc(tmp_path)
    (root / "ImageSets/Segmentation/train.txt").write_text("\ufeffa \r\n\r\nb", encoding="utf-8")
    assert list(tags_of(root)) == ["a", "b"]


def test_photographs_may_be_jpg_jpeg_or_png(tmp_path: Path) -> None:
    root = make_voc(tmp_path)
    (root / "JPEGImages/a.jpg").rename(root / "JPEGImages/a.JPEG")
    Image.open(root / "JPEGImages/b.jpg").save(root / "JPEGImages/b.png")
    (root / "JPEGImages/b.jpg").unlink()
    (root / "JPEGImages/b.txt").write_text("notes")
    photos = VocFolder(root).photos("train")
    assert [photo.path.name for photo in photos] == ["a.JPEG", "b.png"]
    check_files(VocFolder(root), photos, masks=root / "SegmentationClass")


def test_xml_annotations(tmp_path: Path) -> None:
    root = make_voc(tmp_path)
    (root / "Annotations").mkdir()
    for name, objects in {"a": ["dog", "dog"], "b": ["traffic light", " cat "]}.items():
        # As in VOC: a part of an object has a name too, which is no label.
        body = "".join(f"<object><name>{label}</name><part><name>head</name></part></object>" for label in objects)
        text = f"<annotation><filename>{name}.jpg</filename>{body}</annotation>"
        (root / f"Annotations/{name}.xml").write_text(text)
    assert tags_of(root, labels="Annotations") == {"a": [0, 2], "b": [0, 1, 3]}

    (root / "Annotations/a.xml").write_text("<annotation><object><name>cow</name></object></annotation>")
    assert "Annotations (a): the label 'cow' is not in" in refusal(root, labels="Annotations")
    (root / "Annotations/a.xml").write_text("<annotation></annotation>")
    assert "'a' has no label" in refusal(root, labels="Annotations")
    (root / "Annotations/a.xml").write_text("<annotation>")
    assert f"{root / 'Annotations/a.xml'}: not valid XML" in refusal(root, labels="Annotations")
    (root / "Annotations/a.xml").unlink()
    assert f"{root / 'Annotations/a.xml'}: the annotation does not exist" in refusal(root, labels="Annotations")


def test_preset_classes(tmp_path: Path) -> None:
    root = make_voc(tmp_path, labels={"a": "person", "b": "tvmonitor"})
    assert tags_of(root, classes="voc") == {"a": [0, 15], "b": [0, 20]}


def test_a_missing_folder_names_the_key(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: the data folder does not exist; set data\.root"):
        VocFolder(tmp_path / "nowhere")


def test_a_missing_photograph_names_the_split(tmp_path: Path) -> None:
    root = make_voc(tmp_path)
    (root / "JPEGImages/b.jpg").unlink()
    message = refusal(root)
    assert message.startswith(f"{root / 'JPEGImages/b'}.jpg: the photograph does not exist")
    assert str(root / "ImageSets/Segmentation/train.txt") in message


def test_a_photograph_whose_name_only_begins_alike_does_not_count(tmp_path: Path) -> None:
    root = make_voc(tmp_path)
    (root / "JPEGImages/b.jpg").rename(root / "JPEGImages/b2.jpg")
    assert "the photograph does not exist" in refusal(root)


def test_an_unknown_label_names_the_photograph_and_the_classes(tmp_path: Path) -> None:
    root = make_voc(tmp_path, labels={"b": "cat cow"})
    message = refusal(root)
    assert message.startswith(f"{root / 'image_labels.csv'} (b): the label 'cow' is not in")
    assert "cat, dog, traffic light" in message


@pytest.mark.parametrize("labels", ["", " ", ";", "background"])
def test_a_photograph_without_a_label_is_refused(tmp_path: Path, labels: str) -> None:
    root = make_voc(tmp_path, labels={"b": labels})
    assert refusal(root).startswith(f"{root / 'image_labels.csv'}: 'b' has no label")


def test_a_photograph_without_a_line_is_refused(tmp_path: Path) -> None:
    root = make_voc(tmp_path)
    write_labels(root, ["a,cat", "b"])
    assert "'b' has no label" in refusal(root)
    write_labels(root, ["a,cat"])
    assert "'b' has no label" in refusal(root)


def test_labels_on_two_lines_are_not_dropped_in_silence(tmp_path: Path) -> None:
    root = make_voc(tmp_path)
    write_labels(root, ["a,cat", "a.jpg,dog", "b,cat"])
    assert refusal(root).startswith(f"{root / 'image_labels.csv'}: 'a' is listed twice")


def test_a_csv_that_is_none_is_refused(tmp_path: Path) -> None:
    root = make_voc(tmp_path)
    path = root / "image_labels.csv"
    for header in ("thing;labels", "a,cat"):
        write_labels(root, ["a,cat"], header=header)
        assert refusal(root).startswith(f"{path}: the first line must be 'image,labels', but it is '{header}'")
    path.write_bytes("image,labels\na,kätzchen\n".encode("latin-1"))
    assert refusal(root).startswith(f"{path}: the table of labels is not in UTF-8")
    path.unlink()
    assert refusal(root).startswith(f"{path}: the image-level labels do not exist")


def test_a_labels_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    root = make_voc(tmp_path)
    (root / "labels.txt").write_text("a cat\nb cat\n")
    assert refusal(root, labels="labels.txt").startswith(f"{root / 'labels.txt/a.xml'}: the annotation does not exist")


def test_a_missing_split_names_those_that_are_there(tmp_path: Path) -> None:
    root = make_voc(tmp_path)
    message = refusal(root, "trainaug")
    assert message.startswith(f"{root / 'ImageSets/Segmentation/trainaug.txt'}: the split does not exist")
    assert "(splits there: train, val)" in message
    assert "(splits there: none)" in refusal(root, splits="Nowhere")


def test_an_empty_split_and_an_id_listed_twice_are_refused(tmp_path: Path) -> None:
    root = make_voc(tmp_path)
    path = root / "ImageSets/Segmentation/train.txt"
    path.write_text("\n")
    assert refusal(root).startswith(f"{path}: the split names no photograph")
    path.write_text("a\nb\na\n")
    assert refusal(root).startswith(f"{path}: 'a' is listed twice")
    path.write_bytes(b"a\nb\xe4r\n")
    assert refusal(root).startswith(f"{path}: the split is not in UTF-8")


def test_masks_may_be_missing_with_a_warning_where_some_are_there(tmp_path: Path) -> None:
    folder = VocFolder(make_voc(tmp_path))
    photos = folder.photos("train")
    (tmp_path / "SegmentationClass/b.png").unlink()
    with pytest.warns(UserWarning, match=r"SegmentationClass/b\.png and 0 more of 2 masks are missing"):
        assert not folder.has_masks(photos)
    (tmp_path / "SegmentationClass/a.png").unlink()
    assert not folder.has_masks(photos)  # c.png, of another split, is there
    assert folder.has_masks(folder.photos("val"))
    check_files(folder, photos, masks=None)
    assert not VocFolder(make_voc(tmp_path / "bare", masks=False)).has_masks(photos)


def test_a_mask_of_another_size_names_both_files(tmp_path: Path) -> None:
    folder = VocFolder(make_voc(tmp_path, size=(16, 12)))
    path = tmp_path / "SegmentationClass/b.png"
    write_mask_file(path, quadrants(12, 16, 0))
    with pytest.raises(InputError) as caught:
        check_files(folder, folder.photos("train"), masks=folder.mask_dir)
    assert str(caught.value) == (
        f"{path}: the mask is 12 x 16 pixels, but its photograph {tmp_path / 'JPEGImages/b.jpg'} is 16 x 12; "
        "make them equal."
    )
    check_files(folder, folder.photos("train"), masks=None)


def test_a_mask_with_a_class_that_is_not_listed_is_refused(tmp_path: Path) -> None:
    folder = VocFolder(make_voc(tmp_path))
    write_mask_file(tmp_path / "SegmentationClass/a.png", np.full((12, 16), 4))
    with pytest.raises(InputError, match=r"a\.png: holds class index 4"):
        check_files(folder, folder.photos("train"), masks=folder.mask_dir)
    write_mask_file(tmp_path / "SegmentationClass/a.png", np.full((12, 16), 255))
    check_files(folder, folder.photos("train"), masks=folder.mask_dir)


def test_a_corrupt_photograph_is_refused(tmp_path: Path) -> None:
    folder = VocFolder(make_voc(tmp_path))
    path = tmp_path / "JPEGImages/b.jpg"
    path.write_bytes(path.read_bytes()[:-80])
    with pytest.raises(InputError, match=r"JPEGImages/b\.jpg: the photograph cannot be decoded"):
        check_files(folder, folder.photos("train"), masks=None)


def test_the_first_broken_file_of_the_split_is_named_whatever_the_threads(tmp_path: Path) -> None:
    ids = [f"p{number}" for number in range(12)]
    folder = VocFolder(make_voc(tmp_path, {"train": ids, "val": ("c",)}))
    for name in ("p7", "p3", "p11"):
        (tmp_path / f"JPEGImages/{name}.jpg").write_bytes(b"")
    for threads in (1, 4):
        with pytest.raises(InputError, match=r"JPEGImages/p3\.jpg"):
            check_files(folder, folder.photos("train"), masks=None, threads=threads)


def test_read_mask_for_gives_the_indices(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    write_mask_file(path, quadrants(6, 4, 1))
    np.testing.assert_array_equal(read_mask_for(path, (6, 4), 4, Path("photo.jpg")), quadrants(6, 4, 1))
