"""LabelMe's JSON files, one a photograph: the boxes that somebody drew, and those around polygons."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dsrg.data.annotations import MOST_OBJECTS, Drawn
from dsrg.data.ids import shown
from dsrg.errors import InputError
from dsrg.files import disk

LARGEST = 512 * disk.MIB
"""Bytes of a file: LabelMe puts the photograph into it, unless told otherwise."""
CORNERS = ("rectangle", "mask")
"""Shapes of two points, opposite corners."""
AROUND = ("polygon", "oriented_rectangle", "rotation")
"""Shapes of three points or more, around which a box is put; 'rotation' is X-AnyLabeling's turned rectangle."""
MOST_POINTS = 1_000_000
FARTHEST = 1e6
"""Pixels from the corner that a point may lie at; no photograph is as wide."""


def begins(path: Path) -> bool:
    """Whether a file begins as a LabelMe file does, which has its shapes before the photograph."""
    with disk.open_regular(path, "LabelMe file") as file:
        text = disk.read_at_most(file, 10_000)
    # Other programs sort the keys, and the photograph within comes before the shapes then.
    known = (b'"shapes"', b'"imageData"')
    return text.lstrip(b"\xef\xbb\xbf \r\n\t")[:1] == b"{" and any(key in text for key in known)


class Shape(NamedTuple):
    """An object: one shape, or all of one label and group."""

    name: str
    polygons: list[list[float]]
    """Each x, y, x, y, ... in pixels; none of a rectangle."""
    box: np.ndarray
    """(4,) float64 x0, y0, x1, y1 in whole pixels, half-open."""


def read_labelme(path: Path) -> Drawn:
    """The boxes of a LabelMe file; raises InputError as `read_shapes`."""
    shapes, size = read_shapes(path)
    boxes = np.array([shape.box for shape in shapes], np.float64).reshape(-1, 4)
    return Drawn(tuple(shape.name for shape in shapes), boxes, size)


def read_shapes(path: Path) -> tuple[list[Shape], tuple[int, int] | None]:
    """Read the objects of a LabelMe file; their boxes are its rectangles, and the tightest around polygons and circles.

    Shapes of one label and one group_id are parts of one object. A point lies on the centre of pixel (x, y), as LabelMe
    itself fills shapes, so that a rectangle from 10 to 20 holds eleven columns.

    Returns:
        The objects, and the width and height of the photograph, None where the file does not say.

    Raises:
        InputError: the file is missing or broken, or a shape is a line or point, which encloses nothing.
    """
    content = disk.read_json(path, "LabelMe file", limit=LARGEST)
    shapes = content.get("shapes") if isinstance(content, dict) else None
    if not isinstance(shapes, list) or not all(isinstance(shape, dict) for shape in shapes):
        raise InputError(f"{path}: holds no list 'shapes' as LabelMe's files do; take it away from the others.")
    if len(shapes) > MOST_OBJECTS:
        raise InputError(f"{path}: has {len(shapes):,} shapes, and {MOST_OBJECTS:,} are the most; check the file.")
    found: dict[tuple[Any, ...], Shape] = {}
    for number, shape in enumerate(shapes):
        label, group = shape.get("label"), shape.get("group_id")
        if not isinstance(label, str) or not label.strip():
            raise InputError(f"{path}: shape {number} has no label; give it one or remove it.")
        name = label.strip()
        points, box = _place(shape, f"{path}: the {shown(name)}, shape {number},")
        grouped = isinstance(group, int | str) and not isinstance(group, bool)
        key = (name, "group", group) if grouped else (name, "single", number)
        before = found.setdefault(key, Shape(name, [], box))
        both = np.concatenate([np.minimum(before.box[:2], box[:2]), np.maximum(before.box[2:], box[2:])])
        polygons = [*before.polygons, points.ravel().tolist()] if len(points) > 2 else before.polygons
        found[key] = Shape(name, polygons, both)
    return list(found.values()), _size(content)


def _place(shape: dict[str, Any], where: str) -> tuple[np.ndarray, np.ndarray]:
    """The points (n, 2) of a shape, and its box (4,)."""
    kind = shape.get("shape_type", "polygon")
    given = shape.get("points")
    try:
        points = np.array(given, np.float64) if isinstance(given, list) and len(given) <= MOST_POINTS else np.empty(0)
    except (TypeError, ValueError, OverflowError):
        points = np.empty(0)
    if points.ndim != 2 or points.shape[1] != 2 or not (np.abs(points) < FARTHEST).all():
        raise InputError(f"{where} has no list of points x, y; correct it or remove it.")
    if kind == "circle" and len(points) == 2:  # its centre, and a point on it
        radius = math.dist(*points.tolist())
        points = np.stack([points[0] - radius, points[0] + radius])
    elif kind == "rectangle" and len(points) == 4:  # X-AnyLabeling's
        points = np.stack([points.min(axis=0), points.max(axis=0)])
    elif not ((kind in CORNERS and len(points) == 2) or (kind in AROUND and len(points) >= 3)):
        raise InputError(
            f"{where} is of the shape_type {shown(str(kind))} with {len(points)} points and no box; draw a rectangle, "
            "or remove it."
        )
    return points, np.concatenate([np.floor(points.min(axis=0)), np.floor(points.max(axis=0)) + 1])


def _size(content: dict[str, Any]) -> tuple[int, int] | None:
    sides = content.get("imageWidth"), content.get("imageHeight")
    if all(isinstance(side, int) and not isinstance(side, bool) and 0 < side < FARTHEST for side in sides):
        return int(str(sides[0])), int(str(sides[1]))
    return None
