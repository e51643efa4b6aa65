"""Experiment trackers that get a training's numbers beside TensorBoard: MLflow, Weights & Biases.

A tracker is a class here and a line of TRACKERS. Whatever goes wrong in one after its start, a server that is gone for
instance, is told once; the training goes on, and metrics.jsonl has every number.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from dsrg.errors import InputError
from dsrg.files import disk

RUNS = "trackers.json"
"""In a training's folder: the trackers' names for it, so that a resumed training goes on in the same run."""


class Tracker(Protocol):
    """Where a training's numbers go."""

    run_id: str
    """Its own name for this training."""

    def __init__(self, title: str, settings: Mapping[str, Any], run_id: str | None) -> None:
        """Begin a run, or go on with the one that `run_id` names.

        Args:
            title: The run's folder and the training's.
            settings: The configuration, flat.
            run_id: What `run_id` was before the interruption.
        """

    def scalars(self, iteration: int, values: Mapping[str, float]) -> None:
        """Numbers of one iteration."""

    def close(self) -> None:
        """Finish the run."""


class MLflow:
    """To MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME, by MLflow's own defaults where they are not set."""

    def __init__(self, title: str, settings: Mapping[str, Any], run_id: str | None) -> None:
        import mlflow

        self._client = mlflow.MlflowClient()
        if run_id is None:
            # The fluent API alone knows the experiment that the environment names.
            with mlflow.start_run(run_name=title) as run:
                run_id = run.info.run_id
                mlflow.log_params(dict(settings))  # in few calls, a hundred each
        self._client.update_run(run_id, status="RUNNING")
        self.run_id = run_id

    def scalars(self, iteration: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._client.log_metric(self.run_id, name, value, step=iteration)

    def close(self) -> None:
        self._client.set_terminated(self.run_id)


class WeightsAndBiases:
    """To WANDB_PROJECT of WANDB_ENTITY ('dsrg' where no project is set); WANDB_MODE=offline keeps it on disk."""

    def __init__(self, title: str, settings: Mapping[str, Any], run_id: str | None) -> None:
        import os

        import wandb

        project = os.environ.get("WANDB_PROJECT", "dsrg")
        self._run = wandb.init(project=project, name=title, config=dict(settings), id=run_id, resume="allow")
        self.run_id = str(self._run.id)

    def scalars(self, iteration: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=iteration)

    def close(self) -> None:
        self._run.finish()


TRACKERS: dict[str, type[Tracker]] = {"mlflow": MLflow, "wandb": WeightsAndBiases}
"""By the name of the module that each needs, which is its name in the configuration and the extra's too."""


def require(names: Sequence[str]) -> None:
    """Check that the trackers' packages are installed.

    Raises:
        InputError: one is not.
    """
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"trackers: {missing[0]} is not installed; run python -m pip install 'dsrg[{missing[0]}]'.")


class Trackers:
    """All trackers of one training.

    Args:
        names: Keys of TRACKERS.
        directory: The training's folder.
        settings: The configuration, flat.
    """

    def __init__(self, names: Sequence[str], directory: Path, settings: Mapping[str, Any]) -> None:
        require(names)
        self._open: dict[str, Tracker] = {}
        if not names:
            return
        path, title = directory / RUNS, "/".join(directory.parts[-2:])
        known = disk.read_object(path, "record of the trackers", mend="delete it") if path.exists() else {}
        for name in names:
            run_id = known.get(name)
            try:
                self._open[name] = TRACKERS[name](title, settings, run_id if isinstance(run_id, str) else None)
            except Exception as error:  # theirs are of any kind: no login, no server, a run that was deleted
                raise InputError(
                    f"trackers: {name} could not begin ({_told(error)}); mend that, or leave {name} out."
                ) from error
        disk.write_text(path, json.dumps(known | {name: tracker.run_id for name, tracker in self._open.items()}))

    def scalars(self, iteration: int, values: Mapping[str, float]) -> None:
        """Pass one iteration's numbers on."""
        for name, tracker in list(self._open.items()):
            self._try(name, functools.partial(tracker.scalars, iteration, values))

    def close(self) -> None:
        """Finish the runs."""
        for name, tracker in list(self._open.items()):
            self._try(name, tracker.close)

    def _try(self, name: str, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:
            del self._open[name]
            print(
                f"warning: {name} gets no more numbers of this training ({_told(error)}); metrics.jsonl has them all",
                file=sys.stderr,
            )


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
