"""VOC's XML annotations: the objects of a photograph and their boxes."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dsrg.boxes import LabelledBoxes
from dsrg.errors import InputError
from dsrg.files import disk
from dsrg.files.markup import read_xml
from dsrg.labels import Classes


class Drawn(NamedTuple):
    """The objects that somebody has boxed in one photograph, as a file says; the photograph has not been asked."""

    names: tuple[str, ...]
    boxes: np.ndarray | None
    """(N, 4) float64 x0, y0, x1, y1, half-open (see `dsrg.boxes`), finite, each edge at most its opposite; None where
    an object has none."""
    size: tuple[int, int] | None
    """Width and height that the boxes are for; None where the file does not say."""
    photo: str = ""
    """The photograph's path from the file, as far as LabelMe's say it."""


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
        name = _name(element, path)
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


def read_drawn(path: Path) -> Drawn:
    """Read the boxes of a VOC XML annotation of any tool, wherever they lie.

    Raises:
        InputError: the file is missing or broken, an object has no name, or a box is no four numbers in order.
    """
    root = _read_root(path, "leave it out")
    names, boxes, bare = [], [], False
    for element in _objects_of(root, path):
        names.append(_name(element, path))
        if element.find("bndbox") is None:
            bare = True
            continue
        left, top, right, bottom = _edges(element, names[-1], path)
        if not (math.isfinite(left + top + right + bottom) and left <= right and top <= bottom):
            raise InputError(
                f"{path}: the box {left:g}, {top:g}, {right:g}, {bottom:g} of a '{names[-1][:60]}' ends before it "
                "begins; correct it.",
                "box wrong",
            )
        boxes.append((left - 1, top - 1, right, bottom))
    said = _size_in(root)
    size = None if said is None else (round(said[0]), round(said[1]))
    return Drawn(tuple(names), None if bare else np.array(boxes, np.float64).reshape(-1, 4), size)


def document(file_name: str, size: tuple[int, int], names: Sequence[str], boxes: np.ndarray) -> bytes:
    """The content of a VOC XML annotation, which `read_boxes_for` reads back.

    Args:
        file_name: The photograph's.
        size: Its (width, height) in pixels.
        names: The objects' classes.
        boxes: (N, 4) x0, y0, x1, y1, half-open; VOC counts from 1 and names the last pixel.
    """
    root = ElementTree.Element("annotation")
    ElementTree.SubElement(root, "filename").text = file_name
    part = ElementTree.SubElement(root, "size")
    for key, value in zip(("width", "height", "depth"), (*size, 3), strict=True):
        ElementTree.SubElement(part, key).text = str(value)
    for name, (left, top, right, bottom) in zip(names, boxes.tolist(), strict=True):
        one = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(one, "name").text = name
        edges = ElementTree.SubElement(one, "bndbox")
        for key, value in zip(("xmin", "ymin", "xmax", "ymax"), (left + 1, top + 1, right, bottom), strict=True):
            ElementTree.SubElement(edges, key).text = f"{value:.10g}"
    ElementTree.indent(root)
    return f"{ElementTree.tostring(root, encoding='unicode')}\n".encode()


def read_label_names(path: Path, otherwise: str) -> list[str]:
    """The names of the objects of a VOC XML annotation, difficult and truncated ones too.

    Args:
        path: The annotation.
        otherwise: What helps where it is missing, for the error.

    Raises:
        InputError: the file is missing or broken, or an object has no name.
    """
    return [_name(element, path) for element in _read_objects(path, otherwise)]


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
    return found, _size_in(root)


def _size_in(root: ElementTree.Element) -> tuple[float, float] | None:
    """The width and height that an annotation says the photograph has; some tools write 0."""
    try:
        size = (float(root.findtext("size/width", "0")), float(root.findtext("size/height", "0")))
    except ValueError:
        return None
    return size if all(0 < side < math.inf for side in size) else None


def _name(element: ElementTree.Element, path: Path) -> str:
    """The class of an object."""
    name = element.findtext("name", "").strip()
    if not name:
        raise InputError(f"{path}: an object has no <name>; write its class there, or remove the object.", "no name")
    return name


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
