"""Photographs found by what tables and tools call them: each name by its own way, and none by chance."""

from pathlib import Path
from typing import Any

import pytest

from dsrg.data import photo_index
from dsrg.data.photo_index import PhotoIndex
from dsrg.data.photograph import fold
from dsrg.errors import InputError


def locate(folder: Path, names: list[str], *lying: str, **more: bool) -> tuple[list[str], list[str]]:
    index = PhotoIndex(folder, [folder / name for name in lying], **more)
    found, notes = index.locate(names, folder / "list.csv")
    return [found[name].relative_to(folder).as_posix() for name in names], notes


@pytest.mark.parametrize(
    ("names", "lying"),
    [
        (["a.jpg", "Train/b.jpg"], ["images/default/a.jpg", "images/Train/b.jpg"]),  # CVAT's subsets
        (["default/a.jpg", "Train/a.jpg"], ["images/default/a.jpg", "images/Train/a.jpg"]),
        (["a.jpg", "export/b.jpg"], ["a.jpg", "b.jpg"]),
        (["a.jpg", "c%20d.jpg"], ["a.jpg", "c d.jpg"]),
        (["a.jpg", "s3://bucket/x/c%20d.jpg"], ["a.jpg", "c d.jpg"]),
        (["ann/s1/a", "ann/s2/a"], ["img/s1/a.jpg", "img/s2/a.jpg"]),
        (["/data/local-files/?d=my%20photos%5Ca.jpg", "/data/local-files/?d=x%5Cb.jpg"], ["a.jpg", "b.jpg"]),
        (["/data/local-files/?d=x%5Ca.jpg", "/data/local-files/?d=y%5Ca.jpg"], ["x/a.jpg", "y/a.jpg"]),
        (["C:\\me\\a.jpg", "b.jpg"], ["a.jpg", "b.jpg"]),
    ],
)
def test_each_name_is_found_by_its_own_way(tmp_path: Path, names: list[str], lying: list[str]) -> None:
    found, notes = locate(tmp_path, names, *lying)
    assert found == lying
    assert len(notes) == 1 and "were found by the last part of their names" in notes[0]


@pytest.mark.parametrize(
    ("names", "lying", "message"),
    [
        (["cat/1.jpg", "dog/1.jpg"], ["cat/1.jpg"], "dog/1.jpg: the photograph does not exist"),  # is the cat's
        (["cat/1.jpg", "dog/2.jpg"], ["cat/1.jpg", "cat/2.jpg", "dog/3.jpg"], "dog/2.jpg: the photograph does not"),
        (["x/a.jpg", "z/b.jpg"], ["x/a.jpg", "y/b.jpg"], "z/b.jpg: the photograph does not exist"),  # paths are whole
        (["x/cat/1.jpg", "a.jpg"], ["a.jpg", "dog/1.jpg", "cat/2.jpg"], "x/cat/1.jpg: the photograph does not exist"),
        (["a.jpg", "b.jpg"], ["a.jpg", "c.jpg"], "b.jpg: the photograph does not exist, but .*list.csv names it"),
        (["a.jpg", "x/b.jpg", "y/b.jpg"], ["a.jpg", "b.jpg"], "both 'x/b.jpg' and 'y/b.jpg' may be .*b.jpg"),
        (["a.jpg", "x/b.jpg"], ["a.jpg", "p/b.jpg", "q/b.jpg"], "'x/b.jpg' may be .*p/b.jpg or .*q/b.jpg"),
    ],
)
def test_a_photograph_is_not_guessed(tmp_path: Path, names: list[str], lying: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        locate(tmp_path, names, *lying)


@pytest.mark.parametrize(
    ("name", "called"),
    [
        ("a b", "a_b.jpg"),
        ("a b.jpg", "a_b.jpg"),
        ("images/a b.png", "a_b.jpg"),
        ("/data/upload/1/a b.jpg", "a_b.jpg"),
        ("cat/001.jpg", "cat_001.jpg"),
        ("my photos/big cat/001", "big_cat_001.jpg"),
        ("a.jpg", "a_jpg.png"),  # the photograph was a.jpg.png
    ],
)
def test_a_data_set_s_photographs_are_found_by_their_names_before(tmp_path: Path, name: str, called: str) -> None:
    lying = (called, "z.jpg", "dog_001.jpg")
    assert locate(tmp_path, [name, "z"], *lying, named_anew=True)[0] == [called, "z.jpg"]
    assert locate(tmp_path, [name, "dog/001", "b/z"], *lying, named_anew=True)[0] == [called, "dog_001.jpg", "z.jpg"]
    with pytest.raises(InputError, match="does not (exist|lie in)"):
        locate(tmp_path, [name, "z"], *lying)


def test_one_name_in_many_folders_takes_no_square_of_their_number(tmp_path: Path, monkeypatch: Any) -> None:
    folded: list[str] = []
    monkeypatch.setattr(photo_index, "fold", lambda text: folded.append(text) or fold(text))
    counts = []
    for number in (50, 100):
        scenes = [f"scene_{scene}/image" for scene in range(number)]
        lying = [f"img/{scene}.jpg" for scene in scenes]
        folded.clear()
        assert locate(tmp_path, [f"ann/{scene}" for scene in scenes], *lying)[0] == lying
        counts.append(len(folded))
    assert counts[1] < 3 * counts[0]


def test_what_two_answers_share(tmp_path: Path) -> None:
    lying = [tmp_path / name for name in ("x/a.jpg", "y/a.jpg", "y/b.jpg")]
    index = PhotoIndex(tmp_path, lying)
    both = index.find("a.jpg")
    assert index.common(both, index.find("y/a")) == index.common(index.find("y/a"), both) == [lying[1]]
    assert index.common(both, index.find("b")) == index.common(both, []) == index.common([], []) == []
    assert index.common(both, both) == both
