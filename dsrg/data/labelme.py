"""LabelMe's JSON files, one a photograph: whose they are, the boxes that somebody drew, and those around outlines."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeGuard

import numpy as np

from dsrg.data.annotations import MOST_OBJECTS, Drawn
from dsrg.data.ids import is_text, shown
from dsrg.data.photo_index import PhotoIndex
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
    box: np.ndarray
    """(4,) float64 x0, y0, x1, y1 in whole pixels, half-open."""


def read_labelme(path: Path) -> Drawn:
    """The boxes of a LabelMe file; raises InputError as `disk.read_json` and `read_shapes`."""
    value = disk.read_json(path, "LabelMe file", limit=LARGEST)
    shapes, size = read_shapes(value, path)
    boxes = np.array([shape.box for shape in shapes], np.float64).reshape(-1, 4)
    return Drawn(tuple(shape.name for shape in shapes), boxes, size, image_path(value))


def image_path(value: dict[str, Any]) -> str:
    """The path of the photograph from a LabelMe file, as its content says; '' where it does not."""
    said = value.get("imagePath")
    path = said.strip().replace("\\", "/") if isinstance(said, str) else ""
    return path if is_text(path) else ""


def locate(said: Mapping[Path, str], root: Path, index: PhotoIndex) -> tuple[dict[Path, Path], list[str]]:
    """The photograph of each LabelMe file: the one that it says, or else that of its own path or name.

    Args:
        said: The files and what they call their photographs, see `image_path`.
        root: The folder that they lie in.
        index: Finds the photographs.

    Returns:
        The photographs, and sentences on those that were found in another way.

    Raises:
        InputError: a file has no photograph or several, or says another than that of its name.
    """
    own = {path: path.relative_to(root).with_suffix("").as_posix() for path in said}
    silent = {path: own[path] for path, name in said.items() if not name}
    located, notes = index.locate(silent.values(), root)
    found = {path: located[name] for path, name in silent.items()}
    astray = []
    for path, name in said.items():
        if name:
            there = index.at(path.parent / name)
            # Beside the photograph that lies where the file says, one whose name is merely alike does not count.
            by_name = index.find(own[path]) if len(there) == 1 else index.guess(own[path])
            by_path = there or index.guess(name)
            found[path] = _agreed(path, PurePosixPath(name).name, by_path, by_name, index)
            astray += [] if by_path else [path]
    if astray:
        which = f"such as {astray[0].name}, which names {shown(said[astray[0]])}"
        sentence = f"{len(astray)} files name a photograph (imagePath) that does not exist, {which}"
        notes.append(f"{root}: {sentence}; the photograph called as the file is was taken instead.")
    return found, notes


def _agreed(path: Path, said: str, by_path: list[Path], by_name: list[Path], index: PhotoIndex) -> Path:
    """The photograph of a file, by its imagePath and by its own name."""
    both = index.common(by_path, by_name)
    found = both if len(by_path) > 1 and both else by_path or by_name
    if not found:
        raise InputError(
            f"{path}: is of {shown(said)}, which is no photograph of {index.folder}; correct its imagePath, or leave "
            "it out."
        )
    if len(found) > 1:
        raise InputError(f"{path}: {shown(said)} may be {found[0]} or {found[1]}; write its path into imagePath.")
    if by_path and by_name and not both:
        raise InputError(
            f"{path}: says that it is of {shown(said)}, but its name is that of {by_name[0].name}; rename it, or "
            "correct its imagePath."
        )
    return found[0]


def read_shapes(content: Any, path: Path) -> tuple[list[Shape], tuple[int, int] | None]:
    """Read the objects of a LabelMe file; their boxes are its rectangles, and the tightest around other shapes.

    Shapes of one label and one group_id are parts of one object. A point lies on the centre of pixel (x, y), as LabelMe
    itself fills shapes, so that a rectangle from 10 to 20 holds eleven columns.

    Args:
        content: What it holds.
        path: The file, for the error.

    Returns:
        The objects, and the width and height of the photograph, None where the file does not say.

    Raises:
        InputError: it is not LabelMe's, or a shape is broken, or a line or point, which encloses nothing.
    """
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
        box = _box(shape, f"{path}: the {shown(name)}, shape {number},")
        grouped = isinstance(group, int | str) and not isinstance(group, bool)
        key = (name, "group", group) if grouped else (name, "single", number)
        before = found.setdefault(key, Shape(name, box))
        both = np.concatenate([np.minimum(before.box[:2], box[:2]), np.maximum(before.box[2:], box[2:])])
        found[key] = Shape(name, both)
    return list(found.values()), size_of(content)


def _box(shape: dict[str, Any], where: str) -> np.ndarray:
    """The box of a shape, (4,)."""
    kind = shape.get("shape_type") or "polygon"
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
    return np.concatenate([np.floor(points.min(axis=0)), np.floor(points.max(axis=0)) + 1])


def size_of(content: dict[str, Any]) -> tuple[int, int] | None:
    """Width and height of the photograph in whole pixels, which may be written as 64.0; None where none are said."""
    sides = content.get("imageWidth"), content.get("imageHeight")
    return (int(sides[0]), int(sides[1])) if _is_side(sides[0]) and _is_side(sides[1]) else None


def _is_side(value: Any) -> TypeGuard[float]:
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return known and 0 < value < FARTHEST and value == int(value)
