"""Labels of any kind: a CSV or folders, and what is wrong with them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dsrg.data.labelled import read_labelled
from dsrg.errors import InputError


def photograph(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 3)).save(path)
    return path


def table(folder: Path, *rows: str) -> Path:
    path = folder / "labels.csv"
    path.write_text("\n".join(("image,labels", *rows)) + "\n")
    return path


def test_a_folder_for_each_label(tmp_path: Path) -> None:
    for name in ("warbler/a.jpg", "finch/a.png", "finch/b.JPEG"):
        photograph(tmp_path / name)
    (tmp_path / ".cache").mkdir()
    (tmp_path / "finch/notes.txt").write_text("not a photograph")
    read = read_labelled(tmp_path)
    assert read.names == ("finch", "warbler")
    assert [photo.id for photo in read.photos] == ["finch/a.png", "finch/b.JPEG", "warbler/a.jpg"]
    assert read.tags.tolist() == [[True, False], [True, False], [False, True]]
    assert all(photo.tags[0] for photo in read.photos)


def test_photographs_of_a_label_s_inner_folders_are_read_and_stray_ones_refused(tmp_path: Path) -> None:
    for name in ("finch/2024/a.jpg", "finch/b.jpg", "warbler/a.jpg", "@eaDir/a.jpg"):
        photograph(tmp_path / name)
    with pytest.warns(UserWarning, match="left out: @eaDir"):
        read = read_labelled(tmp_path)
    assert [photo.id for photo in read.photos] == ["finch/2024/a.jpg", "finch/b.jpg", "warbler/a.jpg"]
    photograph(tmp_path / "c.jpg")
    with pytest.raises(InputError, match=r"c\.jpg: lies in no class's folder; move it into one"):
        read_labelled(tmp_path)


def test_a_csv_with_blanks_and_several_labels(tmp_path: Path) -> None:
    photograph(tmp_path / "a.jpg")
    photograph(tmp_path / "b.png")
    read = read_labelled(table(tmp_path, "a.jpg,red round", "b,red"))  # with and without its ending
    assert read.names == ("red", "round")
    assert read.notes[0].endswith("'red round' was divided at the blanks; end a label of several words with ';'.")
    assert read.tags.tolist() == [[True, True], [True, False]]


def test_a_semicolon_anywhere_keeps_blanks_in_names(tmp_path: Path) -> None:
    for name in "abc":
        photograph(tmp_path / f"photos/{name}.jpg")
    read = read_labelled(
        table(tmp_path, "a,golden retriever;", "b,husky", "c,husky; golden retriever"), tmp_path / "photos"
    )
    assert read.names == ("golden retriever", "husky")
    assert np.array_equal(read.tags, [[True, False], [False, True], [True, True]])
    assert read.photos[0].path == tmp_path / "photos/a.jpg"


def test_rows_without_a_label_and_a_folder_are_negatives(tmp_path: Path) -> None:
    for name in ("photos/a.jpg", "photos/b.jpg", "others/b.jpg", "others/deep/c.png"):
        photograph(tmp_path / name)
    source = table(tmp_path, "a,text", "b,")
    read = read_labelled(source, tmp_path / "photos")
    assert read.names == ("text",)
    assert read.tags.tolist() == [[True], [False]]
    read = read_labelled(source, tmp_path / "photos", tmp_path / "others")
    more = [(tmp_path / "others" / name).as_posix() for name in ("b.jpg", "deep/c.png")]
    assert [photo.id for photo in read.photos] == ["a.jpg", "b.jpg", *more]
    assert read.tags[:, 0].tolist() == [True, False, False, False]
    with pytest.raises(InputError, match=r"a\.jpg: has a label in .*, and lies in"):
        read_labelled(source, tmp_path / "photos", tmp_path / "photos")
    (tmp_path / "words").mkdir()
    photograph(tmp_path / "words/text/d.jpg")
    assert read_labelled(tmp_path / "words", None, tmp_path / "others").tags.tolist() == [[True], [False], [False]]


def test_what_is_wrong_with_a_csv_is_named(tmp_path: Path) -> None:
    photograph(tmp_path / "a.jpg")
    photograph(tmp_path / "b.jpg")
    cases = [
        (("a,x", "c,y"), ("c", "does not exist", "labels.csv")),
        (("a,x", "a.jpg,y"), ("'a.jpg' is listed twice",)),
        (("a,", "b,"), ("holds 0 labels", "or photographs without any")),
        (("a,x", "b,x"), ("holds 1 labels",)),
    ]
    for rows, named in cases:
        with pytest.raises(InputError) as caught:
            read_labelled(table(tmp_path, *rows))
        assert all(part in str(caught.value) for part in named), str(caught.value)
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("thing,class\na,x\n")
    for path, named in ((wrong, "image,labels"), (tmp_path / "none.csv", "does not exist")):
        with pytest.raises(InputError, match=named):
            read_labelled(path)
    wrong.write_bytes(b"image,labels\na,\xff\xfe\n")
    with pytest.raises(InputError, match="UTF-8"):
        read_labelled(wrong)
    with pytest.raises(InputError, match="folder of photographs"):
        read_labelled(table(tmp_path, "a,x", "b,y"), tmp_path / "none")


def test_an_empty_folder_of_a_label_is_named(tmp_path: Path) -> None:
    photograph(tmp_path / "finch/a.jpg")
    (tmp_path / "warbler").mkdir()
    with pytest.raises(InputError, match="warbler.*holds no photograph"):
        read_labelled(tmp_path)
