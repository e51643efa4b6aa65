"""Photographs of every origin: found, found by name, put into a data folder as the stages read them."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from dsrg.data.labelled import read_labelled
from dsrg.data.own import read_folders
from dsrg.data.photo_index import PhotoIndex
from dsrg.data.photograph import describe_left_out, ending_of, put_photograph, walk
from dsrg.data.sources import find_sources
from dsrg.data.voc import VocFolder
from dsrg.errors import InputError
from dsrg.files import pictures

PIXELS = np.kron(np.arange(24, dtype=np.uint8).reshape(4, 6) * 10, np.ones((8, 8), np.uint8))  # 48 x 32, 24 fields
RGB = np.stack([PIXELS] * 3, 2)


def save(path: Path, orientation: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(RGB).save(path, quality=95, exif=exif)
    return path


def test_find_sees_every_depth_and_no_hidden_file(tmp_path: Path) -> None:
    names = ["b.JPG", "a/x.jpeg", "a/deep/er/y.PNG", "a/z.webp", "c.tif"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in (".hidden.jpg", "a/._x.jpeg", "Thumbs.db", "a/desktop.ini"):
        (tmp_path / name).touch()
    (tmp_path / ".trash").mkdir()
    (tmp_path / ".trash/w.jpg").touch()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)  # would never end
    found = walk(tmp_path).check()
    assert found.photographs == sorted(tmp_path / name for name in names)
    assert found.others == [tmp_path / "notes.txt"]
    assert found.skipped == sorted(tmp_path / name for name in (".hidden.jpg", ".trash", "a/._x.jpeg", "loop"))


def in_check(folder: Path) -> list[str]:
    return [str(path) for own in VocFolder(folder.parent, images=folder.name).photo_files().values() for path in own]


def in_probe(folder: Path) -> list[str]:
    labels = folder.parent / "labels"
    save(labels / "other/o.jpg")
    (labels / "mine").symlink_to(folder)
    photos = read_labelled(labels).photos
    return [str(folder / photo.path.relative_to(labels / "mine")) for photo in photos[:-1]]


DOORS: dict[str, Callable[[Path], list[str]]] = {
    "prepare-data": lambda folder: list(map(str, walk(folder).check().photographs)),
    "predict": lambda folder: [str(source.path) for source in find_sources([folder], recursive=True)[0]],
    "probe": in_probe,
    "data set": in_check,
}
"""Each door's list of the photographs in a folder."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "classes.txt").write_text("background\ncat\n")
    (tmp_path / "photos").mkdir()
    return tmp_path / "photos"


@pytest.mark.parametrize("door", DOORS)
def test_every_door_knows_the_same_endings(folder: Path, door: str) -> None:
    jpeg = ["jpg", "JPG", "jpeg", "JPEG", "jpe", "jfif", "JFIF", "jif"]
    endings = [*jpeg, "png", "PNG", "webp", "bmp", "tif", "TIFF", "gif"]
    names = sorted(f"{number:02}.{ending}" for number, ending in enumerate(endings))
    for name in (*names, "notes.txt", "mask.npz"):
        (folder / name).touch()
    assert DOORS[door](folder) == [str(folder / name) for name in names]


SYSTEM_PATHS = [
    *("@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg", "#recycle/b.jpg", "__MACOSX/._a.jpg", "__MACOSX/c.jpg"),
    *(".thumbnails/d.png", "$RECYCLE.BIN/e.jpg", "System Volume Information/f.jpg", "lost+found/h.jpg"),
    *(".ipynb_checkpoints/g-checkpoint.png", "@Recycle/i.jpg", ".Trash-1000/files/j.jpg"),
    *("Thumbs.db", ".DS_Store", "desktop.ini", "._a.jpg", ".hidden.png"),
]


@pytest.mark.parametrize("door", DOORS)
def test_no_door_takes_what_systems_and_archives_put_there(folder: Path, door: str) -> None:
    for name in ("a.jpg", *SYSTEM_PATHS):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    assert DOORS[door](folder) == [str(folder / "a.jpg")]


def test_what_systems_put_there_is_named(folder: Path) -> None:
    for name in ("a.jpg", *SYSTEM_PATHS):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    found = walk(folder).check()
    expected = {Path(name).parts[0] for name in SYSTEM_PATHS} - {"Thumbs.db", ".DS_Store", "desktop.ini"}
    assert {path.name for path in found.skipped} == expected
    assert found.others == []


@pytest.mark.parametrize("name", SYSTEM_PATHS[:4])
def test_folders_of_systems_are_no_classes(folder: Path, name: str) -> None:
    for path in ("cat/a.jpg", "dog/b.jpg", name):
        save(folder / path)
    assert {label for own in read_folders(folder).labels.values() for label in own} == {"cat", "dog"}
    assert read_labelled(folder).names == ("cat", "dog")


def broken(folder: Path, kind: str) -> str:
    """Put something that cannot be read beside photographs; what is said of it."""
    if kind == "link to nothing":
        (folder / "x.jpg").symlink_to(folder / "gone.jpg")
        return rf"x\.jpg: is a link to {folder}/gone\.jpg, which does not exist"
    if kind == "link of a folder to nothing":
        (folder / "x").symlink_to("/no/such/disk")
        return "x: is a link to /no/such/disk, which does not exist"
    if kind == "link to itself":
        (folder / "x.jpg").symlink_to(folder / "x.jpg")
        return r"x\.jpg: is a link that leads back to itself"
    if kind == "FIFO":
        os.mkfifo(folder / "x.jpg")
        return r"x\.jpg: is no regular file"
    (folder / "x.psd").touch()
    return r"x\.psd: photographs of this format cannot be read; save it as JPEG or PNG"


KINDS = ["link to nothing", "link of a folder to nothing", "link to itself", "FIFO", "Photoshop"]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_that_cannot_be_read_is_dropped_unseen(folder: Path, kind: str) -> None:
    save(folder / "a.jpg")
    sentence = broken(folder, kind)
    with pytest.raises(InputError, match=sentence):
        walk(folder).check()
    with pytest.raises(InputError, match=sentence):
        DOORS["probe"](folder)
    sources, left = find_sources([folder], recursive=True)
    assert [source.name for source in sources] == ["a"]
    (fault,) = left.faults.values()
    assert re.search(sentence, str(fault))


@pytest.mark.parametrize("inner", [False, True])
def test_folders_without_permission_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch, inner: bool) -> None:
    (folder / "inner").mkdir()
    save(folder / "a.jpg")
    closed = folder / "inner" if inner else folder
    scan = os.scandir

    def refuse(path: Path) -> object:  # the tests may run as root, whom nothing is forbidden
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    sentence = f"{closed}: the folder cannot be opened \\(Permission denied\\); check the path and its permissions"
    with pytest.raises(InputError, match=sentence):
        walk(folder).check()
    if inner:
        assert [str(fault).split(":")[0] for fault in find_sources([folder], recursive=True)[1].faults.values()] == [
            str(closed)
        ]
    else:
        with pytest.raises(InputError, match=sentence):
            find_sources([folder])


def test_a_link_gives_way_to_the_folder_itself(tmp_path: Path) -> None:
    save(tmp_path / "z/a.jpg")
    (tmp_path / "b").symlink_to(tmp_path / "z")  # comes first by its name
    found = walk(tmp_path).check()
    assert (found.photographs, found.skipped) == ([tmp_path / "z/a.jpg"], [tmp_path / "b"])


def test_links_that_double_end(tmp_path: Path) -> None:
    for number in range(40):  # 2^40 paths
        (tmp_path / f"{number}").mkdir()
        for name in "ab":
            (tmp_path / f"{number}/{name}").symlink_to(tmp_path / f"{number + 1}")
    save(tmp_path / "40/x.jpg")
    assert walk(tmp_path).check().photographs == [tmp_path / "40/x.jpg"]


def test_left_out_files_are_named() -> None:
    assert describe_left_out(Path("p"), []) == []
    (sentence,) = describe_left_out(Path("p"), [Path("p/a.txt"), Path("p/q/b.doc"), Path("p/c.md"), Path("p/d.md")])
    assert sentence == "p: 4 files are no photographs and were left out: a.txt, q/b.doc, c.md and 1 more."
    assert describe_left_out(Path("p"), [Path("p/a.txt")], said="files are no masks") == [
        "p: 1 files are no masks: a.txt."
    ]
    (sentence,) = describe_left_out(Path("p"), [], [Path("p/@eaDir")])
    assert sentence.endswith("are hidden, a system's, or found twice, and were left out: @eaDir.")


@pytest.mark.parametrize("name", ["IMG_1.JXL", "raw.nef"])
def test_formats_that_cannot_be_read_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(InputError, match=rf"{name}: .* save it as JPEG or PNG"):
        walk(tmp_path).check()


def test_index_takes_paths_names_stems_and_other_spellings(tmp_path: Path) -> None:
    decomposed = "ko\u0308nig.jpg"  # as macOS writes an umlaut
    files = [tmp_path / name for name in ("one.jpg", "a/two.b.png", "a/same.jpg", "b/same.jpg", decomposed)]
    index = PhotoIndex(tmp_path, files)
    assert index.find("one.jpg") == index.find("one") == index.find("ONE.JPG") == index.find("./one.jpg") == [files[0]]
    assert index.find("a/two.b.png") == index.find("two.b") == index.find("a\\two.b.png") == [files[1]]
    assert index.find("a/same") == [files[2]]
    assert index.find("same.jpg") == files[2:4]
    assert index.find("k\u00f6nig.jpg") == [files[4]]
    assert index.find("ghost") == []


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_stand_upright(tmp_path: Path, orientation: int) -> None:
    source = save(tmp_path / "in.jpg", orientation)
    target = tmp_path / "out.jpg"
    assert put_photograph(source, target) == (orientation != 1)
    # EXIF 2.32, tag 0x0112: where the stored first row and column lie in the upright photograph.
    turns = [
        *(PIXELS, PIXELS[:, ::-1], PIXELS[::-1, ::-1], PIXELS[::-1]),
        *(PIXELS.T, PIXELS.T[:, ::-1], PIXELS.T[::-1, ::-1], PIXELS.T[::-1]),
    ]
    expected = turns[orientation - 1]
    shown = np.array(pictures.read_image(target))[..., 0].astype(int)
    assert shown.shape == expected.shape
    assert np.abs(shown - expected).max() < 12  # JPEG
    if orientation == 1:
        assert target.read_bytes() == source.read_bytes()
    else:
        assert Image.open(target).getexif().get(ExifTags.Base.Orientation, 1) == 1


def test_the_annotation_s_size_decides_on_turning(tmp_path: Path) -> None:
    source = save(tmp_path / "in.jpg", 6)  # stored 48 x 32, shown 32 x 48
    assert put_photograph(source, tmp_path / "stored.jpg", size=(48, 32)) is False
    assert put_photograph(source, tmp_path / "shown.jpg", size=(32, 48)) is True
    assert Image.open(tmp_path / "shown.jpg").size == (32, 48)
    with pytest.raises(InputError, match=r"in\.jpg: the photograph is 48 x 32 pixels, .* for 50 x 32"):
        put_photograph(source, tmp_path / "wrong.jpg", size=(50, 32))
    assert not (tmp_path / "wrong.jpg").exists()


@pytest.mark.parametrize(("orientation", "side"), [(2, 48), (3, 48), (4, 48), (3, 32), (6, 32), (8, 32)])
def test_a_photograph_that_fits_its_annotation_either_way_stands_upright(
    tmp_path: Path, orientation: int, side: int
) -> None:
    stored = RGB[:, :side]
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(stored).save(tmp_path / "in.png", exif=exif)
    assert put_photograph(tmp_path / "in.png", tmp_path / "out.png", size=(side, 32)) is True
    upright = np.array(pictures.read_upright(tmp_path / "in.png"))
    np.testing.assert_array_equal(np.array(pictures.read_image(tmp_path / "out.png")), upright)
    assert (upright != stored).any()


ENDINGS = [("JPG", "jpg"), ("jpeg", "jpeg"), ("jpe", "jpg"), ("JFIF", "jpg"), ("PNG", "png"), ("gif", "png")]


@pytest.mark.parametrize(("name", "ending"), ENDINGS)
def test_endings_in_the_data_folder(name: str, ending: str) -> None:
    assert ending_of(Path(f"a.{name}")) == f".{ending}"


@pytest.mark.parametrize("ending", [".bmp", ".webp", ".TIF", ".tiff", ".gif"])
def test_other_formats_become_png(tmp_path: Path, ending: str) -> None:
    source = tmp_path / f"in{ending}"
    Image.fromarray(RGB).save(source, lossless=True)  # which WebP alone heeds
    target = tmp_path / f"out{ending_of(source)}"
    assert put_photograph(source, target, link="hard") is True
    assert target.suffix == ".png"
    np.testing.assert_array_equal(np.array(Image.open(target))[..., 0], PIXELS)


def test_several_pictures_in_a_file_and_deep_pixels_are_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (0, 99)]
    frames[0].save(tmp_path / "two.tif", save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match=r"two\.tif: holds 2 pictures"):
        put_photograph(tmp_path / "two.tif", tmp_path / "out.png")
    Image.fromarray(np.full((8, 8), 40000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(InputError, match=r"deep\.png: has more than 8 bits"):
        put_photograph(tmp_path / "deep.png", tmp_path / "out.png")
    assert not (tmp_path / "out.png").exists()


def test_links(tmp_path: Path) -> None:
    source = save(tmp_path / "in.jpg")
    put_photograph(source, tmp_path / "hard.jpg", link="hard")
    put_photograph(source, tmp_path / "hard.jpg", link="hard")  # once more, over itself
    put_photograph(source, tmp_path / "soft.jpg", link="symbolic")
    assert (tmp_path / "hard.jpg").stat().st_ino == source.stat().st_ino
    assert (tmp_path / "soft.jpg").readlink() == source.resolve()
    assert {path.name for path in tmp_path.iterdir()} == {"in.jpg", "hard.jpg", "soft.jpg"}


def test_a_link_to_another_disk_says_what_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(InputError, match=r"in\.jpg: cannot be linked .*cross-device.* use --link symbolic"):
        put_photograph(save(tmp_path / "in.jpg"), tmp_path / "out.jpg", link="hard")
