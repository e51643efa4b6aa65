"""A stage's record: what counts as the same settings."""

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import NAMES, make_voc
from processes import OWNS, killed, program

from dsrg import tables
from dsrg.data import voc
from dsrg.data.classes import read_classes
from dsrg.errors import InputError
from dsrg.files import disk, storage
from dsrg.run import environment
from dsrg.run.folder import Run, Stage
from dsrg.schema import Config
from dsrg.stages.seeds import make_seeds


def record(folder: Path, settings: dict[str, object]) -> None:
    disk.write_json(folder / "stage.json", {"finished": True, "seconds": 1.0, "figures": {}, "settings": settings})


def make_stage(folder: Path, settings: dict[str, object]) -> Stage:
    return Stage(folder, settings, lambda: None)


def test_same_settings_are_finished(tmp_path: Path) -> None:
    record(tmp_path, {"dsrg.lr": 0.1})
    assert make_stage(tmp_path, {"dsrg.lr": 0.1}).finished


def test_a_file_that_is_gone_is_unfinished_work(tmp_path: Path) -> None:
    record(tmp_path, {})
    (tmp_path / "a.png").touch()
    assert Stage(tmp_path, {}, lambda: None, ["a.png"]).finished
    assert not Stage(tmp_path, {}, lambda: None, ["a.png", "b.png"]).finished


def test_other_value_is_refused_with_its_key(tmp_path: Path) -> None:
    record(tmp_path, {"dsrg.lr": 0.1})
    with pytest.raises(InputError, match=r"dsrg\.lr = 0\.1, which is now 0\.2"):
        _ = make_stage(tmp_path, {"dsrg.lr": 0.2}).finished


@pytest.mark.parametrize("name", tables.NAMED_WEIGHTS)
def test_a_name_of_weights_is_no_path(tmp_path: Path, name: str) -> None:
    record(tmp_path, {"model.weights": "/a/w.pth"})
    assert make_stage(tmp_path, {"model.weights": "/b/w.pth"}).finished
    with pytest.raises(InputError, match=f"w.pth, which is now {name}"):
        _ = make_stage(tmp_path, {"model.weights": name}).finished


def test_the_commit_is_that_of_its_own_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "theirs"], check=True)
    theirs = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    for file, commit in (
        (tmp_path / "dsrg/run/environment.py", theirs),
        (tmp_path / ".venv/lib/dsrg/run/environment.py", None),
    ):
        file.parent.mkdir(parents=True)
        monkeypatch.setattr(environment, "__file__", str(file))
        assert environment.commit() == commit
    monkeypatch.setenv("PATH", "")
    assert environment.commit() is None


def test_key_of_a_newer_version_counts_as_its_default(tmp_path: Path) -> None:
    record(tmp_path, {"dsrg.lr": 0.1})
    assert make_stage(tmp_path, {"dsrg.lr": 0.1, "dsrg.optimizer": "sgd"}).finished
    with pytest.raises(InputError, match=r"dsrg\.optimizer = sgd, which is now adamw"):
        _ = make_stage(tmp_path, {"dsrg.lr": 0.1, "dsrg.optimizer": "adamw"}).finished


def test_time_of_an_interrupted_stage_adds_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(tmp_path, {})  # 1 s, of the part before the interruption
    text = (tmp_path / "stage.json").read_text().replace("true", "false")
    (tmp_path / "stage.json").write_text(text)
    clock = iter((100.0, 102.5))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    stage = Stage(tmp_path, {}, lambda: None)
    stage.begin()
    stage.finish({})
    assert stage.seconds == 3.5


def test_an_interrupted_stage_begins_again_and_finishes(tmp_path: Path) -> None:
    begun: list[int] = []
    stage = Stage(tmp_path, {}, lambda: begun.append(1))
    stage.begin()
    assert not stage.finished
    again = Stage(tmp_path, {}, lambda: begun.append(1))
    again.begin()
    again.finish({"miou": 0.5})
    assert begun == [1, 1]
    assert again.finished
    assert again.figures == {"miou": 0.5}


def test_a_run_keeps_the_class_list_of_its_data(tmp_path: Path) -> None:
    cfg = Config.model_validate({"run_dir": tmp_path / "run", "device": "cpu", "data": {"root": make_voc(tmp_path)}})
    Run(cfg).stage("classifier").begin()
    assert read_classes(tmp_path / "run/classes.txt").names == NAMES


def test_the_second_process_on_a_run_is_told_before_it_writes(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    cfg = Config.model_validate({"run_dir": run_dir, "device": "cpu", "data": {"root": make_voc(tmp_path)}})
    process = program(OWNS, run_dir)
    try:
        with pytest.raises(InputError, match=rf"run: is being written by process {process.pid} on .*; wait for it"):
            Run(cfg).stage("classifier").begin()
        assert [path.name for path in run_dir.iterdir()] == [".lock"]
    finally:
        killed(process)
    first, second = Run(cfg), Run(cfg)  # in one process they are one
    first.stage("classifier").begin()
    second.stage("cams").begin()


def test_a_new_start_removes_what_a_killed_process_left(tmp_path: Path) -> None:
    cfg = Config.model_validate({"run_dir": tmp_path / "run", "device": "cpu", "data": {"root": make_voc(tmp_path)}})
    left = [tmp_path / "run/seeds/.a.png.abcd1234.tmp", tmp_path / "run/.config.yaml.abcd1234.tmp"]
    left[0].parent.mkdir(parents=True)
    for path in left:
        path.write_bytes(b"half")
    (tmp_path / "run/.mine.tmp").write_bytes(b"mine")
    Run(cfg).start()
    assert not any(path.exists() for path in left)
    assert (tmp_path / "run/.mine.tmp").exists()


def test_a_start_lists_the_folder_and_reads_the_table_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = Config.model_validate({"run_dir": tmp_path / "run", "device": "cpu", "data": {"root": make_voc(tmp_path)}})
    counts = dict.fromkeys(("walk", "read_labels"), 0)

    def counted(name: str) -> Callable[..., object]:
        whole = getattr(voc, name)

        def call(*words: object, **more: object) -> object:
            counts[name] += 1
            return whole(*words, **more)

        return call

    for name in counts:
        monkeypatch.setattr(voc, name, counted(name))
    run = Run(cfg)
    run.start()
    assert run.train
    assert run.val
    assert counts == {"walk": 1, "read_labels": 1}


@pytest.mark.parametrize("name", ["cams-11", "cams-15", "cams-19"])
def test_cases_of_cams_that_went_wrong_once(shared: Path, tmp_path: Path, name: str) -> None:
    given = shared / "cases/records" / name / "in/data"
    if not given.is_dir():
        pytest.skip("needs ../shared/cases")
    data = Path(shutil.copytree(given, tmp_path / "data"))
    cfg = Config.model_validate({"run_dir": tmp_path / "run", "device": "cpu", "data": {"root": data}})
    run = Run(cfg)
    photo = run.train[0]
    wrong = {"cams-11": np.array([9]), "cams-15": photo.own[:0], "cams-19": photo.own[None]}[name]
    for other in run.train:
        storage.write_cams(tmp_path / "run/cams" / f"{other.id}.npz", other.own, np.zeros((len(other.own), 12, 16)))
    path = tmp_path / "run/cams" / f"{photo.id}.npz"
    maps = np.zeros((max(1, len(wrong)), 12, 16), np.float16)
    np.savez_compressed(path, classes=wrong, cams=maps)
    for door in (lambda: run.require("cams"), lambda: make_seeds(run)):
        with pytest.raises(InputError, match=rf"{path.name}: not a readable CAM file"):
            door()
