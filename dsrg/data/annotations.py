"""VOC's XML annotations: the objects of a photograph and their boxes."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np

from dsrg.boxes import LabelledBoxes
from dsrg.errors import InputError
from dsrg.files import disk
from dsrg.files.markup import read_xml
from dsrg.labels import Classes

LARGEST = 16 * disk.MIB
"""Bytes of an annotation; VOC's largest has 30 KB."""
MOST_OBJECTS = 20_000
Edges = tuple[float, float, float, float]


def read_boxes_for(path: Path, size: tuple[int, int], classes: Classes, photo: Path) -> LabelledBoxes:
    """Read the boxes of a VOC XML annotation; those of difficult and truncated objects too, as the labels are.

    VOC counts pixels from 1 and names the last one: xmin 1, xmax 10 are the first ten columns, here 0 and 10. Some of
    VOC 2012's coordinates are fractions, which stay.

    Args:
        path: The annotation.
        size: (width, height) of the photograph, in pixels.
        classes: The data set's classes.
        photo: The photograph's file, for the error.

    Returns:
        Classes and boxes in the file's order, float64 x0, y0, x1, y1, half-open (see `dsrg.boxes`).

    Raises:
        InputError: the file is missing or broken, names no object or an unknown class, or a box does not lie in the
            photograph.
    """
    indices, boxes = [], []
    for element in _read_objects(path, "measure with masks"):
        name = element.findtext("name", "").strip()
        indices.append(classes.index(name, str(path)))
        left, top, right, bottom = _edges(element, name, path)
        # A fraction of a pixel beyond the edge is rounding; nan fails every comparison.
        if not (0 < left <= right < size[0] + 1 and 0 < top <= bottom < size[1] + 1):
            raise InputError(
                f"{path}: the box {left:g}, {top:g}, {right:g}, {bottom:g} of a '{name}' does not lie in {photo}, "
                f"which is {size[0]} x {size[1]}; count pixels from 1, and annotate the photograph at this size.",
                "box wrong",
            )
        boxes.append((left - 1, top - 1, right, bottom))
    if not boxes:
        raise InputError(
            f"{path}: the annotation has no object; every photograph of a split needs at least one.", "no box"
        )
    return LabelledBoxes(np.array(indices, np.int64), np.array(boxes, np.float64))


def read_label_names(path: Path, otherwise: str) -> list[str]:
    """The names of the objects of a VOC XML annotation, difficult and truncated ones too.

    Args:
        path: The annotation.
        otherwise: What helps where it is missing, for the error.

    Raises:
        InputError: the file is missing or broken.
    """
    return [element.findtext("name", "").strip() for element in _read_objects(path, otherwise)]


def read_plain_boxes(path: Path) -> tuple[list[tuple[str, Edges]], tuple[float, float] | None]:
    """The objects of an annotation in VOC's form, nothing taken for granted of their names and numbers.

    Args:
        path: The annotation.

    Returns:
        Each object's name and xmin, ymin, xmax, ymax as they are written; and the width and height that the annotation
        says the photograph has, None where it says none.

    Raises:
        InputError: the file is missing or broken, or a box is not of four finite numbers.
    """
    root = _read_root(path, "restore it")
    found = []
    for element in _objects_of(root, path):
        name = element.findtext("name", "").strip()
        found.append((name, _edges(element, name, path)))
    try:
        size = (float(root.findtext("size/width", "0")), float(root.findtext("size/height", "0")))
    except ValueError:
        size = (0.0, 0.0)
    return found, size if all(0 < side < math.inf for side in size) else None


def _edges(element: ElementTree.Element, name: str, path: Path) -> Edges:
    """The four numbers of an object's box, as they are written."""
    edges = [
        " ".join(element.findtext(f"bndbox/{edge}", "none").split())[:20] for edge in ("xmin", "ymin", "xmax", "ymax")
    ]
    try:
        left, top, right, bottom = map(float, edges)
    except ValueError:
        raise InputError(
            f"{path}: the box of a '{name[:60]}' is xmin, ymin, xmax, ymax = {', '.join(edges)}; write four numbers.",
            "box wrong",
        ) from None
    return left, top, right, bottom


def _read_objects(path: Path, otherwise: str) -> list[ElementTree.Element]:
    """The objects of a VOC XML annotation; `otherwise` says what helps where the file is missing."""
    return _objects_of(_read_root(path, otherwise), path)


def _read_root(path: Path, otherwise: str) -> ElementTree.Element:
    if not path.exists():
        raise InputError(f"{path}: the annotation does not exist; add it or {otherwise}.", "annotation missing")
    try:
        return read_xml(path, "annotation", limit=LARGEST)
    except InputError as error:
        raise InputError(str(error), "annotation unreadable") from None


def _objects_of(root: ElementTree.Element, path: Path) -> list[ElementTree.Element]:
    objects = root.findall("object")
    if len(objects) > MOST_OBJECTS:
        raise InputError(
            f"{path}: names {len(objects):,} objects, and {MOST_OBJECTS:,} are the most; check the file.",
            "annotation unreadable",
        )
    return objects
