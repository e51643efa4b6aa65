"""Corrected masks, and a data set to import them into, that the tests of `dsrg import-masks` share."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from helpers import NAMES, make_voc, quadrants
from trained_run import make_photos

from dsrg.files import pictures

WIDTH, HEIGHT = 64, 48
CAT, DOG, LIGHT = 1, 2, 3
SQUARE = [[4.4, 5.2], [30.7, 5.2], [30.7, 20.1], [4.4, 20.1]]


def make_root(folder: Path) -> Path:
    """A data set of six photographs without masks."""
    splits = {"train": ("a", "b", "c", "d"), "val": ("e", "f")}
    root = make_voc(folder / "data", splits, size=(WIDTH, HEIGHT), masks=False)
    make_photos(root / "JPEGImages", *(f"{name}.jpg" for name in "abcdef"), size=(WIDTH, HEIGHT))
    return root


def truth(root: Path, name: str) -> np.ndarray:
    return pictures.read_mask(root / f"SegmentationClass/{name}.png", len(NAMES))


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def corrected(seed: int) -> np.ndarray:
    return quadrants(WIDTH, HEIGHT, seed)


def dump(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def labelme(name: str, *shapes: dict[str, Any], **more: Any) -> dict[str, Any]:
    said = {"imagePath": f"../JPEGImages/{name}.jpg", "imageData": None, "imageHeight": HEIGHT, "imageWidth": WIDTH}
    return {"version": "5.5.0", "flags": {}, "shapes": list(shapes), **said, **more}


def shape(label: str, points: list[list[float]], kind: str = "polygon", **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}, **more}
