"""What a run's folder tells about it: its stages, figures, training logs, configuration and environment."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dsrg.errors import InputError
from dsrg.files import disk
from dsrg.page.charts import Chart, Line, line_chart
from dsrg.run import records
from dsrg.run.folder import Run
from dsrg.run.results import ratio
from dsrg.run.stage import Stage
from dsrg.run.table import STAGES
from dsrg.schema import Config, Section

FINISHED, UNFINISHED, FOREIGN, NOT_RUN = "finished", "unfinished", "put there by the user", "not run"
LOSSES = {
    "loss_a": "first classifier's loss",
    "loss_b": "second classifier's loss",
}
"""Names of a training log's losses on the page; others have their own, without underscores."""
COVERAGES = {"seed_coverage": "seeds", "grown_coverage": "grown seeds"}
"""A DSRG training log's shares of labelled cells, and their names on the page."""
SEED_COLOURS = {"seed_coverage": 3, "grown_coverage": 1}


@dataclass(frozen=True)
class Status:
    """How far a stage of the run is."""

    name: str
    title: str
    stage: Stage
    state: str
    """FINISHED, UNFINISHED, FOREIGN or NOT_RUN."""
    seconds: float | None
    """Wall-clock time; None where it was not recorded."""
    shared: bool
    """Whether it is another run's stage, which this one uses."""

    @property
    def usable(self) -> bool:
        """Whether its files may be shown as the run's own."""
        return self.state in (FINISHED, FOREIGN)


@dataclass(frozen=True)
class Training:
    """A training's curves."""

    title: str
    state: str
    iterations: int
    """Iterations that the log reaches."""
    planned: int
    """Iterations that the configuration asks for."""
    charts: Sequence[Chart]
    """The losses and the learning rate; none where it has not run."""


@dataclass(frozen=True)
class Setting:
    """A key of the configuration."""

    key: str
    value: str
    default: str
    meaning: str
    changed: bool


def statuses(run: Run) -> dict[str, Status]:
    """Every stage that the run may have, by its name in results.json.

    Raises:
        InputError: a stage's folder was made with other settings than the run's.
    """
    found = {}
    for name in run.stages:
        stage = run.stage(name)
        if stage.recorded:
            state = FINISHED if stage.finished else UNFINISHED
        else:
            state = FOREIGN if stage.foreign else NOT_RUN
        shared = run.directory.resolve() not in stage.directory.resolve().parents
        found[name] = Status(name, STAGES[name].title, stage, state, stage.seconds or None, shared)  # 0 until it ends
    return found


def results(found: Mapping[str, Status]) -> dict[str, Any]:
    """The figures of every finished stage, as in results.json, without the seconds."""
    figures: dict[str, Any] = {}
    for status in found.values():
        if status.state == FINISHED:
            figures |= status.stage.figures
    return figures | ratio(figures)


def training(run: Run, status: Status) -> Training:
    """The curves of a stage that trains, from its metrics.jsonl.

    Raises:
        InputError: the log is broken.
    """
    name, title, lines = status.name, status.title, read_log(status.stage)
    planned = getattr(run.cfg, "retrain" if name == "supervised" else name).iterations
    if name == "supervised":
        planned = run.cfg.supervised.iterations or planned
    if not lines:
        return Training(title, status.state, 0, planned, ())
    positions = [line["iteration"] for line in lines]
    keys = [key for key in lines[0] if key not in ("iteration", "lr", *COVERAGES)]
    keys.sort(key=lambda key: key != "loss")  # the sum first
    losses = [
        Line(LOSSES.get(key, key.replace("_", " ")), number, [line[key] for line in lines], smoothed=True)
        for number, key in enumerate(keys, 1)
    ]
    rate = Line("learning rate", 4, [line["lr"] for line in lines])
    charts = (
        line_chart(f"{title}: loss", "iteration", "loss", positions, losses),
        line_chart(f"{title}: learning rate", "iteration", "learning rate", positions, [rate], steps=2),
    )
    return Training(title, status.state, int(positions[-1]), planned, charts)


def growth(run: Run, status: Status) -> Chart | None:
    """The share of the output grid's cells that seeds label, and that grown seeds do; None without a log of DSRG."""
    lines = [line for line in read_log(status.stage) if COVERAGES.keys() <= line.keys()]
    if not lines:
        return None
    shares = [
        Line(title, SEED_COLOURS[key], [line[key] for line in lines], smoothed=True) for key, title in COVERAGES.items()
    ]
    marks = [(run.cfg.grow.warmup, "growing starts")] if run.cfg.grow.enabled else []
    positions = [line["iteration"] for line in lines]
    return line_chart(
        "labelled cells", "iteration", "share of the cells, %", positions, shares, percent=True, marks=marks
    )


def read_log(stage: Stage) -> list[dict[str, float]]:
    """The lines of a training's metrics.jsonl; none where there is no such file.

    Raises:
        InputError: a line is no JSON object of finite numbers, or has not the keys of the first.
    """
    path = stage.directory / records.LOG
    lines = records.read_log(path, ("loss", "lr"))
    for number, line in enumerate(lines, 1):
        if line.keys() != lines[0].keys():
            raise InputError(f"{path}: line {number} has other keys than the first; mend or delete the line.")
    return lines


def settings(cfg: Config) -> dict[str, list[Setting]]:
    """Every key of the configuration by section, '' for those of none, with what it means and its default."""
    sections: dict[str, list[Setting]] = {"": []}
    for key, value, default, meaning in _walk(cfg, Config(), ""):
        section = key.rpartition(".")[0]
        row = Setting(key, _yaml(value), _yaml(default), " ".join(meaning.split()), value != default)
        sections.setdefault(section, []).append(row)
    return sections


def environment(run: Run) -> list[tuple[str, str]]:
    """The rows of environment.json, which the stage that was begun last wrote; none where no stage has run."""
    path = run.directory / "environment.json"
    if not path.exists():
        return []
    rows = []
    for key, value in disk.read_object(path, mend="delete it").items():
        text = shlex.join(map(str, value)) if isinstance(value, list) else str(value)
        rows.append((key, "not known" if value is None else text))
    return rows


def _walk(section: Section, defaults: Section, prefix: str) -> Iterator[tuple[str, Any, Any, str]]:
    for name, field in type(section).model_fields.items():
        value, default = getattr(section, name), getattr(defaults, name)
        if isinstance(value, Section):
            yield from _walk(value, default, f"{prefix}{name}.")
        else:
            yield prefix + name, value, default, field.description or ""


def _yaml(value: Any) -> str:
    """A value as one writes it in the configuration."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, tuple):
        return f"[{', '.join(_yaml(part) for part in value)}]"
    return str(value)
