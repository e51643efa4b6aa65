"""What a run's folder says of itself, read as it was written or refused: stages' records and training logs."""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from dsrg.errors import InputError
from dsrg.files import disk

RECORD = "stage.json"
"""In each stage's folder: the record of who made it."""
LOG = "metrics.jsonl"
"""In each training's folder: a line for each iteration that was logged."""
Number = Annotated[int | float, Field(allow_inf_nan=False)]


WORDS = ("truth", "supervision", "saliency_thresholds")
"""Figures that are words: where localisation's true boxes come from, what the seeds were made from, and what found the
thresholds of the saliency."""


class StageRecord(BaseModel):
    """The content of stage.json."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)

    finished: bool
    seconds: Annotated[float, Field(ge=0)]
    """Wall-clock time of all its parts."""
    figures: dict[str, Number | str | dict[str, Number | str | None] | list[dict[str, Number | None]] | None]
    """What it measured; null for what could not be; a list for what was measured round after round."""
    settings: dict[str, Any]
    """Dotted configuration keys that decide on the output, and their values."""
    contents: dict[str, str] = {}
    """What the files outside the run were, by `dsrg.run.contents`; empty in records from before there was one."""
    measured_on: dict[str, str] = {}
    """Likewise, of the files that the figures alone depend on."""

    @field_validator("figures")
    @classmethod
    def _check(cls, figures: dict[str, Any]) -> dict[str, Any]:
        for key, value in figures.items():
            inner = value.items() if isinstance(value, dict) else [(key, value)]
            for name, figure in inner:
                if isinstance(figure, str) and name not in WORDS:
                    raise ValueError(f"{name} must be a number")
        return figures


def read_record(path: Path) -> StageRecord:
    """The record of a stage.

    Raises:
        InputError: it is missing, or no record.
    """
    mend = f"put back a copy of it, or delete {path.parent} to have that stage made anew"
    content = disk.read_object(path, "record of the stage", mend=mend)
    try:
        return StageRecord.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"][:2])
        raise InputError(f"{path}: is no record of a stage ({key}: {first['msg']}); {mend}.") from None


def read_log(path: Path, keys: Collection[str] = ()) -> list[dict[str, float]]:
    """The lines of a training's log; none where there is no such file.

    A process that is killed leaves a part of its last line, without a line end: that part is left out.

    Args:
        path: The file.
        keys: What each line must have beside 'iteration'.

    Returns:
        Each line's numbers by name, 'iteration' among them, which rises.

    Raises:
        InputError: another line is no JSON object of finite numbers with an iteration above the line before.
    """
    if not path.exists():
        return []
    lines: list[dict[str, float]] = []
    for number, text in enumerate(disk.read_text(path, "training's log").rpartition("\n")[0].split("\n"), 1):
        if not text and number == 1:
            continue  # of an empty file
        line = _log_line(text)
        fits = line is not None and set(keys) <= line.keys()
        if line is None or not fits or (lines and line["iteration"] <= lines[-1]["iteration"]):
            raise InputError(f"{path}: line {number} is not a line of a training's log; mend or delete the line.")
        lines.append(line)
    return lines


def _log_line(text: str) -> dict[str, float] | None:
    try:
        found = json.loads(text)
        numbers = all(type(value) in (int, float) and math.isfinite(value) for value in found.values())
    except (ValueError, AttributeError, RecursionError, OverflowError):
        return None
    return found if numbers and type(found.get("iteration")) is int else None
