"""Trainings tell MLflow and Weights & Biases what they tell TensorBoard, and outlive them."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dsrg.errors import InputError
from dsrg.run import trackers
from dsrg.run.engine import Journal, Log


class Recorder:
    """A tracker that writes down what it is told; fails where told to."""

    told: list[tuple[Any, ...]] = []
    fails = False

    def __init__(self, title: str, settings: Mapping[str, Any], run_id: str | None) -> None:
        self.told.append(("begin", title, dict(settings), run_id))
        self.run_id = run_id or "first"

    def scalars(self, iteration: int, values: Mapping[str, float]) -> None:
        if self.fails:
            raise ConnectionError("the server is gone\nsecond line")
        self.told.append((iteration, dict(values)))

    def close(self) -> None:
        self.told.append(("close",))


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> type[Recorder]:
    recorder = type("Fresh", (Recorder,), {"told": []})
    monkeypatch.setitem(trackers.TRACKERS, "mlflow", recorder)
    monkeypatch.setattr(trackers, "require", lambda names: None)
    return recorder


def journal(tmp_path: Path, tracker: str = "mlflow") -> Journal:
    directory = tmp_path / "mine/dsrg"
    directory.mkdir(parents=True, exist_ok=True)
    return Journal(directory, trackers=(tracker,), settings={"dsrg.lr": 0.1})


def test_it_gets_every_line_and_a_resumed_training_continues_its_run(tmp_path: Path, recorder: type[Recorder]) -> None:
    log = Log(journal(tmp_path), 0)
    log.scalars(2, {"loss": 0.5})
    log.close()
    Log(journal(tmp_path), 2, logged=1).close()
    assert recorder.told == [
        ("begin", "mine/dsrg", {"dsrg.lr": 0.1}, None),
        (2, {"loss": 0.5}),
        ("close",),
        ("begin", "mine/dsrg", {"dsrg.lr": 0.1}, "first"),
        ("close",),
    ]


def test_the_training_goes_on_where_it_fails(
    tmp_path: Path, recorder: type[Recorder], capsys: pytest.CaptureFixture[str]
) -> None:
    log = Log(journal(tmp_path), 0)
    recorder.fails = True  # type: ignore[misc]
    for iteration in (1, 2):
        log.scalars(iteration, {"loss": 0.5})
    log.close()
    told = capsys.readouterr().err
    assert told.count("warning") == 1
    assert "(ConnectionError: the server is gone)" in told
    assert len((tmp_path / "mine/dsrg/metrics.jsonl").read_text().splitlines()) == 2


def test_one_that_cannot_begin_is_refused_in_a_sentence(tmp_path: Path, recorder: type[Recorder]) -> None:
    def refuse(*given: object) -> None:
        raise OSError("no login")

    recorder.__init__ = refuse  # type: ignore[method-assign]
    with pytest.raises(InputError, match=r"mlflow could not begin \(OSError: no login\)"):
        Log(journal(tmp_path), 0)


def test_one_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"mlflow is not installed; run python -m pip install 'dsrg\[mlflow\]'"):
        trackers.require(["mlflow"])


def test_mlflow_keeps_settings_and_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow: ModuleType = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "store").as_uri())
    for start, iterations in ((0, (1, 2)), (2, (3,))):  # interrupted after the second
        log = Log(journal(tmp_path), start)
        for iteration in iterations:
            log.scalars(iteration, {"loss": 1 / iteration})
        log.close()
    (run,) = mlflow.MlflowClient().search_runs(["0"])
    assert (run.info.run_name, run.info.status, run.data.params) == ("mine/dsrg", "FINISHED", {"dsrg.lr": "0.1"})
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "loss")
    assert [(point.step, point.value) for point in history] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]


def test_weights_and_biases_keeps_numbers_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb: ModuleType = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    log = Log(journal(tmp_path, "wandb"), 0)
    log.scalars(3, {"loss": 0.25})
    log.close()
    wandb.teardown()  # its service closes the file after run.finish() has returned, and waits for that at exit
    run_id = json.loads((tmp_path / "mine/dsrg" / trackers.RUNS).read_text())["wandb"]
    (written,) = (tmp_path / "wandb").glob(f"offline-run-*-{run_id}/run-{run_id}.wandb")
    assert b"loss" in written.read_bytes()
