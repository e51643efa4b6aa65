"""Boxes that somebody drew, on their way into a data set: whose photograph's they are, and whether they lie in it."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import filterfalse
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dsrg.boxes import whole_pixels
from dsrg.data import labelme
from dsrg.data.annotations import Drawn, document, read_drawn
from dsrg.data.mask_folders import is_void
from dsrg.data.photo_index import PhotoIndex
from dsrg.data.photograph import check_folder, walk
from dsrg.data.regions import Runs
from dsrg.errors import InputError
from dsrg.files import pictures

Edges = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels."""
VOID_SAID = (
    "have a label that stands for void, such as 'ignore' (255 in masks): it is no class, and their photographs get no "
    "boxes, because everything outside the boxes is learnt as background"
)
"""Of objects, for the sentence that counts them."""
READERS = {".xml": read_drawn, ".json": labelme.read_labelme}
"""By the ending of an annotation: VOC's XML, and LabelMe's JSON."""


class Boxed(NamedTuple):
    """What a folder of annotations says of photographs."""

    labels: dict[Path, list[str]]
    """Of those that show an object."""
    annotations: dict[Path, Callable[[], bytes]]
    """What makes the VOC XML of those all of whose objects have boxes."""
    sizes: dict[Path, tuple[int, int]]
    """Width and height of these."""
    notes: list[str]


def read_folder(folder: Path, photos: Path, photographs: Sequence[Path], labels: Mapping[Path, Sequence[str]]) -> Boxed:
    """Read every annotation of a folder, at any depth.

    Args:
        folder: Of VOC XML or LabelMe JSON files, which may lie among other files.
        photos: Folder of the photographs; may be the same.
        photographs: Those in it; an annotation's is the one of the same path or name.
        labels: Labels from elsewhere, which may name no class without a box: what is in no box is background.

    Raises:
        InputError: there is none, one is broken, has no photograph or two, or contradicts the labels; or a box does not
            lie in its photograph.
    """
    check_folder(folder, "annotations", "--boxes")
    files = annotations_in(folder)
    if not files:
        raise InputError(f"{folder}: holds no annotation, .xml of VOC's or .json of LabelMe's; check --boxes.")
    read = {file: READERS[file.suffix.lower()](file) for file in files}
    said = {file: drawn.photo for file, drawn in read.items()}
    located, notes = labelme.locate(said, folder, PhotoIndex(photos, photographs))
    owners: dict[Path, Path] = {}
    found, bare, cut_off, void = Boxed({}, {}, {}, notes), 0, 0, 0
    for file in files:
        photo = located[file]
        if owners.setdefault(photo, file) != file:
            raise InputError(f"{file}: is of the photograph {photo}, as {owners[photo]} is; remove one of the two.")
        drawn = _without_void(read[file])
        hidden = len(read[file].names) - len(drawn.names)
        void += hidden
        extra = sorted({*filterfalse(is_void, labels.get(photo, ()))} - {*drawn.names, "background"})
        if extra and drawn.names:
            sentence = f"has no box of '{extra[0]}', which is a label of {photo}; draw it, or take the label off."
            raise InputError(f"{file}: {sentence}")
        if drawn.names:
            found.labels[photo] = list(dict.fromkeys(drawn.names))
        bare += drawn.boxes is None and not hidden  # of void another sentence tells
        if drawn.names and drawn.boxes is not None:
            found.sizes[photo] = drawn.size or pictures.read_upright(photo).size
            boxes, beyond = fit(drawn.names, drawn.boxes, found.sizes[photo], file)
            found.annotations[photo] = functools.partial(document, photo.name, found.sizes[photo], drawn.names, boxes)
            cut_off += beyond
    found.notes.extend(describe(folder, bare, cut_off))
    if void:
        found.notes.append(f"{folder}: {void} objects {VOID_SAID}.")
    return found


def _without_void(drawn: Drawn) -> Drawn:
    """The objects that are of a class. Where others are void there are no boxes, see VOID_SAID."""
    names = tuple(name for name in drawn.names if not is_void(name))
    return drawn if names == drawn.names else Drawn(names, None, drawn.size)


def annotations_in(folder: Path) -> list[Path]:
    """The files of a folder that are annotations of photographs: XML, and JSON that begins as LabelMe's does."""
    files = [file for file in walk(folder).check().others if file.suffix.lower() in READERS]
    return [file for file in files if file.suffix.lower() == ".xml" or labelme.begins(file)]


def fit(names: Sequence[str], boxes: np.ndarray, size: tuple[int, int], where: str | Path) -> tuple[np.ndarray, int]:
    """Boxes in whole pixels of a photograph, those that reach beyond its edges cut off there.

    Args:
        names: The objects' classes, for the error.
        boxes: (N, 4) finite, each edge at most its opposite.
        size: Width and height of the photograph.
        where: What holds the boxes, for the error.

    Returns:
        (N, 4) int64, and how many reached beyond by more than a pixel: less is rounding, or counting from 0.

    Raises:
        InputError: a box does not touch the photograph.
    """
    low, high = boxes[:, :2], boxes[:, 2:]
    outside = ((high <= 0) | (low >= size)).any(axis=1)
    if outside.any():
        number = int(np.flatnonzero(outside)[0])
        left, top, right, bottom = boxes[number]
        raise InputError(
            f"{where}: the box of a '{names[number]}' from {left:g}, {top:g} to {right:g}, {bottom:g} does not lie in "
            f"its photograph, which is {size[0]} x {size[1]}; correct it or remove it.",
            "box wrong",
        )
    beyond = ((low < -1) | (high > np.array(size) + 1)).any(axis=1)
    return whole_pixels(boxes, size[::-1]), int(beyond.sum())


def describe(where: str | Path, bare: int, cut_off: int) -> list[str]:
    """The sentences on photographs that get no boxes, and on boxes that were cut off."""
    sentences = []
    if bare:
        sentences.append(f"{where}: {bare} photographs have an object without a box, and so get no boxes at all.")
    if cut_off:
        sentences.append(f"{where}: {cut_off} boxes reached beyond their photographs and end at the edge now.")
    return sentences


def annotation(
    photo: Path, size: tuple[int, int], names: Sequence[str], edges: Collection[Edges | None], where: str
) -> tuple[Callable[[], bytes] | None, int]:
    """What makes the VOC XML of a photograph, None where an object has no box; and how many boxes were cut off.

    Args:
        photo: The photograph.
        size: Its width and height.
        names: The objects' classes.
        edges: Their boxes, None for one without.
        where: What holds them, for the error.

    Raises:
        InputError: as `fit`.
    """
    if not edges or None in edges:
        return None, 0
    boxes, beyond = fit(names, np.array(edges, np.float64), size, where)
    return functools.partial(document, photo.name, size, names, boxes), beyond


def coco_box(row: dict[str, Any], size: tuple[int, int] | None, where: str) -> Edges | None:
    """The box of an annotation in COCO's format: around its polygons or runs, else its bbox.

    Tools that paint masks write bboxes of all kinds. So a wrong one is refused only where it is all that is known of
    the object; one that does not touch the photograph is then left to `fit`.

    Args:
        row: The annotation.
        size: Width and height of the photograph; None where they are not known.
        where: What holds it, for the error.

    Returns:
        None where the object has none.

    Raises:
        InputError: its bbox is no box.
    """
    segmentation, given = row.get("segmentation"), row.get("bbox")
    edges: Edges | None = None
    try:
        if isinstance(segmentation, Runs):
            edges = _around_runs(segmentation)
        points = _points_of(segmentation) if isinstance(segmentation, list) else np.empty((0, 2))
        if len(points):
            edges = (*points.min(axis=0).tolist(), *points.max(axis=0).tolist())
        elif edges is None and given:
            left, top, width, height = map(float, given)
            edges = (left, top, left + width, top + height)
    except (TypeError, ValueError, OverflowError):
        edges = (math.nan,) * 4
    if edges is None or size is None:
        return None
    sound = all(map(math.isfinite, edges)) and edges[0] <= edges[2] and edges[1] <= edges[3]
    if sound and (not segmentation or (edges[0] < size[0] and edges[1] < size[1] and min(edges[2:]) > 0)):
        return edges
    if segmentation:
        return None
    raise InputError(f"{where}: its bbox is no x, y, width, height of a box; correct it or remove it.")


def _points_of(polygons: Sequence[Any]) -> np.ndarray:
    """(n, 2) the points of polygons that enclose something."""
    found = [np.array(polygon, np.float64) for polygon in polygons]
    return np.concatenate([np.empty((0, 2)), *(one.reshape(-1, 2) for one in found if one.size >= 6)])


def _around_runs(runs: Runs) -> Edges | None:
    """The tightest box around the pixels of runs; None where there are none."""
    left, top, across, _ = runs.box
    ends = np.cumsum(runs.lengths)
    first, last = ends[:-1:2][: len(runs.lengths[1::2])], ends[1::2]
    first, last = first[last > first], last[last > first] - 1
    if not len(first) or across < 1:
        return None
    whole = bool((first // across != last // across).any())  # a run that goes on in the next row has both edges
    sides = (0, across) if whole else (int((first % across).min()), int((last % across).max()) + 1)
    rows = int((first // across).min()), int((last // across).max()) + 1
    return left + sides[0], top + rows[0], left + sides[1], top + rows[1]
