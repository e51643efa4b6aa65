"""The objects of annotations in COCO's format, photograph by photograph: labels, regions to paint, boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from dsrg.data import drawn
from dsrg.data.coco_rows import TAG, Categories, read_segmentation, where_of
from dsrg.data.regions import Region
from dsrg.errors import InputError
from dsrg.labels import IGNORE

MOST_OBJECTS = 20_000
"""Objects in one photograph."""


@dataclass
class Objects:
    """What the annotations of one photograph say."""

    classes: set[int] = field(default_factory=set)
    placed: set[int] = field(default_factory=set)
    """Those of the classes that have a place."""
    regions: list[Region] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    """Of the objects, but for labels that have no place."""
    boxes: list[drawn.Edges | None] = field(default_factory=list)
    """Theirs; None for one without a box."""
    is_partly_void: bool = False
    """Whether an object that has a place stands for void, which keeps the others from being boxes."""


def read_objects(
    rows: Sequence[dict[str, Any]],
    painted: Categories,
    names: Categories,
    indices: Mapping[int, int],
    sizes: Mapping[int, tuple[int, int] | None],
    path: Path,
) -> tuple[dict[int, Objects], list[str]]:
    """From a photograph's id to its objects, for those that show any; and sentences for the user.

    Args:
        rows: The annotations.
        painted: The categories whose crowds are objects.
        names: The categories that are classes.
        indices: Theirs, and 255 for categories that stand for void.
        sizes: By the id of every photograph that the file lists: width and height, where they are known.
        path: The file, for errors.

    Raises:
        InputError: a value is broken, or a photograph is not listed or has more objects than any may have.
    """
    has_masks = any(row.get("segmentation") for row in rows)
    objects: dict[int, Objects] = {}
    boxes = crowds = void = 0
    marked: set[int] = set()
    for row in tqdm(rows, f"objects of {path.name}", disable=None):
        where = where_of(path, row)
        image, category = row["image_id"], row["category_id"]
        if image not in sizes:
            raise InputError(f"{where}: is of image {image}, which 'images' does not list; correct it or remove it.")
        if category not in indices:
            continue
        is_class = category in names
        void += not is_class
        own = objects.setdefault(image, Objects())
        size = sizes[image]
        if is_class:
            own.classes.add(indices[category])
        if not row.get(TAG):
            own.names += [names[category]] if is_class else []
            # What lies in no box is learnt as background, which void is not: it keeps the others from being boxes.
            own.boxes.append(drawn.coco_box(row, size, where) if is_class else None)
            own.is_partly_void |= not is_class
        if has_masks and size and not row.get(TAG):
            if len(own.regions) == MOST_OBJECTS:
                raise InputError(f"{path}: image {image} has more than {MOST_OBJECTS:,} objects; check the file.")
            segmentation, is_box = read_segmentation(row, size, where)
            is_crowd = bool(row.get("iscrowd")) and category not in painted and is_class
            boxes += is_box and is_class
            crowds += is_crowd
            marked |= {category} if row.get("iscrowd") and category in painted else set()
            own.placed.add(indices[category])
            is_behind = is_box or is_crowd
            own.regions.append(Region(IGNORE if is_behind else indices[category], segmentation, is_behind))
    _cover_unplaced(objects, sizes)
    objects = {image: own for image, own in objects.items() if own.classes}
    crowded = [name for number, name in painted.items() if number in marked]
    counts = _describe_objects(crowded, {"crowds": crowds, "boxes": boxes, "void": void}, path)
    return objects, counts + _describe_ignored(rows, indices, path)


def _describe_ignored(rows: Sequence[dict[str, Any]], indices: Mapping[int, int], path: Path) -> list[str]:
    ignored = [row["category_id"] for row in rows if row["category_id"] not in indices]
    if not ignored:
        return []
    which = f"{len(ignored)} annotations are of no class (category {min(ignored)})"
    return [f"{path}: {which} and count as background."]


def _cover_unplaced(objects: Mapping[int, Objects], sizes: Mapping[int, tuple[int, int] | None]) -> None:
    """Where a class is somewhere, and nobody knows where, nothing is background: it is void."""
    for image, own in objects.items():
        size = sizes[image]
        if size and own.classes - own.placed:
            whole = [np.array([0, 0, size[0], 0, *size, 0, size[1]], np.float64)]
            own.regions.append(Region(IGNORE, whole, True))


def join_listed_twice(
    objects: Mapping[int, Objects],
    files: Mapping[int, Path],
    sizes: Mapping[int, tuple[int, int] | None],
    path: Path,
) -> tuple[dict[int, Objects], list[str]]:
    """The objects of each file's photograph, by the first id that it is listed with; and a sentence on the others.

    Label Studio lists a photograph once for each of its annotations.

    Args:
        objects: By a photograph's id; those of one that is listed first get the others' in place.
        files: By a photograph's id.
        sizes: Width and height by a photograph's id, where they are known.
        path: The annotation file, for notes and errors.

    Raises:
        InputError: a photograph is listed twice with other labels or another size.
    """
    owners: dict[Path, int] = {}
    for number, file in files.items():
        first = owners.setdefault(file, number)
        if first == number:
            continue
        if objects[first].classes != objects[number].classes or sizes[first] != sizes[number]:
            raise InputError(
                f"{path}: two images are the photograph '{file.name}', {first} and {number}, and their labels or sizes "
                "differ; join them into one."
            )
        objects[first].regions.extend(objects[number].regions)
        objects[first].names.extend(objects[number].names)
        objects[first].boxes.extend(objects[number].boxes)
        objects[first].is_partly_void |= objects[number].is_partly_void
    joined = {number: objects[number] for number in owners.values()}
    twice = len(files) - len(owners)
    if not twice:
        return joined, []
    return joined, [f"{path}: {twice} photographs are listed once more; their objects were joined."]


def _describe_objects(painted: Sequence[str], counts: Mapping[str, int], path: Path) -> list[str]:
    notes = []
    if painted:
        names = "', '".join(painted[:5])
        notes.append(
            f"{path}: objects of '{names}' are marked as crowds (iscrowd 1), as tools mark what is painted; they were "
            "read as objects."
        )
    if counts["crowds"]:
        notes.append(
            f"{path}: {counts['crowds']} of the objects are marked as crowds (iscrowd 1) and are void (255) in the "
            "masks; where they are single objects, give them iscrowd 0."
        )
    if counts["boxes"]:
        notes.append(
            f"{path}: {counts['boxes']} objects have no polygon of three points; their boxes are void (255) in the "
            "masks."
        )
    if counts["void"]:
        notes.append(f"{path}: {counts['void']} objects {drawn.VOID_SAID}.")
    return notes
