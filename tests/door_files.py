"""Files that other tools export, and what is planned from them, that the tests of `dsrg.data.doors` share."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from helpers import save_photo

from dsrg.data.doors.recognise import Choice, plan_any
from dsrg.data.prepare import Plan

WIDTH, HEIGHT = 10, 8  # of `save_photo`


def plan(photos: Path, labels: Path | None = None, **more: Any) -> Plan:
    return plan_any(photos, labels, Choice(more.get("val", 0.4), more.get("unlabelled", "stop"), 1))


def labels_of(made: Plan) -> dict[str, set[str]]:
    return {item.id: set(item.labels) for item in made.items}


def photographs(folder: Path, *names: str) -> Path:
    for colour, name in enumerate(names):
        save_photo(folder / name, 20 * colour)
    return folder


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def dump(path: Path, value: object) -> Path:
    return write(path, json.dumps(value))


def mask_of(made: Plan, name: str) -> np.ndarray:
    item = next(item for item in made.items if item.id == name)
    assert callable(item.mask)
    return item.mask()
