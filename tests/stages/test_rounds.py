"""Retraining in rounds: each learns from the masks of the network before."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from demo_run import make_demo_data, start_demo_run
from PIL import Image

from dsrg.errors import InputError
from dsrg.files import pictures, storage
from dsrg.run import engine, networks
from dsrg.run.folder import Run
from dsrg.stages.masks import write_masks
from dsrg.stages.retrain import retrain, train_supervised

QUICK = (
    *("workers=0", "model.backbone=mobilenet_v2", "model.init=weights"),
    *("masks.scales=[1.0]", "masks.size=33", "masks.crf=false", "retrain.start=fresh"),
    *("retrain.iterations=3", "retrain.batch=2", "retrain.size=33", "retrain.log_every=1", "retrain.warmup=0"),
    *("retrain.checkpoint_every=1", "retrain.lr=0.02", "retrain.last_multiplier=1", "retrain.optimizer=sgd"),
)
TWO = ("retrain.rounds=2", "retrain.settled=1.0")

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_demo_data(tmp_path_factory, train=4, val=2, size=48)


def make_run(data: Path, run_dir: Path, *overrides: str) -> Run:
    """A run whose masks are somebody else's: the photograph's first class everywhere but for a strip at the top."""
    run = start_demo_run(data, run_dir, *QUICK, *overrides)
    if not run_dir.exists():
        (run_dir / "masks").mkdir(parents=True)
        for photo in run.train:
            mask = np.full(np.array(Image.open(photo.path)).shape[:2], photo.own[0], np.uint8)
            mask[:8] = 0
            pictures.write_mask(run_dir / "masks" / f"{photo.id}.png", mask)
    return run


def weights(folder: Path) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = storage.load_checkpoint(folder / "checkpoint.pt")["model"]
    return tensors


def same(first: Path, second: Path) -> bool:
    one, two = weights(first), weights(second)
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.fixture(scope="module")
def once(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "once"
    retrain(make_run(data, run_dir))
    return run_dir


@pytest.fixture(scope="module")
def twice(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "twice"
    retrain(make_run(data, run_dir, *TWO))
    return run_dir


def test_the_second_round_learns_from_the_masks_of_the_first(
    data: Path, once: Path, twice: Path, tmp_path: Path
) -> None:
    rounds = twice / "retrain/rounds"
    assert same(rounds / "round1", once / "retrain")
    run = make_run(data, once)
    write_masks(run, networks.trained_deeplab(run, "retrain"), tmp_path)
    agree = pixels = 0
    for photo in run.train:
        own = pictures.read_mask(rounds / f"round2/masks/{photo.id}.png", len(run.classes))
        assert np.array_equal(own, pictures.read_mask(tmp_path / f"{photo.id}.png", len(run.classes)))
        before = pictures.read_mask(twice / f"masks/{photo.id}.png", len(run.classes))
        for row_before, row_own in zip(before.tolist(), own.tolist(), strict=True):
            agree += sum(a == b for a, b in zip(row_before, row_own, strict=True))
            pixels += len(row_own)
    figures = retrain(make_run(data, twice, *TWO)).figures["retrain_rounds"]  # finished: its record is read
    assert [sorted(told) for told in figures] == [
        ["masks_coverage", "masks_miou"],
        ["agreement", "masks_coverage", "masks_miou"],
    ]
    assert figures[0]["masks_miou"] != figures[1]["masks_miou"]
    assert figures[1]["agreement"] == pytest.approx(agree / pixels)
    assert 0 < figures[1]["masks_miou"] < 1

    shutil.copytree(rounds / "round2/masks", tmp_path / "run/masks")  # those masks by hand: the same training
    retrain(make_run(data, tmp_path / "run"))
    assert same(rounds / "round2", tmp_path / "run/retrain")
    assert same(rounds / "round2", twice / "retrain")
    assert not same(rounds / "round1", twice / "retrain")


@pytest.mark.parametrize("calls", [2, 5])
def test_an_interrupted_round_ends_with_the_same_bits(
    data: Path, twice: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    left = iter(range(calls))
    save = engine._save

    def dying(*given: object) -> None:
        save(*given)  # type: ignore[arg-type]
        if next(left, None) is None:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(engine, "_save", dying)
        with pytest.raises(KeyboardInterrupt):
            retrain(make_run(data, tmp_path / "run", *TWO))
    assert not make_run(data, tmp_path / "run", *TWO).stage("retrain").finished
    retrain(make_run(data, tmp_path / "run", *TWO))
    assert same(tmp_path / "run/retrain", twice / "retrain")
    logs = [(folder / "retrain/metrics.jsonl").read_text() for folder in (tmp_path / "run", twice)]
    assert logs[0] == logs[1]


def test_masks_that_hardly_change_end_it(data: Path, once: Path, tmp_path: Path) -> None:
    retrain(make_run(data, tmp_path / "run", "retrain.rounds=5", "retrain.settled=0"))
    assert same(tmp_path / "run/retrain", once / "retrain")
    assert sorted(path.name for path in (tmp_path / "run/retrain/rounds").iterdir()) == ["round1", "round2"]


def test_what_full_supervision_does_not_read_may_change(data: Path, once: Path, tmp_path: Path) -> None:
    train_supervised(make_run(data, tmp_path / "run"))
    run = make_run(data, tmp_path / "run", *TWO, "retrain.start=dsrg", "retrain.distill=0.5")
    assert run.stage("supervised").finished
    record = tmp_path / "run/supervised/stage.json"  # of the version before
    content = json.loads(record.read_text())
    content["settings"] |= {"retrain.start": "fresh", "retrain.distill": 0.0}
    record.write_text(json.dumps(content))
    assert run.stage("supervised").finished


@pytest.mark.parametrize("key", ["retrain.distill=0.5", "retrain.start=dsrg"])
def test_masks_from_elsewhere_have_no_dsrg_network(data: Path, tmp_path: Path, key: str) -> None:
    with pytest.raises(InputError, match=r"dsrg: holds no trained network, and retrain\.\w+ = .* needs it; run dsrg"):
        retrain(make_run(data, tmp_path / "run", key))
    assert not (tmp_path / "run/retrain").exists()
