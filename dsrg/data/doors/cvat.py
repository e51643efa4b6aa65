"""CVAT's own XML, "CVAT for images 1.1": tags of whole photographs, polygons, boxes, ellipses and painted masks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element

import numpy as np

from dsrg.data.class_folders import SPLITS
from dsrg.data.coco_rows import TAG, Content
from dsrg.data.regions import Runs
from dsrg.data.table import LabelTable, Row
from dsrg.errors import InputError
from dsrg.files import disk

LARGEST = 512 * disk.MIB
"""Bytes of an annotations.xml; painted masks take much room."""
FILLED = ("polygon", "box", "ellipse", "mask", "cuboid")
"""Shapes that fill a part of the photograph."""
_CORNERS = 64
"""Of the polygon that an ellipse becomes."""


class Export(NamedTuple):
    """An annotations.xml, read."""

    content: Content
    """In COCO's format, the objects of a photograph from the lowest layer (z_order) to the highest."""
    splits: dict[str, str]
    """The split of each photograph, by its name, where CVAT's subsets are all called as splits are."""
    notes: list[str]
    bare: dict[str, str]
    """The names without default/, by those with it, which photographs of no subset have where others have one."""

    def among(self, photographs: Sequence[Path]) -> Export:
        """Itself, with the paths of photographs of no subset that lie beside the subsets' folders, not in default/.

        Args:
            photographs: All, below the folder that they lie in.
        """
        if not self.bare or any("default" in map(str.casefold, path.parts[:-1]) for path in photographs):
            return self
        subsets = {image["file_name"].partition("/")[0].casefold() for image in self.content["images"]}
        flat: dict[str, list[str]] = {}
        for path in photographs:
            for place, folder in enumerate(("", *path.parts[:-1])):
                if folder.casefold() not in subsets:
                    flat.setdefault("/".join(path.parts[place:]), []).append(path.as_posix())
        names = {}
        for name, said in self.bare.items():
            own = flat.get(said, [name])
            names[name] = own[0] if len(own) == 1 else said
        images = [{**one, "file_name": names.get(one["file_name"], one["file_name"])} for one in self.content["images"]]
        splits = {names.get(name, name): split for name, split in self.splits.items()}
        return Export({**self.content, "images": images}, splits, self.notes, {})

    @property
    def has_shapes(self) -> bool:
        """Whether there are objects with places."""
        return any(TAG not in row for row in self.content["annotations"])

    def table(self) -> LabelTable:
        """The labels of whole photographs."""
        names = {category["id"]: category["name"] for category in self.content["categories"]}
        labels: dict[int, dict[str, None]] = {image["id"]: {} for image in self.content["images"]}
        for row in self.content["annotations"]:
            labels[row["image_id"]][names[row["category_id"]]] = None
        rows = [
            Row(image["file_name"], tuple(labels[image["id"]]), number, self.splits.get(image["file_name"], ""))
            for number, image in enumerate(self.content["images"], 1)
        ]
        return LabelTable(rows, self.notes)


def is_export(root: Element) -> bool:
    """Whether an XML file is CVAT's."""
    return root.tag == "annotations"


def read_export(root: Element, path: Path) -> Export:
    """Read the photographs of an annotations.xml.

    Raises:
        InputError: it is none, of a video, or a value is broken.
    """
    if not is_export(root):
        raise InputError(f"{path}: is no annotations.xml of CVAT, its outermost element is <{root.tag[:40]}>.")
    if root.find("track") is not None:
        raise InputError(f"{path}: holds tracks of a video; export the task as 'CVAT for images 1.1'.")
    numbers = _labels(root)
    images: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    subsets: dict[str, str] = {}
    bare: dict[str, str] = {}
    others: Counter[str] = Counter()
    elements = root.findall("image")
    # CVAT lays a subset's photographs in a folder of its name: those of none in default/, beside others.
    lone = {element.get("subset", "") for element in elements} <= {"", "default"}
    for number, element in enumerate(elements, 1):
        where = f"{path} (image {number})"
        size = (_whole(element, "width", where), _whole(element, "height", where))
        subset = element.get("subset", "")
        said = element.get("name", "")
        name = said if lone or not subset else f"{subset}/{said}"
        if name != said and subset == "default":
            bare[name] = said
        subsets[name] = subset
        images.append({"id": number, "file_name": name, "width": size[0], "height": size[1]})
        parts = sorted(element, key=lambda part: _layer(part, where))
        others.update(part.tag for part in parts if part.tag not in (*FILLED, "tag"))
        for part in parts:
            if part.tag in (*FILLED, "tag"):
                label = part.get("label", "").strip()
                if not label:
                    raise InputError(f"{where}: has a <{part.tag}> without a label; correct it.")
                category = numbers.setdefault(label, len(numbers) + 1)
                place = {TAG: True} if part.tag == "tag" else _place(part, size, where)
                rows.append({"id": len(rows) + 1, "image_id": number, "category_id": category, **place})
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    splits = {name: SPLITS.get(subset.casefold(), "") for name, subset in subsets.items()}
    notes = []
    if others:
        types = ", ".join(f"{count} of <{name[:40]}>" for name, count in others.most_common(5))
        notes.append(f"{path}: shapes that fill nothing were not read: {types}.")
    content = {"images": images, "categories": categories, "annotations": rows}
    return Export(content, splits if splits and all(splits.values()) else {}, notes, bare)


def _labels(root: Element) -> dict[str, int]:
    """The labels of the task or project and their numbers, in its order."""
    names = [(label.findtext("name") or "").strip() for label in root.findall("meta/*/labels/label")]
    return {name: number for number, name in enumerate(dict.fromkeys(filter(None, names)), 1)}


def _place(part: Element, size: tuple[int, int], where: str) -> dict[str, Any]:
    """Where a shape is, as COCO's keys say it."""
    if part.tag == "mask":
        box = tuple(_whole(part, key, where) for key in ("left", "top", "width", "height"))
        return {"segmentation": Runs(_runs(part.get("rle", ""), where), (box[0], box[1], box[2], box[3])), "bbox": box}
    if part.tag == "polygon":
        points = _points(part.get("points", ""), where)
        if len(points) > 2:
            return {"segmentation": [points.ravel().tolist()], "bbox": _around(points)}
        return {"segmentation": [], "bbox": _around(points)}
    if part.tag == "ellipse":
        cx, cy, rx, ry = (_number(part, key, where) for key in ("cx", "cy", "rx", "ry"))
        angles = np.arange(_CORNERS) * (2 * math.pi / _CORNERS)
        around = np.stack([rx * np.cos(angles), ry * np.sin(angles)], axis=1)
        points = _turned(around, part, where) + np.array([cx, cy])
        return {"segmentation": [points.ravel().tolist()], "bbox": _around(points)}
    if part.tag == "cuboid":
        keys = [f"{axis}{corner}{side}" for side in (1, 2) for corner in ("tl", "bl", "tr", "br") for axis in "xy"]
        points = np.array([_number(part, key, where) for key in keys]).reshape(-1, 2)
        return {"segmentation": [], "bbox": _around(points)}
    left, top, right, bottom = (_number(part, key, where) for key in ("xtl", "ytl", "xbr", "ybr"))
    centre = np.array([left + right, top + bottom]) / 2
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]]) - centre
    return {"segmentation": [], "bbox": _around(_turned(corners, part, where) + centre)}


def _turned(points: np.ndarray, part: Element, where: str) -> np.ndarray:
    """Points turned about the origin by the shape's rotation, in degrees, clockwise as the picture is seen."""
    angle = math.radians(_number(part, "rotation", where, "0"))
    cos, sin = math.cos(angle), math.sin(angle)
    return np.asarray(points @ np.array([[cos, sin], [-sin, cos]]))


def _around(points: np.ndarray) -> list[float]:
    left, top = points.min(axis=0).tolist()
    right, bottom = points.max(axis=0).tolist()
    return [left, top, right - left, bottom - top]


def _points(text: str, where: str) -> np.ndarray:
    """(n, 2) of 'x,y;x,y'."""
    try:
        points = np.array([list(map(float, pair.split(","))) for pair in text.split(";")], np.float64)
    except ValueError:
        points = np.zeros(0)
    if points.ndim != 2 or points.shape[1] != 2 or not (np.abs(points) < 1e7).all():
        raise InputError(f"{where}: has points {text[:40]!a} that are no list of x,y; correct it.")
    return points


def _runs(text: str, where: str) -> np.ndarray:
    try:
        return np.array([int(word) for word in text.split(",")], np.int64)
    except (ValueError, OverflowError):
        raise InputError(f"{where}: has a mask whose rle {text[:40]!a} is no list of numbers; correct it.") from None


def _layer(part: Element, where: str) -> int:
    return int(_number(part, "z_order", where, "0"))


def _whole(element: Element, key: str, where: str) -> int:
    value = _number(element, key, where)
    if value != int(value):
        raise InputError(f"{where}: has {key} {value:g}, which must be a whole number; correct it.")
    return int(value)


def _number(element: Element, key: str, where: str, otherwise: str = "") -> float:
    text = element.get(key, otherwise)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) < 1e7:
        raise InputError(
            f"{where}: has {key} {text[:40]!a} in <{element.tag[:40]}>, which must be a number; correct it."
        )
    return value
