"""Planned data sets are written whole or not at all, and continue after an interruption."""

import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import quadrants, save_photo, write_mask_file
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dsrg.data import prepare
from dsrg.data.checked import check_files
from dsrg.data.photograph import Link
from dsrg.data.prepare import Item, Plan, check_names, name_ids, split_off, write_set
from dsrg.data.voc import VocFolder
from dsrg.errors import InputError
from dsrg.files.pictures import read_mask


def make_plan(items: Sequence[Item], source: str = "test") -> Plan:
    ids = [item.id for item in items]
    return Plan(("background", "cat", "dog"), items, {"train": ids[1:], "val": ids[:1]}, {"kind": source})


def make_items(folder: Path, names: str = "abcd") -> list[Item]:
    return [Item(name, save_photo(folder / f"{name}.jpg", 20 * k), ("dog",)) for k, name in enumerate(names)]


def test_masks_and_annotations_come_along(tmp_path: Path) -> None:
    first, second = make_items(tmp_path / "in", "ab")
    write_mask_file(tmp_path / "a.png", np.minimum(quadrants(10, 8, 0), 2))
    (tmp_path / "a.xml").write_text("<annotation/>")
    made = np.full((8, 10), 255, np.uint8)
    items = [
        Item(first.id, first.photo, ("cat", "dog"), tmp_path / "a.png", None, tmp_path / "a.xml"),
        Item(second.id, second.photo, ("dog",), lambda: made, (10, 8)),
    ]
    assert write_set(tmp_path / "set", make_plan(items)) == []
    folder = VocFolder(tmp_path / "set")
    photos = folder.photos("train") + folder.photos("val")
    assert folder.has_masks(photos)
    check_files(folder, photos, masks=folder.mask_dir)
    assert (tmp_path / "set/SegmentationClass/a.png").read_bytes() == (tmp_path / "a.png").read_bytes()
    np.testing.assert_array_equal(read_mask(tmp_path / "set/SegmentationClass/b.png"), made)
    assert (tmp_path / "set/Annotations/a.xml").is_file()
    assert list(tmp_path.glob(".*")) == []


@pytest.mark.parametrize("through", ["../set", "link/set"])
def test_a_root_is_where_its_path_leads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, through: str) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here/link").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path / "here")
    write_set(Path(through), make_plan(make_items(tmp_path / "in", "ab")))
    assert (tmp_path / "set/JPEGImages/a.jpg").is_file()


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    (item,) = make_items(tmp_path, "a")
    wrong = Item(item.id, item.photo, item.labels, lambda: np.zeros((9, 10), np.uint8))
    with pytest.raises(InputError, match=r"a\.jpg: the photograph is 10 x 8 pixels, but its annotation is for 10 x 9"):
        write_set(tmp_path / "set", make_plan([wrong]))
    assert not (tmp_path / "set").exists()


def test_a_broken_photograph_stops_and_the_same_call_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = make_items(tmp_path / "in")
    good = items[2].photo.read_bytes()
    items[2].photo.write_bytes(b"no image")
    with pytest.raises(InputError, match=r"c\.jpg.*What is done lies in .*\.set\.partial; the same command continues"):
        write_set(tmp_path / "set", make_plan(items), threads=1)
    assert not (tmp_path / "set").exists()
    items[2].photo.write_bytes(good)
    opened = []
    real = prepare.put_photograph

    def count(source: Path, target: Path, **options: object) -> bool:
        opened.append(source.name)
        return real(source, target, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(prepare, "put_photograph", count)
    stray = tmp_path / ".set.partial/JPEGImages/.a.jpg.tmp"
    stray.touch()  # a copy that was cut off
    write_set(tmp_path / "set", make_plan(items), threads=1)
    assert "a.jpg" not in opened  # was there
    assert "c.jpg" in opened
    assert sorted(path.name for path in (tmp_path / "set/JPEGImages").iterdir()) == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "set"]
    assert not (tmp_path / "set/source.json").exists()


def test_ctrl_c_keeps_what_is_done_and_stops_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = make_items(tmp_path / "in", "abcdefghijkl")
    real, lock, calls = prepare.put_photograph, threading.Lock(), []

    def interrupt(source: Path, target: Path, **options: object) -> bool:
        with lock:
            calls.append(source)
        if source.stem == "b":
            raise KeyboardInterrupt
        return real(source, target, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(prepare, "put_photograph", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_set(tmp_path / "set", make_plan(items), threads=1)
    assert len(calls) < len(items)
    monkeypatch.setattr(prepare, "put_photograph", real)
    write_set(tmp_path / "set", make_plan(items))
    assert len(VocFolder(tmp_path / "set").photos("train")) == len(items) - 1


def test_an_unfinished_set_of_another_source_is_begun_anew(tmp_path: Path) -> None:
    items = make_items(tmp_path / "in")
    items[3].photo.write_bytes(b"no image")
    with pytest.raises(InputError):
        write_set(tmp_path / "set", make_plan(items, "one"), threads=1)
    left = make_items(tmp_path / "other", "xy")
    write_set(tmp_path / "set", make_plan(left, "two"))
    assert sorted(path.name for path in (tmp_path / "set/JPEGImages").iterdir()) == ["x.jpg", "y.jpg"]


def test_a_photograph_removed_in_between_is_not_in_the_set(tmp_path: Path) -> None:
    items = make_items(tmp_path / "in")
    items[3].photo.write_bytes(b"no image")
    with pytest.raises(InputError):
        write_set(tmp_path / "set", make_plan(items), threads=1)
    write_set(tmp_path / "set", make_plan(items[1:3]))
    assert sorted(path.name for path in (tmp_path / "set/JPEGImages").iterdir()) == ["b.jpg", "c.jpg"]


@pytest.mark.parametrize("seconds", [-10_000_000, 10_000_000], ids=["older", "ahead"])
@pytest.mark.parametrize("link", [None, "symbolic", "hard"])
def test_a_file_replaced_in_between_is_taken_anew_whatever_its_date(
    tmp_path: Path, seconds: int, link: Link | None
) -> None:
    items = make_items(tmp_path / "in")
    for kind, item in enumerate(items[:2]):
        write_mask_file(tmp_path / f"in/{item.id}.png", np.full((8, 10), kind))
        (tmp_path / f"in/{item.id}.xml").write_text("<annotation/>")
        items[kind] = replace(item, mask=tmp_path / f"in/{item.id}.png", annotation=tmp_path / f"in/{item.id}.xml")
    items[3].photo.write_bytes(b"no image")
    with pytest.raises(InputError):
        write_set(tmp_path / "set", make_plan(items), threads=1, link=link)
    save_photo(items[3].photo, 3)
    for path in (items[0].photo, tmp_path / "in/a.png", tmp_path / "in/a.xml"):
        path.unlink()  # a new file, as most programs write one
    save_photo(items[0].photo, 222)
    write_mask_file(tmp_path / "in/a.png", np.full((8, 10), 2))
    (tmp_path / "in/a.xml").write_text("<annotation><a/></annotation>")
    for path in (items[0].photo, tmp_path / "in/a.png", tmp_path / "in/a.xml"):
        os.utime(path, (path.stat().st_mtime + seconds,) * 2)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "in").iterdir()}
    write_set(tmp_path / "set", make_plan(items), link=link)
    for name in ("JPEGImages/a.jpg", "SegmentationClass/a.png", "Annotations/a.xml", "JPEGImages/b.jpg"):
        assert (tmp_path / "set" / name).read_bytes() == (tmp_path / "in" / Path(name).name).read_bytes()
    assert {path: path.stat().st_mtime_ns for path in before} == before, "the user's files keep their dates"
    assert not (tmp_path / "set/manifest.jsonl").exists()


def test_what_is_done_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = make_items(tmp_path / "in")
    items[3].photo.write_bytes(b"no image")
    with pytest.raises(InputError):
        write_set(tmp_path / "set", make_plan(items), threads=1)
    save_photo(items[3].photo, 3)
    real, taken = prepare.put_photograph, []
    monkeypatch.setattr(prepare, "put_photograph", lambda *a, **k: taken.append(a[0].name) or real(*a, **k))
    write_set(tmp_path / "set", make_plan(items))
    assert taken == ["d.jpg"]


def test_somebody_else_s_hidden_folder_is_kept(tmp_path: Path) -> None:
    kept = tmp_path / ".set.partial/mine.txt"
    kept.parent.mkdir()
    kept.touch()
    with pytest.raises(InputError, match=r"\.set\.partial: was not made here; move it away"):
        write_set(tmp_path / "set", make_plan(make_items(tmp_path)))
    assert kept.is_file()


def test_a_folder_in_use_is_kept(tmp_path: Path) -> None:
    kept = save_photo(tmp_path / "set" / "mine.jpg")
    for root in (tmp_path / "set", kept):
        with pytest.raises(InputError, match="is not empty"):
            write_set(root, make_plan(make_items(tmp_path)))
    assert kept.is_file()


def test_links_leave_the_source_as_it_was(tmp_path: Path) -> None:
    items = make_items(tmp_path / "in")
    before = {item.id: item.photo.read_bytes() for item in items}
    write_set(tmp_path / "hard", make_plan(items), link="hard")
    write_set(tmp_path / "soft", make_plan(items), link="symbolic")
    for item in items:
        assert (tmp_path / f"hard/JPEGImages/{item.id}.jpg").stat().st_ino == item.photo.stat().st_ino
        assert (tmp_path / f"soft/JPEGImages/{item.id}.jpg").is_symlink()
        assert item.photo.read_bytes() == before[item.id]
    folder = VocFolder(tmp_path / "soft")
    check_files(folder, folder.photos("train"), masks=None)


def test_photographs_that_were_rewritten_are_counted(tmp_path: Path) -> None:
    items = make_items(tmp_path / "in", "ab")
    Image.open(items[0].photo).save(tmp_path / "a.bmp")
    items[0] = Item("a", tmp_path / "a.bmp", ("dog",))
    (note,) = write_set(tmp_path / "set", make_plan(items))
    assert note.startswith("1 photographs were turned upright or brought into PNG")
    assert sorted(path.name for path in (tmp_path / "set/JPEGImages").iterdir()) == ["a.png", "b.jpg"]


def test_ids_are_names_without_blanks_and_differ_in_any_case() -> None:
    files = [Path(name) for name in ("x/my photo.jpg", "x/b.c.jpg", "x/d.png.jpg", "cat/1.jpg", "dog/1.png", "x/ .jpg")]
    assert list(name_ids(files).values()) == ["my_photo", "b.c", "d_png", "cat_1", "dog_1", "_"]
    deep = [Path(name) for name in ("cat/a/1.jpg", "dog/a/1.jpg", "dog/b/1.JPG")]
    assert list(name_ids(deep).values()) == ["cat_a_1", "dog_a_1", "dog_b_1"]
    for clash in (("x/a.jpg", "x/A.png"), ("cat/1.jpg", "dog/1.jpg", "x/Cat_1.jpg")):
        with pytest.raises(InputError, match="has the same name as"):
            name_ids(map(Path, clash))


def test_class_names() -> None:
    assert check_names(["a", "b c"], "here") == ("background", "a", "b c")
    for count, masks in ((254, True), (1000, False)):
        assert len(check_names([f"c{k}" for k in range(count)], "here", masks=masks)) == 1 + count
    with pytest.raises(InputError, match="here: 255 classes are too many, 8-bit masks hold 254 and background"):
        check_names([f"c{k}" for k in range(255)], "here", masks=True)
    for names, message in (
        ([f"c{k}" for k in range(30_000)], "here: 30,000 classes are too many; 29,999 are the most"),
        ([], "here: holds no class"),
        (["a", "A"], "the class 'A' has the same name as 'a'"),
        (["a\nb"], "is empty or has"),
        ([" a"], "a blank at an end"),
        ([""], "is empty"),
        (["Background"], "the same name as background, class 0"),
    ):
        with pytest.raises(InputError, match=message):
            check_names(names, "here")


@given(
    st.dictionaries(
        st.text("abcdefgh", min_size=1, max_size=4), st.sets(st.sampled_from("xyz"), min_size=1).map(tuple), min_size=2
    ),
    st.floats(0.01, 0.99),
    st.integers(0, 3),
)
def test_every_class_keeps_a_photograph_to_learn_from(labels: dict[str, tuple[str]], share: float, seed: int) -> None:
    splits = split_off(labels, share, seed)
    train, val = set(splits["train"]), set(splits["val"])
    assert train | val == set(labels)
    assert not train & val
    assert 1 <= len(val) <= max(1, round(share * len(labels)))
    assert train
    learnt = {name for key in train for name in labels[key]}
    spare = [key for key in labels if all(sum(n in own for own in labels.values()) > 1 for n in labels[key])]
    assert learnt == {name for own in labels.values() for name in own} or not spare
    assert splits == split_off(dict(reversed(labels.items())), share, seed)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
def test_shares_that_leave_nothing_are_refused(share: float) -> None:
    with pytest.raises(InputError, match="--val .*: must be between 0 and 1"):
        split_off({"a": ("x",), "b": ("x",)}, share)
    with pytest.raises(InputError, match="two photographs are the least"):
        split_off({"a": ("x",)}, 0.5)
