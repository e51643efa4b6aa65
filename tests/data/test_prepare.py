"""Tagged photographs of a user become a data folder that the stages read, whole or not at all."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dsrg.data.prepare import read_folders, read_table, write_voc
from dsrg.data.voc import VocFolder
from dsrg.errors import InputError


def save_photo(path: Path, colour: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 10, 3), colour, np.uint8)).save(path)
    return path


def test_one_folder_a_class(tmp_path: Path) -> None:
    for name in ("dog/a.jpg", "dog/b.png", "traffic light/c.jpg", "traffic light/a.jpg"):
        save_photo(tmp_path / "photos" / name)
    labels = read_folders(tmp_path / "photos")
    assert write_voc(tmp_path / "set", labels) == {"dog": 2, "traffic light": 2}
    folder = VocFolder(tmp_path / "set")
    assert folder.classes.names == ("background", "dog", "traffic light")
    photos = folder.photos("train") + folder.photos("val")
    tags = {photo.id: photo.tags.tolist() for photo in photos}
    # a.jpg lies in both folders: one photograph with two labels.
    assert tags == {"a": [True, True, True], "b": [True, True, False], "c": [True, False, True]}
    folder.check(photos, masks=None)
    assert list(tmp_path.glob(".*")) == []


def test_table_with_several_labels(tmp_path: Path) -> None:
    for name in ("one.jpg", "my photo.jpg", "three.jpg"):
        save_photo(tmp_path / "photos" / name)
    table = tmp_path / "labels.csv"
    table.write_text("image,labels\none.jpg,dog cat\nmy photo.jpg,traffic light;dog\nthree,cat\n")
    write_voc(tmp_path / "set", read_table(tmp_path / "photos", table), val=0.3)
    folder = VocFolder(tmp_path / "set")
    assert folder.classes.names == ("background", "cat", "dog", "traffic light")
    assert len(folder.photos("val")) == 1
    tags = {photo.id: photo.tags.tolist() for photo in folder.photos("train") + folder.photos("val")}
    assert tags["my_photo"] == [True, False, True, True]
    assert tags["three"] == [True, True, False, False]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("image,labels\nghost.jpg,dog\n", r"ghost\.jpg: the photograph does not exist"),
        ("image,labels\none.jpg,dog\n", r"two\.jpg: has no row"),
        ("file,tags\none.jpg,dog\n", "the first line must be 'image,labels'"),
        ("image,labels\none.jpg,dog\ntwo.jpg,\n", r"two\.jpg: has no label"),
    ],
)
def test_bad_tables_are_refused(tmp_path: Path, table: str, message: str) -> None:
    for name in ("one.jpg", "two.jpg"):
        save_photo(tmp_path / "photos" / name)
    path = tmp_path / "labels.csv"
    path.write_text(table)
    with pytest.raises(InputError, match=message):
        write_voc(tmp_path / "set", read_table(tmp_path / "photos", path))
    assert not (tmp_path / "set").exists()


def test_nothing_is_left_of_a_set_with_a_broken_photograph(tmp_path: Path) -> None:
    good, bad = save_photo(tmp_path / "a.jpg"), tmp_path / "b.jpg"
    bad.write_bytes(b"no image")
    with pytest.raises(InputError, match=r"b\.jpg"):
        write_voc(tmp_path / "set", {good: ["dog"], bad: ["cat"]})
    assert {path.name for path in tmp_path.iterdir()} == {"a.jpg", "b.jpg"}


def test_a_folder_in_use_is_kept(tmp_path: Path) -> None:
    kept = save_photo(tmp_path / "set" / "mine.jpg")
    photos = {save_photo(tmp_path / name): ["dog"] for name in ("a.jpg", "b.jpg")}
    with pytest.raises(InputError, match="is not empty"):
        write_voc(tmp_path / "set", photos)
    assert kept.is_file()


def test_two_photographs_of_one_name_are_refused(tmp_path: Path) -> None:
    photos = {save_photo(tmp_path / folder / "a.jpg"): ["dog"] for folder in ("x", "y")}
    with pytest.raises(InputError, match="has the same name"):
        write_voc(tmp_path / "set", photos)
