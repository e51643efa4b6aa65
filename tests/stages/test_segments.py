"""Masks from elsewhere: segments that vote on the run's own masks, and masks of another program in their place."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import Tool, check_refusal
from PIL import Image
from programs.kill_runs import SMALL
from pycocotools import mask as rle_masks
from tiny_run import content, make_data, make_run

from dsrg.errors import InputError
from dsrg.files import disk, pictures
from dsrg.labels import IGNORE
from dsrg.pipeline import run_pipeline
from dsrg.run.segmenting import Voter, superpixels
from dsrg.schema import Masks
from dsrg.segments import of_labels, vote
from dsrg.stages.dsrg import train_dsrg
from dsrg.stages.masks import after_crf, make_masks

# pycocotools 2 with NumPy 2, at each decoding
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
LOOSE = ("masks.confidence=0.6", "model.init=weights")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data") / "demo")


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run up to its masks, which leave pixels out; its seeds are every other row of the true masks."""
    run = make_run(data, tmp_path_factory.mktemp("runs") / "whole", *LOOSE)
    (run.directory / "seeds").mkdir(parents=True)
    for photo in run.train:
        mask = pictures.read_mask(run.folder.mask_path(photo))
        mask[::2] = IGNORE
        pictures.write_mask(run.directory / f"seeds/{photo.id}.png", mask)
    train_dsrg(run)
    make_masks(run)
    return run.directory


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def segments(data: Path, finished: Path, tmp_path: Path) -> Path:
    """Of each photograph in turn a label map, SAM's list and SA-1B's object."""
    folder = tmp_path / "segments"
    folder.mkdir()
    for number, photo in enumerate(make_run(data, finished, *LOOSE).train):
        width, height = pictures.read_size(photo.path)
        labels = np.arange(height)[:, None] // 10 * 5 + np.arange(width) // 10
        if number % 3 == 0:
            Image.fromarray(labels.astype(np.uint16)).save(folder / f"{photo.id}.png")
            continue
        flags = [np.asfortranarray(labels == label, np.uint8) for label in range(1, labels.max() + 1)]
        packed = [rle_masks.encode(own) for own in flags]
        rows = [{"segmentation": {"size": one["size"], "counts": one["counts"].decode()}} for one in packed]
        disk.write_json(folder / f"{photo.id}.json", rows if number % 3 == 1 else {"image": {}, "annotations": rows})
    return folder


def masks_of(folder: Path) -> dict[str, np.ndarray]:
    return {path.stem: pictures.read_mask(path) for path in sorted(folder.glob("*.png"))}


def test_the_masks_are_what_the_segments_decide(data: Path, copy: Path, segments: Path) -> None:
    before = masks_of(copy / "masks")
    shutil.rmtree(copy / "masks")
    run = make_run(data, copy, *LOOSE, f"masks.segments={segments}")
    make_masks(run)
    step = pickle.loads(pickle.dumps(after_crf(run)))  # as it travels to the processes of the CRF
    after = masks_of(copy / "masks")
    labels = np.arange(48)[:, None] // 10 * 5 + np.arange(48) // 10
    for photo in run.train:
        assert np.array_equal(after[photo.id], vote(before[photo.id], of_labels(labels), region_share=0.85))
        assert np.array_equal(after[photo.id], step(photo, before[photo.id]))
        assert {*after[photo.id].ravel().tolist()} <= {*np.flatnonzero(photo.tags).tolist(), IGNORE}
    assert any((after[name] != before[name]).any() for name in before)
    unlabelled = [np.mean([(mask == IGNORE).mean() for mask in masks.values()]) for masks in (before, after)]
    assert 0 < unlabelled[1] < unlabelled[0]


def test_without_the_key_masks_are_what_they_were(data: Path, finished: Path) -> None:
    run = make_run(data, finished, *LOOSE)
    assert after_crf(run) is None
    record = disk.read_object(finished / "masks/stage.json")
    for key in ("segments", "segment_share", "region_share", "superpixel"):
        record["settings"].pop(f"masks.{key}")  # of a run from before there were these keys
    disk.write_json(finished / "masks/stage.json", record)
    assert run.stage("masks").finished


def test_missing_segments_are_named_before_anything_is_trained(data: Path, tmp_path: Path, segments: Path) -> None:
    run = make_run(data, tmp_path / "run", f"masks.segments={segments}")
    first, *rest = run.train
    for path in [*segments.glob(f"{rest[1].id}.*"), *segments.glob(f"{first.id}.*")]:
        path.unlink()
    with pytest.raises(InputError, match=rf"{first.id}\.png: neither this file .* 2 of the 6 training photographs"):
        run_pipeline(run)
    assert not (tmp_path / "run/classifier").exists()


def test_a_broken_file_is_named_before_anything_is_written(data: Path, copy: Path, segments: Path) -> None:
    shutil.rmtree(copy / "masks")
    run = make_run(data, copy, *LOOSE, f"masks.segments={segments}")
    victim = next(segments.glob(f"{run.train[4].id}.*"))
    whole = victim.read_bytes()
    victim.write_text("{")
    with pytest.raises(InputError, match=rf"{victim.name}: "):
        make_masks(run)
    assert not (copy / "masks").exists()
    victim.write_bytes(whole)
    assert make_masks(run).finished


def test_segments_are_known_by_content(data: Path, copy: Path, segments: Path, tmp_path: Path) -> None:
    shutil.rmtree(copy / "masks")
    words = lambda place: (*LOOSE, f"masks.segments={place}")  # noqa: E731
    make_masks(make_run(data, copy, *words(segments)))
    moved = Path(shutil.move(segments, tmp_path / "moved"))
    assert make_run(data, copy, *words(moved)).stage("masks").finished
    victim = min(moved.glob("*.json"))
    whole = victim.read_bytes()
    victim.write_bytes(whole + b" ")
    with pytest.raises(InputError, match=r"masks: the data have changed .* the segments in masks\.segments"):
        _ = make_run(data, copy, *words(moved)).stage("masks").finished
    victim.unlink()  # a finished stage needs them no more
    assert make_run(data, copy, *words(moved)).stage("masks").finished
    with pytest.raises(InputError, match=r"masks: was made with masks\.segments = .*segments, which is now None"):
        _ = make_run(data, copy, *LOOSE).stage("masks").finished


def test_superpixels_vote_where_there_is_no_folder(data: Path, copy: Path) -> None:
    pytest.importorskip("skimage")
    before = masks_of(copy / "masks")
    shutil.rmtree(copy / "masks")
    run = make_run(data, copy, *LOOSE, "masks.segments=slic", "masks.superpixel=6", "masks.segment_share=0.4")
    make_masks(run)
    for photo in run.train:
        labels = superpixels(np.array(pictures.read_image(photo.path)), 6)
        assert 40 <= labels.max() <= 80 and labels.min() == 1  # 48 x 48 pixels
        expected = vote(before[photo.id], of_labels(labels), share=0.4)
        assert np.array_equal(pictures.read_mask(copy / f"masks/{photo.id}.png"), expected)


def test_superpixels_of_a_large_photograph_are_its_copys(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("skimage")
    picture = np.zeros((80, 120, 3), np.uint8)
    picture[:, 60:] = 200
    monkeypatch.setattr("dsrg.run.large.MOST_PIXELS", 40 * 60)
    labels = superpixels(picture, 20)
    assert labels.shape == (80, 120)
    assert not {*labels[:, :60].ravel().tolist()} & {*labels[:, 60:].ravel().tolist()}


def test_superpixels_without_scikit_image(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"masks\.segments = slic needs scikit-image; .* 'dsrg\[segments\]'"):
        Voter(Masks(segments="slic")).require([])


def test_the_folder_of_segments_is_checked(data: Path, segments: Path, tool: Tool) -> None:
    words = ("--root", data, f"masks.segments={segments}")
    assert tool("check_data", *words)[0] == 0
    victim = min(segments.glob("*.json"))
    victim.write_text("[7]")
    code, out, _ = tool("check_data", *words)
    assert code == 2
    assert f"fault: {victim} (segment 0): has no 'segmentation'" in out


def grounded(data: Path, run_dir: Path, path: Path) -> None:
    """COCO with run lengths, as Grounded-SAM's users export it, of a made result: true masks of the training split."""
    run = make_run(data, run_dir)
    images, rows = [], []
    for number, photo in enumerate(run.train, 1):
        mask = pictures.read_mask(run.folder.mask_path(photo))
        images.append({"id": number, "file_name": photo.path.name, "width": mask.shape[1], "height": mask.shape[0]})
        for index in photo.own.tolist():
            packed = rle_masks.encode(np.asfortranarray(mask == index, np.uint8))
            shape = {"size": packed["size"], "counts": packed["counts"].decode()}
            rows.append({"id": len(rows) + 1, "image_id": number, "category_id": index, "segmentation": shape})
            rows[-1] |= {"iscrowd": 0, "area": int((mask == index).sum()), "bbox": [0, 0, 1, 1], "score": 0.6}
    categories = [{"id": index, "name": name} for index, name in enumerate(run.classes.names)][1:]
    path.write_text(json.dumps({"images": images, "annotations": rows, "categories": categories}))


def test_masks_of_another_program_are_imported(data: Path, tmp_path: Path, tool: Tool) -> None:
    """The first half of the recipe in docs/corrections.md: from COCO to a run's masks."""
    run, place = make_run(data, tmp_path / "sam"), tmp_path / "sam/masks"
    grounded(data, tmp_path / "unused", tmp_path / "grounded.json")
    where = ("--root", data, f"data.masks={place}", "--masks", tmp_path / "grounded.json")
    assert tool("import_masks", *where)[0] == 0
    assert run.stage("masks").foreign
    assert run.require("masks") == place
    for photo in run.train:
        truth = pictures.read_mask(run.folder.mask_path(photo))
        assert np.array_equal(pictures.read_mask(place / f"{photo.id}.png"), np.where(truth == IGNORE, 0, truth))


def test_masks_of_another_program_are_retrained_on(data: Path, tmp_path: Path, tool: Tool) -> None:
    """The second half: a network learns from them, without any other stage."""
    run, place = make_run(data, tmp_path / "unused"), tmp_path / "sam/masks"
    place.mkdir(parents=True)
    for photo in run.train:
        mask = pictures.read_mask(run.folder.mask_path(photo))
        mask[:4] = IGNORE
        Image.fromarray(mask).save(place / f"{photo.id}.png")  # grey
    before = content(place)
    alone = ("retrain.distill=0", "model.init=weights", "retrain.start=fresh")
    words = ("--cfg", "demo/resnet18", f"data.root={data}", "workers=0", *SMALL, *alone)
    code, _, err = tool("retrain", *words, f"run_dir={tmp_path / 'sam'}")
    assert code == 0, err
    assert content(place) == before
    assert not (tmp_path / "sam/dsrg").exists() and not (tmp_path / "sam/classifier").exists()
    assert len(list((tmp_path / "sam/predictions/val").glob("*.png"))) == 3
    shutil.copytree(place, tmp_path / "odd/masks")
    victim = tmp_path / f"odd/masks/{run.train[2].id}.png"
    pictures.write_mask(victim, np.zeros((9, 7), np.uint8))
    check_refusal(tool("retrain", *words, f"run_dir={tmp_path / 'odd'}"), victim, "the mask is 7 x 9 pixels")
    victim.unlink()
    check_refusal(tool("retrain", *words, f"run_dir={tmp_path / 'odd'}"), victim.name, "does not exist")
    assert not (tmp_path / "odd/retrain").exists()
