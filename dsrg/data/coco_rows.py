"""The rows of annotations in COCO's format: each value of the kind that it must be, or one sentence."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dsrg.data.mask_folders import is_void
from dsrg.data.regions import Runs, Segmentation
from dsrg.errors import InputError
from dsrg.labels import BACKGROUND_NAMES, fault_of_name

Content = dict[str, list[dict[str, Any]]]
"""The lists 'images', 'annotations' and 'categories'."""
Categories = Mapping[int, str]
"""From a category's id to its name, in the order of the ids."""
LONGEST_OUTLINE = 100_000
"""Pixels around a polygon that any photograph may have; as many as it has pixels where those are more."""
_OTHERS = {"segments_info": "panoptic segmentation", "caption": "captions"}
"""What COCO's files of other kinds are of, by a key of their annotations."""
TAG = "tag"
"""In a row that gives a label to its photograph and has no place in it; other readers write such rows."""


def check_content(content: Any, path: Path) -> Content:
    """The content of a JSON file, if it has COCO's lists; raises InputError."""
    rows = content.get("annotations") if isinstance(content, dict) else None
    first = rows[0] if isinstance(rows, list) and rows and isinstance(rows[0], dict) else {}
    kind = next((kind for key, kind in _OTHERS.items() if key in first and "category_id" not in first), None)
    if kind:
        sentence = f"is COCO's file of {kind}, which is not read; give that of instances (instances_*.json)"
        raise InputError(f"{path}: {sentence}, which has each object's category and outline.")
    for key in ("images", "annotations", "categories"):
        rows = content.get(key) if isinstance(content, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise InputError(f"{path}: holds no list '{key}' as COCO's instance annotations do; check the file.")
    found: Content = content
    return found


def read_categories(rows: Sequence[dict[str, Any]], path: Path, used: Collection[int] | None = None) -> Categories:
    """The categories that are classes: background is none, nor is what stands for void.

    Args:
        rows: Of the file's list.
        path: The file, for the error.
        used: The ids of those to keep; None for all. Roboflow lists the project's name as one, which no object has and
            which may be another's.

    Raises:
        InputError: one has no number or name, or two have the same.
    """
    found: dict[int, str] = {}
    for row in rows:
        where = f"{path} (a category)"
        number, name = value_of(row, "id", int, where), value_of(row, "name", str, where)
        if number in found:
            raise InputError(f"{path}: category {number} is listed twice; give each an id of its own.")
        found[number] = name.strip()
    kept = {number: name for number, name in sorted(found.items()) if used is None or number in used}
    kept = {number: name for number, name in kept.items() if name not in BACKGROUND_NAMES and not is_void(name)}
    for name in kept.values():
        if fault_of_name(name):
            raise InputError(f"{path}: the category {name[:60]!r} {fault_of_name(name)}; rename it.")
    names = list(kept.values())
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{path}: two categories have the name '{twice}'; rename one.")
    return kept


def void_categories(rows: Sequence[dict[str, Any]]) -> dict[int, str]:
    """The categories whose objects are void, such as LabelMe's '__ignore__', of a list that `read_categories` has
    read."""
    return {row["id"]: row["name"].strip() for row in rows if is_void(row["name"].strip())}


def describe_unused(contents: Sequence[Content], where: Path) -> list[str]:
    """The sentence on the categories of files that no object of any has."""
    used, unused = set[str](), dict[str, None]()
    for content in contents:
        listed = {row["category_id"] for row in content["annotations"]}
        for row in content["categories"]:
            used |= {row["name"].strip()} if row["id"] in listed else set()
            unused |= {} if row["id"] in listed else {row["name"].strip(): None}
    names = [name for name in unused if name not in {*used, *BACKGROUND_NAMES} and not is_void(name)]
    if not names:
        return []
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    shown = "', '".join(names[:5])
    return [f"{where}: no object is of the categories '{shown}'{more}, which are no classes then."]


def read_images(rows: Sequence[dict[str, Any]], path: Path) -> dict[int, tuple[str, tuple[int, int] | None]]:
    """From a photograph's id to its file's name, and its width and height if the file says them."""
    images: dict[int, tuple[str, tuple[int, int] | None]] = {}
    for row in rows:
        number = value_of(row, "id", int, f"{path} (an image)")
        where = f"{path} (image {number})"
        size = None
        if row.get("width") is not None or row.get("height") is not None:  # Label Studio writes null for both
            size = (value_of(row, "width", int, where), value_of(row, "height", int, where))
            if min(size) < 1:
                raise InputError(f"{where}: is {size[0]} x {size[1]} pixels; correct the annotation.")
        if number in images:
            raise InputError(f"{path}: image {number} is listed twice; give each an id of its own.")
        images[number] = (value_of(row, "file_name", str, where), size)
    return images


def painted_categories(rows: Sequence[dict[str, Any]], categories: Categories, path: Path) -> Categories:
    """The categories whose segmented objects are all marked as crowds: COCO itself has none such."""
    marks: dict[int, set[bool]] = {}
    for row in rows:
        if row.get("iscrowd") not in (None, 0, 1):
            raise InputError(f"{where_of(path, row)}: has 'iscrowd' {row['iscrowd']!r:.40}; it must be 0 or 1.")
        if row.get("segmentation"):
            marks.setdefault(row["category_id"], set()).add(bool(row.get("iscrowd")))
    return {number: name for number, name in categories.items() if marks.get(number) == {True}}


def unfolded(rows: Sequence[dict[str, Any]], path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Annotations whose segmentations are lists of polygons, or nothing where no polygon has three points; and a
    sentence on those that were one polygon, not in a list, as older tools write it."""
    found, flat = [], 0
    for row in rows:
        parts = row.get("segmentation")
        if isinstance(parts, list):
            is_flat = bool(parts) and all(map(_is_number, parts))
            flat += is_flat
            parts = [parts] if is_flat else parts
            # Fewer than three points enclose nothing. What is broken stays, to be refused where it is read.
            empty = all(isinstance(part, list) and len(part) < 6 and all(map(_is_number, part)) for part in parts)
            if is_flat or (empty and parts):  # the others stay as they are: a file may hold millions
                row = {**row, "segmentation": [] if empty else parts}
        found.append(row)
    sentence = (
        "objects have their polygon as one list of numbers, not in a list of polygons; it was read as one polygon"
    )
    return found, [f"{path}: {flat} {sentence}."] if flat else []


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def read_segmentation(row: dict[str, Any], size: tuple[int, int], where: str) -> tuple[Segmentation, bool]:
    """An object's segmentation, or its box as a polygon, and whether it is the box."""
    segmentation = row.get("segmentation")
    if isinstance(segmentation, Runs):  # of another format, whose reader has checked it
        return segmentation, False
    if isinstance(segmentation, dict):
        if not {"size", "counts"} <= segmentation.keys():
            raise InputError(f"{where}: its segmentation has no 'size' and 'counts'; correct it.")
        return segmentation, False
    try:
        polygons = [np.array(polygon, np.float64) for polygon in segmentation or []]
        # Fewer than three points enclose nothing, and pycocotools would take four numbers for a box.
        polygons = [polygon for polygon in polygons if polygon.size >= 6]
        is_box = not polygons
        if is_box:
            left, top, width, height = map(float, row["bbox"])
            right, bottom = left + width, top + height
            polygons = [np.array([left, top, right, top, right, bottom, left, bottom])]
    except (KeyError, TypeError, ValueError, OverflowError):
        raise InputError(
            f"{where}: has neither polygons nor a bbox of four numbers; correct it or remove it."
        ) from None
    reach = 2 * max(size)  # pycocotools walks along every edge, however long
    for polygon in polygons:
        if polygon.ndim != 1 or polygon.size % 2 or not (np.abs(polygon) <= reach).all():
            raise InputError(
                f"{where}: a polygon is no list of x, y in its photograph ({size[0]} x {size[1]}); correct it."
            )
        points = polygon.reshape(-1, 2)
        outline = np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum()
        if outline > min(max(LONGEST_OUTLINE, size[0] * size[1]), 50 * LONGEST_OUTLINE):  # each step takes memory
            raise InputError(f"{where}: a polygon's outline is {outline:,.0f} pixels long; correct it.")
    return polygons, is_box


def value_of(row: dict[str, Any], key: str, kind: type, where: str) -> Any:
    """row[key], which must be of a kind (a whole number may come as 3.0)."""
    value = row.get(key)
    if kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, kind) or isinstance(value, bool):
        wanted = "a whole number" if kind is int else "a text"
        raise InputError(f"{where}: has '{key}' {value!r:.60}; it must be {wanted}.")
    return value


def where_of(path: Path, row: Mapping[str, Any]) -> str:
    number = row.get("id")
    return f"{path} (annotation {number if isinstance(number, int) else '?'})"
