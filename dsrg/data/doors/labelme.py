"""LabelMe's JSON files: one a photograph, with polygons and other shapes, painted as LabelMe itself paints them."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from dsrg.data.labelme import size_of
from dsrg.errors import InputError
from dsrg.files import disk, pictures
from dsrg.labels import BACKGROUND, IGNORE

LARGEST = 512 * disk.MIB
"""Bytes of a file, which may hold its photograph too."""
MOST_SHAPES = 20_000
MOST_POINTS = 100_000
"""Points of a shape."""
POLYGONS = ("polygon", "oriented_rectangle", "rotation")
"""Outlines; 'rotation' is X-AnyLabeling's turned rectangle."""
RECTANGLE = "rectangle"
EMPTY = ("point", "points", "line", "linestrip")
"""Shapes that fill nothing."""


class Shape(NamedTuple):
    """A shape of a class."""

    label: str
    kind: str
    points: np.ndarray
    """(n, 2) x, y: LabelMe's, where a pixel's centre is at whole numbers."""
    flags: bytes
    """Of a mask: its PNG."""


class Drawn(NamedTuple):
    """A file, read."""

    path: Path
    size: tuple[int, int] | None
    """Width and height of the photograph in pixels, if the file says it."""
    shapes: list[Shape]
    empty: int
    """Shapes that fill nothing and were left out."""


def is_labelme(value: Any) -> bool:
    """Whether a JSON value is LabelMe's."""
    return isinstance(value, dict) and isinstance(value.get("shapes"), list)


def read_drawn(value: Any, path: Path) -> Drawn:
    """Read a file.

    Args:
        value: What it holds.
        path: The file.

    Raises:
        InputError: it is not LabelMe's, its size is none, or a shape is broken, or the picture of a mask.
    """
    if not is_labelme(value) or len(value["shapes"]) > MOST_SHAPES:
        raise InputError(f"{path}: is no file of LabelMe with at most {MOST_SHAPES:,} shapes; check it.")
    sides, size = (value.get("imageWidth"), value.get("imageHeight")), size_of(value)
    if size is None and sides != (None, None):
        raise InputError(f"{path}: its imageWidth and imageHeight are {sides!r:.60}; they must be whole numbers.")
    shapes = [_shape(shape, f"{path} (shape {number})") for number, shape in enumerate(value["shapes"], 1)]
    filled = [shape for shape in shapes if shape.kind not in EMPTY]
    return Drawn(path, size, filled, len(shapes) - len(filled))


def check_reach(drawn: Drawn, size: tuple[int, int]) -> None:
    """Refuse shapes that `paint` would have to walk along for long.

    Args:
        drawn: The file.
        size: Width and height of the photograph in pixels.

    Raises:
        InputError: a shape lies far outside of the photograph.
    """
    reach = 2 * max(size)
    for number, shape in enumerate(drawn.shapes, 1):
        if not (np.abs(shape.points) <= reach).all():
            where = f"{drawn.path} (shape {number})"
            raise InputError(f"{where}: lies outside of its photograph ({size[0]} x {size[1]}); correct it.")


def paint(drawn: Drawn, size: tuple[int, int], index_of: Callable[[str], int], *, boxes: bool = True) -> np.ndarray:
    """The mask that the shapes make, later ones over earlier.

    They are drawn as by LabelMe's `shape_to_mask` (labelme/utils/shape.py): with Pillow, filled and outlined.

    Args:
        drawn: The file.
        size: Width and height of the photograph in pixels.
        index_of: The class's index of a label, 255 for void; raises InputError where there is none.
        boxes: Rectangles are filled as other shapes are. Else they are boxes, and void: nobody knows what of them is
            the object. They lie behind all others then.

    Returns:
        (H, W) uint8.

    Raises:
        InputError: as `check_reach`.
    """
    check_reach(drawn, size)
    canvas = Image.new("L", size, BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    order = sorted(enumerate(drawn.shapes, 1), key=lambda pair: not boxes and pair[1].kind != RECTANGLE)
    for number, shape in order:
        index = index_of(shape.label)
        index = IGNORE if index != BACKGROUND and shape.kind == RECTANGLE and not boxes else index
        points = list(map(tuple, shape.points.tolist()))
        if shape.kind == "circle":
            (x, y), (edge_x, edge_y) = points
            radius = math.hypot(x - edge_x, y - edge_y)
            draw.ellipse([x - radius, y - radius, x + radius, y + radius], outline=index, fill=index)
        elif shape.kind == RECTANGLE:
            (left, top), (right, bottom) = points
            draw.rectangle(
                [min(left, right), min(top, bottom), max(left, right), max(top, bottom)], outline=index, fill=index
            )
        elif shape.kind == "mask":
            flags, corner = _read_flags(shape.flags, shape.points, f"{drawn.path} (shape {number})")
            canvas.paste(index, corner, Image.fromarray(flags.astype(np.uint8) * 255))
            draw = ImageDraw.Draw(canvas)
        else:
            draw.polygon(points, outline=index, fill=index)
    return np.array(canvas)


def _shape(shape: Any, where: str) -> Shape:
    label = shape.get("label") if isinstance(shape, dict) else None
    if not isinstance(label, str):
        raise InputError(f"{where}: has no label; give it one, or remove it.")
    kind = shape.get("shape_type") or "polygon"
    try:
        points = np.array(shape["points"], np.float64)
    except (KeyError, TypeError, ValueError, OverflowError):
        points = np.zeros(0)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) > MOST_POINTS or not np.isfinite(points).all():
        raise InputError(f"{where}: its points are no list of x, y; correct it or remove it.")
    if kind == "rectangle" and len(points) == 4:  # X-AnyLabeling's
        points = np.stack([points.min(axis=0), points.max(axis=0)])
    least = {"circle": (2, 2), "rectangle": (2, 2), "mask": (2, 2)}.get(kind)
    if least is None and kind not in (*POLYGONS, *EMPTY):
        raise InputError(f"{where}: is of the kind {str(kind)[:40]!a}, which is not known; make it a polygon.")
    if (least and len(points) != 2) or (kind in POLYGONS and len(points) < 3):
        raise InputError(f"{where}: is a {kind} of {len(points)} points; correct it or remove it.")
    flags = _flags_of(shape.get("mask"), points, where) if kind == "mask" else b""
    return Shape(label.strip(), kind, points, flags)


def _flags_of(coded: Any, points: np.ndarray, where: str) -> bytes:
    """The PNG of a shape that is a mask, read once for its faults: as pixels, the masks of all files take much room."""
    if not isinstance(coded, str):
        raise InputError(f"{where}: is a mask without its picture; draw it anew.")
    try:
        content = base64.b64decode(coded, validate=True)
    except (binascii.Error, ValueError):
        raise InputError(f"{where}: its mask is no picture in base64; draw it anew.") from None
    _read_flags(content, points, where)
    return content


def _read_flags(content: bytes, points: np.ndarray, where: str) -> tuple[np.ndarray, tuple[int, int]]:
    """A picture of 0 and 1, (H, W) bool, and the left upper corner of its box, which lies between two points."""
    flags = pictures.decode_flags(content, where)
    left, top = (int(value) for value in points.min(axis=0))
    right, bottom = (int(value) for value in points.max(axis=0))
    if flags.shape != (bottom - top + 1, right - left + 1):
        sides = f"{flags.shape[1]} x {flags.shape[0]}"
        raise InputError(f"{where}: its mask is {sides}, and its box {right - left + 1} x {bottom - top + 1}; mend it.")
    return flags, (left, top)
