"""A stage's record: what counts as the same settings."""

from pathlib import Path

import pytest
from helpers import NAMES, make_voc

from dsrg.data.classes import read_classes
from dsrg.errors import InputError
from dsrg.files import disk
from dsrg.run.folder import Run, Stage
from dsrg.schema import Config


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


def test_key_of_a_newer_version_counts_as_its_default(tmp_path: Path) -> None:
    record(tmp_path, {"dsrg.lr": 0.1})
    assert make_stage(tmp_path, {"dsrg.lr": 0.1, "dsrg.optimizer": "sgd"}).finished
    with pytest.raises(InputError, match=r"dsrg\.optimizer = sgd, which is now adamw"):
        _ = make_stage(tmp_path, {"dsrg.lr": 0.1, "dsrg.optimizer": "adamw"}).finished


def test_time_of_an_interrupted_stage_adds_up(tmp_path: Path) -> None:
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
    assert again.seconds >= 0


def test_a_run_keeps_the_class_list_of_its_data(tmp_path: Path) -> None:
    cfg = Config.model_validate({"run_dir": tmp_path / "run", "device": "cpu", "data": {"root": make_voc(tmp_path)}})
    Run(cfg).stage("classifier").begin()
    assert read_classes(tmp_path / "run/classes.txt").names == NAMES
