"""dsrg predict on a folder of its own: what is out of date is made anew, and what somebody changed stays."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trained_run import make_photos, make_trained_run

import dsrg
from dsrg.files import pictures
from dsrg.predict.formats import video
from dsrg.predict.segmenter import Segmenter

LEFT = ".a.png.abcdefgh.tmp"
"""As a kill in the middle of writing leaves it."""
FORMATS = ("--formats", "png", "overlay", "coco", "labelme", "--probs")
OWN = {
    "png": "masks/a.png",
    "overlay": "overlays/a.jpg",
    "labelme": "labelme/a.json",
    "probs": "probs/a.npz",
    "coco": "annotations.json",
    "video": "overlays/clip.mp4",
    "frame": "frames/clip/000000.jpg",
    "classes": "classes.txt",
}
"""A file of each format."""
MADE_OF_PHOTO = tuple(kind for kind in OWN if kind not in ("coco", "classes"))


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_trained_run(tmp_path_factory.mktemp("runs") / "own")


@pytest.fixture(scope="module")
def model(run_dir: Path) -> Segmenter:
    return dsrg.load(run_dir, "cpu")


@pytest.fixture(scope="module")
def made(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of a folder there/ with photos/ and out/, made once for all tests."""
    folder = tmp_path_factory.mktemp("made")
    write_inputs(folder / "there/photos", 0)
    assert predict(run_dir, folder / "there") == 0
    return Path(shutil.copytree(folder / "there", folder / "made"))


@pytest.fixture
def there(made: Path) -> Path:
    """The folder that `made` is a copy of, with all its files as they were, their dates too."""
    shutil.rmtree(made.parent / "there")
    return Path(shutil.copytree(made, made.parent / "there"))


def predict(run_dir: Path, folder: Path, *words: str) -> int:
    from dsrg.commands import predict as command

    paths = ("--model", str(run_dir), str(folder / "photos"), "--out", str(folder / "out"))
    return command.main([*paths, "--workers", "0", "--device", "cpu", *FORMATS, *words])


def write_inputs(folder: Path, first: int) -> None:
    """a.png, and a video of two frames; those of another `first` look different."""
    pictures = [np.array(Image.open(path)) for path in make_photos(folder / "all", *(f"{n}.png" for n in range(6)))]
    shutil.rmtree(folder / "all")
    Image.fromarray(pictures[first]).save(folder / "a.png")
    with video.write_video(folder / "clip.mp4", 10.0) as write:
        for picture in pictures[first + 1 : first + 3]:
            write(picture)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("seconds", [-10_000_000, 10_000_000], ids=["older", "ahead"])
def test_whatever_the_date_of_a_new_photograph_all_its_files_are_made_anew(
    run_dir: Path, there: Path, model: Segmenter, seconds: int
) -> None:
    before = contents(there / "out")
    write_inputs(there / "photos", 3)
    for path in (there / "photos").iterdir():
        os.utime(path, (path.stat().st_mtime + seconds,) * 2)
    assert predict(run_dir, there) == 0
    after = contents(there / "out")
    assert not [kind for kind in MADE_OF_PHOTO if after[OWN[kind]] == before[OWN[kind]]]
    found = model.predict(there / "photos/a.png", crf=None)
    assert np.array_equal(pictures.read_mask(there / "out/masks/a.png"), found.mask)
    again = {path: path.stat().st_mtime_ns for path in (there / "out/masks").rglob("*.png")}
    assert predict(run_dir, there) == 0
    assert all(path.stat().st_mtime_ns == time for path, time in again.items())


@pytest.mark.parametrize(
    ("replaced", "copied"),
    [(False, False), (True, False), (True, True)],
    ids=["same photograph", "photograph dated ahead", "in a copy of the folder"],
)
@pytest.mark.parametrize("kind", OWN)
def test_what_somebody_changed_is_never_written_over(
    run_dir: Path, there: Path, capsys: pytest.CaptureFixture[str], kind: str, replaced: bool, copied: bool
) -> None:
    path = there / "out" / OWN[kind]
    if kind == "png":  # of the same size, as a corrected mask is
        mask = pictures.read_mask(path).copy()
        mask[:9] = 2
        pictures.write_mask(path, mask)
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"!")
    if replaced:
        write_inputs(there / "photos", 3)
        for photo in (there / "photos").iterdir():
            os.utime(photo, (photo.stat().st_mtime + 10_000_000,) * 2)
    if copied:
        shutil.copytree(there / "out", there / "copy", copy_function=shutil.copyfile)
        shutil.rmtree(there / "out")
        (there / "copy").rename(there / "out")
    corrected = path.read_bytes()
    capsys.readouterr()
    assert predict(run_dir, there) == 0
    assert path.read_bytes() == corrected
    said = capsys.readouterr().out
    assert f"out: not written by dsrg, or changed since, and left alone: {OWN[kind]}; --overwrite makes" in said
    assert predict(run_dir, there, "--overwrite") == 0
    assert path.read_bytes() != corrected


def test_a_folder_without_its_manifest_is_somebody_elses(run_dir: Path, there: Path) -> None:
    (there / "out/manifest.jsonl").unlink()
    before = contents(there / "out")
    write_inputs(there / "photos", 3)
    assert predict(run_dir, there) == 0
    assert {name: content for name, content in contents(there / "out").items() if name in before} == before


def test_other_formats_follow_a_corrected_mask(run_dir: Path, there: Path) -> None:
    path = there / "out/masks/a.png"
    corrected = np.full_like(pictures.read_mask(path), 3)
    pictures.write_mask(path, corrected)
    assert predict(run_dir, there) == 0
    assert np.array_equal(pictures.read_mask(path), corrected)
    content = json.loads((there / "out/labelme/a.json").read_text())
    assert {shape["label"] for shape in content["shapes"]} == {"traffic light"}
    coco = json.loads((there / "out/annotations.json").read_text())
    number = next(image["id"] for image in coco["images"] if image["file_name"] == "a.png")
    assert [one["category_id"] for one in coco["annotations"] if one["image_id"] == number] == [3]


@pytest.mark.parametrize("kept", [0, 1, 7, 50])
def test_a_call_that_is_killed_anywhere_takes_no_file_of_its_own_for_the_users(
    run_dir: Path, there: Path, made: Path, capsys: pytest.CaptureFixture[str], kept: int
) -> None:
    """The line is written before the file, and a torn line spoils no other."""
    manifest = there / "out/manifest.jsonl"
    lines = manifest.read_bytes()
    write_inputs(there / "photos", 3)
    with manifest.open("ab") as file:  # as after a kill between a line and its file, in the midst of the next line
        old = json.loads(next(line for line in lines.splitlines() if b"masks/a.png" in line))
        file.write(b"\n" + json.dumps([old[0], 5, 6, "none", [1, 2]]).encode() + b"\n" + b'["masks/b.png", 3'[:kept])
    capsys.readouterr()
    assert predict(run_dir, there) == 0
    assert "left alone" not in capsys.readouterr().out
    assert contents(there / "out")["masks/a.png"] != contents(made / "out")["masks/a.png"]


def test_a_video_that_is_corrected_frame_by_frame_keeps_its_name(run_dir: Path, there: Path, tmp_path: Path) -> None:
    (there / "out/overlays/clip.mp4").unlink()
    assert predict(run_dir, there) == 0
    assert video.describe(there / "out/overlays/clip.mp4")[0] == 2
    assert not [path for path in (there / "out/overlays").iterdir() if path.name.startswith(".")]


def test_what_a_kill_left_goes_with_the_next_run(run_dir: Path, there: Path) -> None:
    for folder in ("", "masks", "labelme"):
        (there / "out" / folder / LEFT).touch()
    assert predict(run_dir, there) == 0
    assert not list(there.rglob(LEFT))


def test_a_kill_before_the_first_file_does_not_close_the_folder(run_dir: Path, tmp_path: Path) -> None:
    write_inputs(tmp_path / "photos", 0)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.predict.json.abcdefgh.tmp").touch()
    assert predict(run_dir, tmp_path) == 0
    assert (tmp_path / "out" / OWN["png"]).is_file()
    assert not list((tmp_path / "out").glob(".*.tmp"))
