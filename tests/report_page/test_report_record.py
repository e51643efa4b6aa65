"""What the report reads from a run's folder: states, figures, logs and settings."""

import json
from pathlib import Path
from typing import Any

import pytest
from report_run import FIGURES, LOG, finish, make_run, write_cfg, write_log

from dsrg import config, disk
from dsrg.errors import InputError
from dsrg.report_page import record
from dsrg.report_page.page import code, duration
from dsrg.run import Run
from dsrg.schema import Config


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(config.load(write_cfg(tmp_path)))


def test_states_of_stages(run: Run) -> None:
    disk.write_bytes(run.directory / "masks/a.png", b"somebody's")
    run.stage("dsrg").begin()
    finish(run.stage("classifier"), FIGURES["classifier"])
    found = record.statuses(run)
    states = {name: status.state for name, status in found.items() if status.state != "not run"}
    assert states == {"classifier": "finished", "dsrg": "unfinished", "masks": "put there by the user"}
    assert not any(status.shared for status in found.values())
    assert record.results(found) == FIGURES["classifier"]


def test_stages_of_the_shared_run_are_marked(tmp_path: Path) -> None:
    other = Run(config.load(write_cfg(tmp_path)))
    finish(other.stage("classifier"), FIGURES["classifier"])
    run = Run(config.load(tmp_path / "run.yaml", [f"shared={other.directory}", f"run_dir={tmp_path / 'second'}"]))
    found = record.statuses(run)
    assert [name for name, status in found.items() if status.shared] == ["classifier", "cams", "seeds"]
    assert record.results(found) == FIGURES["classifier"]


def test_figures_are_those_of_the_pipeline(tmp_path: Path) -> None:
    figures = record.results(record.statuses(make_run(tmp_path)))
    assert figures["weak_to_full_ratio"] == figures["retrain_miou"] / figures["supervised_miou"]
    for part in FIGURES.values():
        assert part.items() <= figures.items()


def test_other_settings_are_refused(run: Run, tmp_path: Path) -> None:
    run.stage("classifier").begin()
    with pytest.raises(InputError, match=r"was made with classifier\.batch = 2, which is now 4"):
        record.statuses(Run(config.load(tmp_path / "run.yaml", ["classifier.batch=4"])))


def test_log_of_a_training_that_is_running(run: Run) -> None:
    stage = run.stage("dsrg")
    stage.begin()
    write_log(stage.directory)
    path = stage.directory / "metrics.jsonl"
    path.write_text(path.read_text() + '{"iteration": 120, "lo')
    assert record.read_log(stage) == LOG
    training = record.training(run, record.statuses(run)["dsrg"])
    assert (training.state, training.iterations, training.planned) == ("unfinished", 100, 100)
    assert training.charts[0].names == ["loss", "seed loss", "boundary loss"]
    growth = record.growth(run, record.statuses(run)["dsrg"])
    assert growth is not None
    assert growth.rows[2] == ["60", "25 %", "60 %"]
    assert [(mark.text, mark.place) for mark in growth.marks] == [("growing starts", 40)]


@pytest.mark.parametrize("line", ["{", "[]", '{"iteration": 40}', '{"iteration": 40, "loss": NaN, "lr": 1}'])
def test_broken_lines_of_a_log_are_named(run: Run, line: str) -> None:
    stage = run.stage("classifier")
    stage.begin()
    first = json.dumps({"iteration": 20, "loss": 1, "lr": 1})
    (stage.directory / "metrics.jsonl").write_text(f"{first}\n{line}\n{first}\n")
    with pytest.raises(InputError, match=r"classifier/metrics\.jsonl: line 2 "):
        record.read_log(stage)


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


def test_settings_mark_what_differs(run: Run) -> None:
    own, defaults = flat(run.cfg.model_dump()), flat(Config().model_dump())
    rows = [row for section in record.settings(run.cfg).values() for row in section]
    assert {row.key for row in rows} == own.keys()
    assert {row.key for row in rows if row.changed} == {key for key in own if own[key] != defaults[key]}
    told = {row.key: row for row in rows}
    assert (told["model.weights"].value, told["model.weights"].default) == ("null", "torchvision")
    assert told["test.scales"].value == "[1.0]"
    assert told["grow.enabled"].value == "true"
    assert all(row.meaning for row in rows)


def test_durations_and_code_in_words() -> None:
    assert [duration(value) for value in (0.74, 59.96, 61, 3599.6, 7500)] == [
        *("0.7 s", "1 min 00 s", "1 min 01 s", "1 h 00 min", "2 h 05 min")
    ]
    assert code("at `<b>` & so on") == "at <code>&lt;b&gt;</code> &amp; so on"
