"""dsrg predict: masks of photographs and videos in every format."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from format_oracles import check_coco, check_labelme, paint
from helpers import NAMES, Tool, check_refusal
from PIL import Image
from trained_run import make_photos, make_trained_run

import dsrg
from dsrg.files import disk, pictures
from dsrg.files.manifest import Recorder
from dsrg.predict.formats import video
from dsrg.predict.segmenter import Segmenter

ALL = ("--formats", "png", "overlay", "coco", "labelme")


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_trained_run(tmp_path_factory.mktemp("runs") / "own", crf=True)


@pytest.fixture(scope="module")
def model(run_dir: Path) -> Segmenter:
    return dsrg.load(run_dir, "cpu")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    make_photos(tmp_path / "photos", "a.jpg", "b.png", "cat/c.jpg")
    make_photos(tmp_path / "photos", "wide.png", size=(100, 40))
    return tmp_path / "photos"


@pytest.fixture
def command(run_dir: Path, photos: Path, tmp_path: Path, tool: Tool) -> Any:
    """Runs the tool on the photographs; further words are appended."""
    return lambda *words: tool(
        "predict", "--model", run_dir, photos, "--out", tmp_path / "out", "--workers", 0, "--device", "cpu", *words
    )


def masks_in(folder: Path) -> dict[str, np.ndarray]:
    return {
        path.relative_to(folder).with_suffix("").as_posix(): pictures.read_mask(path, len(NAMES))
        for path in sorted(folder.rglob("*.png"))
    }


def times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_every_format_holds_the_masks_of_predict(command: Any, model: Segmenter, photos: Path, tmp_path: Path) -> None:
    code, out, _ = command("--recursive", "--probs", "--tolerance", 0, *ALL)
    assert code == 0
    assert "4 masks in" in out
    files = {"a": "a.jpg", "b": "b.png", "cat/c": "cat/c.jpg", "wide": "wide.png"}
    masks = masks_in(tmp_path / "out/masks")
    assert list(masks) == list(files)
    for name, file in files.items():
        found = model.predict(photos / file, probs=True)
        assert np.array_equal(masks[name], found.mask)
        assert len(np.unique(found.mask)) > 1
        overlay = np.array(Image.open(tmp_path / f"out/overlays/{name}.jpg")).astype(int)
        assert np.abs(overlay - found.overlay()).mean() < 15  # JPEG, and the photographs are noisy
        content = check_labelme(tmp_path / f"out/labelme/{name}.json")
        assert np.array_equal(paint(content, NAMES), found.mask)
        with np.load(tmp_path / f"out/probs/{name}.npz") as stored:
            assert stored["probs"].dtype == np.float16
            assert np.abs(stored["probs"] - found.probs).max() < 1e-3
            assert tuple(stored["classes"]) == NAMES
    check_coco(tmp_path / "out/annotations.json", {file: masks[name] for name, file in files.items()})
    assert (tmp_path / "out/classes.txt").read_text().split("\n")[:-1] == list(NAMES)


def test_worker_processes_make_the_same(command: Any, run_dir: Path, photos: Path, tmp_path: Path, tool: Tool) -> None:
    assert command()[0] == 0
    other = tmp_path / "other"
    assert tool("predict", "--model", run_dir, photos, "--out", other, "--workers", 1, "--device", "cpu")[0] == 0
    here, there = masks_in(tmp_path / "out/masks"), masks_in(other / "masks")
    assert here.keys() == there.keys() == {"a", "b", "wide"}
    assert all(np.array_equal(here[name], there[name]) for name in here)


def test_the_same_command_again_does_what_is_missing(command: Any, photos: Path, tmp_path: Path) -> None:
    assert command(*ALL)[0] == 0
    before = times(tmp_path / "out/masks") | times(tmp_path / "out/overlays")
    (tmp_path / "out/labelme/a.json").unlink()
    make_photos(photos, "new.jpg")
    code, _, _ = command(*ALL)
    assert code == 0
    after = times(tmp_path / "out")
    assert before.items() <= after.items()
    assert {"labelme/a.json", "masks/new.png"} <= {path.relative_to(tmp_path / "out").as_posix() for path in after}
    assert len(json.loads((tmp_path / "out/annotations.json").read_text())["images"]) == 4


def test_formats_come_later_without_the_network(command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert command()[0] == 0
    monkeypatch.setattr(Segmenter, "probabilities", lambda *_: pytest.fail("the network ran again"))
    assert command(*ALL)[0] == 0
    assert len(list((tmp_path / "out/labelme").iterdir())) == 3


def test_a_changed_photograph_is_made_anew(command: Any, model: Segmenter, photos: Path, tmp_path: Path) -> None:
    assert command(*ALL)[0] == 0
    Image.fromarray(np.array(Image.open(photos / "a.jpg"))[:, ::-1]).save(photos / "a.jpg")
    later = (tmp_path / "out/masks/a.png").stat().st_mtime + 5
    os.utime(photos / "a.jpg", (later, later))
    untouched = times(tmp_path / "out/masks")
    assert command(*ALL)[0] == 0
    again = times(tmp_path / "out/masks")
    assert [path.name for path in again if again[path] != untouched[path]] == ["a.png"]
    assert np.array_equal(masks_in(tmp_path / "out/masks")["a"], model.predict(photos / "a.jpg").mask)


def test_other_settings_are_refused_or_begin_anew(command: Any, tmp_path: Path) -> None:
    assert command("--no-crf", "--probs")[0] == 0
    before = times(tmp_path / "out")
    check_refusal(command("--no-crf", "--scales", 1, 1.5), tmp_path / "out", "scales = [1.0]", "--overwrite")
    assert times(tmp_path / "out") == before
    assert command("--no-crf", "--scales", 1, 1.5, "--overwrite")[0] == 0
    assert not (tmp_path / "out/probs").exists(), "nothing of the earlier settings is left"


def test_scales_merged_in_another_way_are_another_setting(command: Any, run_dir: Path, tmp_path: Path) -> None:
    assert command("--no-crf")[0] == 0
    record = tmp_path / "out/predict.json"
    earlier = json.loads(record.read_text())
    assert earlier.pop("merge") == "probabilities"
    record.write_text(json.dumps(earlier))  # as it was before there was a choice
    assert command("--no-crf")[0] == 0
    record.write_text(json.dumps(earlier | {"merge": "logits"}))
    check_refusal(command("--no-crf"), tmp_path / "out", "merge = logits, which is now probabilities", "--overwrite")


@pytest.mark.parametrize("text", ["[]", "3", '{"tags": [1]}', "{", "{}", '"x"'])
def test_a_record_that_is_none_is_one_sentence(command: Any, tmp_path: Path, text: str) -> None:
    assert command()[0] == 0
    before = times(tmp_path / "out/masks")
    (tmp_path / "out/predict.json").write_text(text)
    code, out, err = command()
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert str(tmp_path / "out") in err
    assert times(tmp_path / "out/masks") == before
    assert command("--overwrite")[0] == 0


def test_a_folder_of_somebody_else_is_left_alone(command: Any, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.txt").write_text("precious")
    check_refusal(command("--overwrite"), tmp_path / "out", "did not write")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_bad_photographs_are_named_and_the_others_done(command: Any, photos: Path, tmp_path: Path) -> None:
    (photos / "a.jpg").write_bytes((photos / "a.jpg").read_bytes()[:-200])
    (photos / "b.png").write_bytes(b"no image")
    code, out, err = command(*ALL)
    assert code == 2
    assert out == ""
    error = err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert str(photos / "a.jpg") in error
    assert str(photos / "b.png") in error
    assert "2 of 3 inputs are faulty; the others are done" in error
    masks = masks_in(tmp_path / "out/masks")
    assert list(masks) == ["wide"]
    check_coco(tmp_path / "out/annotations.json", {"wide.png": masks["wide"]})


def test_classes_and_tags_restrict(command: Any, photos: Path, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("image,labels\na,cat\nb.png,cat dog\nwide,traffic light\n")
    assert command("--no-crf", "--tags", table, "--classes", "cat", "traffic light")[0] == 0
    allowed = {"a": {0, 1}, "b": {0, 1}, "wide": {0, 3}}
    for name, mask in masks_in(tmp_path / "out/masks").items():
        assert set(np.unique(mask).tolist()) <= allowed[name]
    check_refusal(command("--classes", "unicorn"), "unicorn", "cat, dog, traffic light")
    table.write_text("image,labels\na,cat\n")
    check_refusal(command("--tags", table), photos / "b.png", table)


def make_clip(path: Path) -> Path:
    """Seven frames, each a photograph of its own."""
    frames = make_photos(path.parent / "frames-of-the-clip", *(f"{number}.png" for number in range(7)))
    with video.write_video(path, 10.0) as write:
        for frame in frames:
            write(np.array(Image.open(frame)))
    return path


def test_video_gives_masks_of_frames_and_an_overlay(
    run_dir: Path, model: Segmenter, tmp_path: Path, tool: Tool
) -> None:
    clip = make_clip(tmp_path / "clip.mp4")
    words = ("predict", "--model", run_dir, clip, "--out", tmp_path / "out", "--every", 2, "--batch", 3, "--workers", 0)
    code, out, _ = tool(*words, "--no-crf", *ALL)
    assert code == 0
    assert "4 masks in" in out
    masks = masks_in(tmp_path / "out/masks")
    assert list(masks) == [f"clip/{number:06}" for number in (0, 2, 4, 6)]
    frames = dict(video.frames(clip, 2))
    shown = dict(video.frames(tmp_path / "out/overlays/clip.mp4"))
    assert video.describe(tmp_path / "out/overlays/clip.mp4") == (4, 5.0)
    for place, (number, picture) in enumerate(frames.items()):
        found = model.predict(picture, crf=False)
        assert np.array_equal(masks[f"clip/{number:06}"], found.mask)
        assert np.abs(shown[place].astype(int) - found.overlay()).mean() < 20, "in order; the codec loses a little"
        check_labelme(tmp_path / f"out/labelme/clip/{number:06}.json")
    check_coco(tmp_path / "out/annotations.json", {f"frames/{name}.jpg": mask for name, mask in masks.items()})


def test_interrupted_video_continues_in_order(run_dir: Path, tmp_path: Path, tool: Tool) -> None:
    clip = make_clip(tmp_path / "clip.mp4")
    words = ("predict", "--model", run_dir, clip, "--workers", 0, "--no-crf", "--formats", "overlay", "--out")
    assert tool(*words, tmp_path / "whole")[0] == 0
    assert tool(*words, tmp_path / "parts")[0] == 0
    (tmp_path / "parts/overlays/clip.mp4").unlink()
    for number in (1, 4):
        (tmp_path / f"parts/masks/clip/{number:06}.png").unlink()
    assert tool(*words, tmp_path / "parts")[0] == 0
    whole, parts = ((tmp_path / name / "overlays/clip.mp4").read_bytes() for name in ("whole", "parts"))
    assert whole == parts


def test_video_that_breaks_off_is_named(run_dir: Path, tmp_path: Path, tool: Tool) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"no video")
    (photo,) = make_photos(tmp_path, "a.png")
    inputs = (tmp_path / "clip.mp4", photo)
    code, _, err = tool("predict", "--model", run_dir, *inputs, "--out", tmp_path / "out", "--no-crf")
    assert code == 2
    assert f"{tmp_path / 'clip.mp4'}: the video cannot be decoded" in err
    assert list(masks_in(tmp_path / "out/masks")) == ["a"]


def test_more_than_8_bits_are_refused(command: Any, photos: Path) -> None:
    Image.fromarray(np.full((9, 9), 40000, np.uint16)).save(photos / "deep.png")
    code, _, err = command()
    assert code == 2
    assert "deep.png: has more than 8 bits a channel (I;16); save it with 8. (1 of 4 inputs are faulty" in err


def test_a_place_that_cannot_be_written_is_one_sentence(run_dir: Path, photos: Path, tool: Tool) -> None:
    (photos / "file").touch()
    answer = tool("predict", "--model", run_dir, photos / "a.jpg", "--out", photos / "file/out", "--device", "cpu")
    check_refusal(answer, "file/out/predict.json: cannot be written (Not a directory); check the folder")


BAD = {
    "corrupt": lambda photos: (photos / "bad.jpg").write_bytes(b"\xff\xd8\xff broken"),
    "no picture": lambda photos: (photos / "bad.jpg").write_text("Dear reader"),
    "too wide for the exact CRF": lambda photos: make_photos(photos, "bad.jpg", size=(30_000, 2)),
    "a name whose outputs have none": lambda photos: make_photos(photos, "bad" + 248 * "x" + ".jpg"),
}


@pytest.mark.parametrize("kind", BAD)
def test_one_bad_photograph_stops_no_other(command: Any, photos: Path, tmp_path: Path, kind: str) -> None:
    assert command(*ALL)[0] == 0
    for path in (tmp_path / "out/masks").iterdir():
        path.unlink()
    BAD[kind](photos)
    code, out, err = command(*ALL)
    assert code == 2
    assert out == ""
    (error,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert error.startswith(f"error: {photos / 'bad'}")
    assert error.endswith("(1 of 4 inputs are faulty; the others are done)")
    assert {"a.png", "b.png", "wide.png"} <= {path.name for path in (tmp_path / "out/masks").iterdir()}
    named = {image["file_name"] for image in json.loads((tmp_path / "out/annotations.json").read_text())["images"]}
    assert named == {"a.jpg", "b.png", "wide.png"}


def test_a_photograph_that_the_memory_is_too_small_for_stops_no_other(
    command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Segmenter.probabilities

    def probabilities(self: Segmenter, pictures: list[np.ndarray], *settings: Any) -> Any:
        if any(picture.shape[1] == 100 for picture in pictures) or len(pictures) > 1:
            raise MemoryError
        return whole(self, pictures, *settings)

    monkeypatch.setattr(Segmenter, "probabilities", probabilities)
    code, _, err = command()
    assert code == 2
    assert "wide.png: needs more memory than there is; give a smaller --size" in err
    assert list(masks_in(tmp_path / "out/masks")) == ["a", "b"]


def test_a_full_disk_stops_at_once(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Recorder, path: Path, *_: Any) -> str:
        raise disk.unwritable(path, OSError(errno.ENOSPC, "No space left on device"))

    monkeypatch.setattr(Recorder, "write", full)
    code, _, err = command()
    assert code == 2
    assert err.count("No space left on device") == 1
    assert "free some space, then run the same command again." in err


def test_names_that_are_no_utf8_come_back_from_json(command: Any, photos: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    (photos / "a.jpg").rename(photos / name)
    assert command(*ALL)[0] == 0
    content = json.loads((tmp_path / f"out/labelme/{Path(name).stem}.json").read_text("ascii"))
    assert (tmp_path / "out/labelme" / content["imagePath"]).samefile(photos / name)
    coco = json.loads((tmp_path / "out/annotations.json").read_text("ascii"))
    assert name in {image["file_name"] for image in coco["images"]}
    before = times(tmp_path / "out/masks")
    assert command(*ALL)[0] == 0
    assert times(tmp_path / "out/masks") == before


def test_large_photographs_go_one_by_one(model: Segmenter) -> None:
    assert model.fitting((40, 60, 3), 8) == 8
    assert model.fitting((3000, 4000, 3), 8) == 2**27 // (len(NAMES) * 12_000_000)
    assert model.fitting((30000, 40000, 3), 8) == 1


def test_what_cannot_be_opened_is_named_and_all_others_are_done(command: Any, photos: Path, tmp_path: Path) -> None:
    (photos / "gone.jpg").symlink_to("/no/such/photograph.jpg")
    (photos / "camera.NEF").touch()
    os.mkfifo(photos / "fifo.png")
    os.mkfifo(photos / "fifo.mp4")
    make_photos(photos / "@eaDir", "thumb.jpg")
    code, out, err = command("--recursive")
    assert code == 2
    for part in ("gone.jpg: is a link to /no/such", "camera.NEF: photographs of this", "fifo.png: is no regular file"):
        assert part in err
    assert "fifo.mp4: is no regular file" in err
    assert "(4 of 8 inputs are faulty; the others are done)" in err
    assert "@eaDir" in out
    assert sorted(masks_in(tmp_path / "out/masks")) == ["a", "b", "cat/c", "wide"]
