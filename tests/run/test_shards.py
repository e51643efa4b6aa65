"""--shard I/N: several calls, on machines that share a disk or do not, make the files of one."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import NAMES, make_voc
from trained_run import make_photos, make_trained_run

import dsrg
from dsrg import config, distributed
from dsrg.commands import make_seeds as make_seeds_command
from dsrg.commands import predict as predict_command
from dsrg.data.sources import find_sources
from dsrg.distributed import Shard
from dsrg.errors import InputError
from dsrg.files import disk, locks, storage
from dsrg.predict.photographs import Options, predict
from dsrg.run.folder import Run
from dsrg.run.stage import AwaitingShards
from dsrg.stages.seeds import make_seeds

IDS = tuple("abcde")
SETTINGS = ("seeds.crf=false", "seeds.thresholds=fixed", "workers=0", "device=cpu", "model.weights=null")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_voc(tmp_path / "data", {"train": IDS, "val": ("v",)})


@pytest.fixture(autouse=True)
def whole() -> object:
    yield
    distributed.take_shard(None)


def make_run(data: Path, run_dir: Path) -> Run:
    """A run whose maps somebody else has made."""
    generator = np.random.default_rng(0)
    for name in IDS:
        if not (run_dir / f"cams/{name}.npz").exists():
            storage.write_cams(run_dir / f"cams/{name}.npz", (1, 2), generator.random((2, 3, 4)))
    overrides = [f"data.root={data}", f"run_dir={run_dir}", "model.freeze_batch_norm=false", *SETTINGS]
    return Run(config.load("demo/resnet18", overrides))


def seeds_of(run: Run) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run.directory / "seeds").glob("*.png")}


def test_shards_are_read_and_share_everything_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert distributed.parse_shard("2/3") == Shard(2, 3)
    for text in ("0/3", "4/3", "1", "1/0", "a/b", "-1/3", "1/3/5", ""):
        with pytest.raises(ValueError, match="is no shard"):
            distributed.parse_shard(text)
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    found = []
    for number in (1, 2, 3):
        distributed.take_shard(Shard(number, 3))
        for rank in (0, 1):
            monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
            found += distributed.share(range(20), sharded=True)
    assert sorted(found) == list(range(20))
    assert distributed.share(range(4)) == [1, 3]  # what is measured is no file, and shared among processes alone


def test_shards_on_one_disk_make_what_one_call_makes(data: Path, tmp_path: Path) -> None:
    alone = make_run(data, tmp_path / "alone")
    figures = make_seeds(alone).figures
    run = make_run(data, tmp_path / "shared")
    distributed.take_shard(Shard(2, 2))
    with pytest.raises(AwaitingShards, match=r"shard 2/2 is done, 2 of 5 files are there"):
        make_seeds(run)
    assert sorted(seeds_of(run)) == ["b.png", "d.png"]
    with pytest.raises(AwaitingShards):  # again: nothing is left to do for it
        make_seeds(run)
    distributed.take_shard(Shard(1, 2))
    assert make_seeds(run).figures == figures  # the last one measures and finishes
    assert seeds_of(run) == seeds_of(alone)
    distributed.take_shard(None)
    assert run.stage("seeds").finished


def test_shards_on_disks_of_their_own_are_put_together_by_copying(data: Path, tmp_path: Path) -> None:
    alone = make_run(data, tmp_path / "alone")
    make_seeds(alone)
    for number in (1, 2):
        distributed.take_shard(Shard(number, 2))
        with pytest.raises(AwaitingShards):
            make_seeds(make_run(data, tmp_path / str(number)))
    distributed.take_shard(None)
    shutil.copytree(tmp_path / "2", tmp_path / "1", dirs_exist_ok=True)
    run = make_run(data, tmp_path / "1")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "1/seeds").glob("*.png")}
    make_seeds(run)
    assert seeds_of(run) == seeds_of(alone)
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert run.stage("seeds").finished


def test_shards_write_beside_each_other_and_not_beside_a_whole_run(data: Path, tmp_path: Path) -> None:
    first, second = (locks.FolderLock(tmp_path / "run", shared=True) for _ in range(2))
    with pytest.raises(InputError, match="is being written by process"):
        locks.FolderLock(tmp_path / "run")
    first.release()
    second.release()
    held = locks.FolderLock(tmp_path / "run")
    with pytest.raises(InputError, match="is being written by process"):
        locks.FolderLock(tmp_path / "run", shared=True)
    held.release()


def test_command_makes_a_shard_and_trains_for_none(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(data, tmp_path / "run")
    line = ["--cfg", "demo/resnet18", f"data.root={data}", f"run_dir={run.directory}", *SETTINGS]
    line += ["model.freeze_batch_norm=false", "--shard"]
    assert make_seeds_command.main([*line, "1/2"]) == 2  # there is no classifier yet
    assert "run dsrg train-classifier first" in capsys.readouterr().err.replace("\n", " ")
    assert not (run.directory / "seeds").exists()
    with pytest.raises(SystemExit):
        make_seeds_command.main([*line, "3/2"])
    assert "is no shard such as 1/4" in capsys.readouterr().err
    assert distributed.shard() is None


def test_predictions_of_shards_are_put_together_by_copying(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = tmp_path / "photos"
    make_photos(photos, *(f"{name}.png" for name in IDS))
    model = dsrg.load(make_trained_run(tmp_path / "run"), "cpu")
    sources, _ = find_sources([photos])
    made = {"formats": ("png", "coco"), "workers": 0}
    alone, one, two = (tmp_path / name for name in ("alone", "one", "two"))
    assert predict(model, sources, alone, Options(**made)) == len(IDS)
    counts = [
        predict(model, sources, out, Options(**made, shard=Shard(*part)))
        for out, part in ((one, (1, 2)), (two, (2, 2)))
    ]
    assert counts == [3, 2]
    assert not (one / "annotations.json").exists()
    assert "without --shard" in capsys.readouterr().out
    shutil.copytree(two, one, dirs_exist_ok=True, copy_function=shutil.copyfile)  # with the times of today
    before = {path: path.stat().st_mtime_ns for path in (one / "masks").iterdir()}
    assert predict(model, sources, one, Options(**made)) == len(IDS)
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert "left alone" not in capsys.readouterr().out
    assert disk.read_json(one / "annotations.json") == disk.read_json(alone / "annotations.json")
    for path in (alone / "masks").iterdir():
        assert (one / "masks" / path.name).read_bytes() == path.read_bytes()
    assert len(NAMES) > 1


def test_overwrite_goes_with_no_shard(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = [str(tmp_path), "--model", str(tmp_path), "--out", str(tmp_path / "out"), "--shard", "1/2", "--overwrite"]
    assert predict_command.main(line) == 2
    assert "does not go with --shard" in capsys.readouterr().err
