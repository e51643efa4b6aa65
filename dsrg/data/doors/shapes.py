"""The regions of Label Studio: polygons, boxes, ellipses and brushes with labels, in percent of the photograph."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from dsrg.data.doors import brush
from dsrg.data.regions import Runs
from dsrg.errors import InputError
from dsrg.files.pictures import MAX_PIXELS, MAX_SIDE

_PLACES = ("x", "points", "rle", "start", "imageDataURL", "vertices")
_CORNERS = 64
"""Of the polygon that an ellipse becomes."""


class Shape(NamedTuple):
    """A region and its labels."""

    labels: tuple[str, ...]
    size: tuple[int, int]
    """Width and height of the photograph in pixels, as Label Studio has shown it."""
    segmentation: list[list[float]] | Runs | None
    """Polygons in pixels, as COCO has them, or runs; None for a box alone."""
    bbox: tuple[float, float, float, float]
    """Left, top, width and height in pixels."""


def is_placed(value: Mapping[str, Any]) -> bool:
    """Whether a result is of a region and not of the whole photograph."""
    return any(name in value for name in _PLACES)


def read_shape(value: Mapping[str, Any], result: Mapping[str, Any], where: str) -> Shape | None:
    """Read one region.

    Args:
        value: Its value.
        result: What else Label Studio says of it: the size and the turn of the photograph.
        where: The file and task, for the error.

    Returns:
        None for one without labels, or of a kind that fills nothing (a key point).

    Raises:
        InputError: it is broken, or the photograph is turned.
    """
    labels = next((own for name, own in value.items() if name.endswith("labels") and isinstance(own, list)), None)
    if not labels or not any(name in value for name in ("points", "rle", "radiusX", "height")):
        return None
    if not all(isinstance(label, str) for label in labels):
        raise InputError(f"{where}: has labels that are no texts; export it anew.")
    if result.get("image_rotation") not in (None, 0):
        raise InputError(
            f"{where}: the photograph was turned by {result['image_rotation']!r:.20} degrees in Label Studio; turn the "
            "file itself and the annotation back."
        )
    try:
        width, height = (int(result[f"original_{side}"]) for side in ("width", "height"))
        if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and width * height <= MAX_PIXELS):
            raise ValueError("its size is none of a photograph")
        names = tuple(dict.fromkeys(label.strip() for label in labels))
        return Shape(names, (width, height), *_outline(value, width, height))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{where}: a region cannot be read ({what}); correct it and export it anew.") from None


def _outline(
    value: Mapping[str, Any], width: int, height: int
) -> tuple[list[list[float]] | Runs | None, tuple[float, float, float, float]]:
    if "rle" in value:
        lengths = brush.unpack(value["rle"], width * height)
        return Runs(lengths, (0, 0, width, height)), (0, 0, width, height)
    scale = np.array([width, height]) / 100
    turn = math.radians(float(value.get("rotation") or 0))
    if "points" in value:
        corners = np.array(value["points"], np.float64) * scale
    elif "radiusX" in value:
        angles = np.arange(_CORNERS) * (2 * math.pi / _CORNERS)
        radii = np.array([value["radiusX"], value["radiusY"]], np.float64)
        around = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii * scale
        corners = _turned(around, turn) + np.array([value["x"], value["y"]], np.float64) * scale
    else:
        sides = np.array([value["width"], value["height"]], np.float64) * scale
        corners = _turned(np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * sides, turn)
        corners += np.array([value["x"], value["y"]], np.float64) * scale
    if corners.ndim != 2 or corners.shape[1] != 2 or not np.isfinite(corners).all() or np.abs(corners).max() > 1e7:
        raise ValueError("its points are no list of x, y")
    (left, top), (right, bottom) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    filled = len(corners) > 2 and not ("points" not in value and "radiusX" not in value)
    return [corners.ravel().tolist()] if filled else None, (left, top, right - left, bottom - top)


def _turned(points: np.ndarray, angle: float) -> np.ndarray:
    """Points turned about the origin, clockwise as the picture is seen."""
    cos, sin = math.cos(angle), math.sin(angle)
    return np.asarray(points @ np.array([[cos, sin], [-sin, cos]]))
