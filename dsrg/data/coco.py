"""Annotations in COCO's format: image-level labels, and masks painted with pycocotools."""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from dsrg import labels
from dsrg.data.ids import check_below
from dsrg.data.photograph import PhotoIndex, describe_left_out, walk
from dsrg.data.prepare import Item, Plan, check_names, name_ids, split_off
from dsrg.data.regions import Region, paint
from dsrg.errors import InputError
from dsrg.files import disk, pictures
from dsrg.files.manifest import identity
from dsrg.labels import BACKGROUND_NAMES, IGNORE, fault_of_name

Categories = Mapping[int, str]
"""From a category's id to its name, in the order of the ids."""
LARGEST = 2 * 2**30
"""Bytes of an annotation file; COCO's largest has 0.5 GB, LVIS's 1.1 GB."""
MOST_OBJECTS = 20_000
"""Objects in one photograph."""
LONGEST_OUTLINE = 100_000
"""Pixels around a polygon that any photograph may have; as many as it has pixels where those are more."""


@dataclass
class Instances:
    """An annotation file, read."""

    path: Path
    categories: Categories
    items: list[Item]
    notes: list[str] = field(default_factory=list)


def read_instances(path: Path, photos: Path, *, keep_unused: bool = False) -> Instances:
    """Read an annotation file and find its photographs; those without any object are left out.

    A crowd (iscrowd 1) gives its label to the photograph and 255 to its pixels. But where every object of a category is
    marked so, as annotation tools mark masks that are painted, they are objects. The box of an object without a polygon
    of three points is 255 too, if any other object of the file has one; if none has, there are no masks.

    Args:
        path: The JSON file.
        photos: Folder of the photographs, searched at any depth.
        keep_unused: Keep categories that no object has. They are no classes else, for nothing could be learnt of them.

    Raises:
        InputError: the file is missing or broken, or names photographs that do not exist or lie elsewhere.
    """
    content = _load(path)
    rows = content["annotations"]
    categories = _read_categories(content["categories"], path)
    images = _read_images(content["images"], path)
    listed = Counter(_value(row, "category_id", int, f"{path} (an annotation)") for row in rows)
    notes = []
    unused = [name for number, name in categories.items() if number not in listed]
    if unused and not keep_unused:
        categories = {number: name for number, name in categories.items() if number in listed}
        names = "', '".join(unused[:5])
        more = f" and {len(unused) - 5} more" if len(unused) > 5 else ""
        notes.append(f"{path}: no object is of the categories '{names}'{more}, which are no classes then.")
    pictured = [_value(row, "image_id", int, _where(path, row)) for row in rows]
    shown = {image for image, row in zip(pictured, rows, strict=True) if row["category_id"] in categories}
    kept = {number: image for number, image in images.items() if number in shown}
    if len(images) > len(kept):
        notes.append(
            f"{path}: {len(images) - len(kept)} of {len(images)} photographs show no object and were left out."
        )
    files, left_out = _find(kept, photos, path)
    has_masks = any(row.get("segmentation") for row in rows)
    sizes = {number: size for number, (_, size) in kept.items()}
    if has_masks:  # where the annotations say no size, as the tool that made them showed the photograph
        sizes = {number: size or pictures.read_upright(files[number]).size for number, size in sizes.items()}
    objects, found = _read_objects(rows, categories, {number: sizes.get(number) for number in images}, path)
    if not has_masks:
        notes.append(f"{path}: no object has a segmentation, so there are no masks to measure with.")
    class_names = ("background", *categories.values())
    ids = name_ids(files.values())
    items = []
    for number, size in sizes.items():
        own = objects[number]
        mask = functools.partial(paint, own.regions, size, f"{path} (image {number})") if has_masks and size else None
        own_labels = tuple(class_names[index] for index in sorted(own.classes))
        items.append(Item(ids[files[number]], files[number], own_labels, mask, size))
    return Instances(path, categories, items, notes + found + left_out)


def plan_coco(directory: Path, year: int) -> Plan:
    """Plan the data set of COCO 2014 or 2017: 81 classes with background, splits train and val.

    Args:
        directory: Holds annotations/instances_{train,val}<year>.json and {train,val}<year>/, which may lie in images/.
        year: 2014 or 2017.

    Raises:
        InputError: as `read_instances`; or the categories are not those of COCO.
    """
    parts: dict[str, Instances] = {}
    for split in ("train", "val"):
        path = directory / f"annotations/instances_{split}{year}.json"
        folders = [directory / f"{split}{year}", directory / "images" / f"{split}{year}"]
        photos = next((folder for folder in folders if folder.is_dir()), None)
        if photos is None:
            raise InputError(
                f"{folders[0]}: does not exist; unpack {split}{year}.zip there, or check --coco and --year."
            )
        parts[split] = read_instances(path, photos, keep_unused=True)
        _check_official(parts[split])
    items = [item for part in parts.values() for item in part.items]
    splits = {split: sorted(item.id for item in part.items) for split, part in parts.items()}
    source = {"kind": "coco", "files": [_fingerprint(part.path) for part in parts.values()]}
    return Plan(labels.COCO, items, splits, source, [note for part in parts.values() for note in part.notes])


def plan_json(path: Path, photos: Path | None = None, *, val: float = 0.1) -> Plan:
    """Plan the data set of any annotation file in COCO's format; classes in the order of the category ids.

    Args:
        path: The JSON file.
        photos: Folder of the photographs; None for the file's own.
        val: Share of the photographs set aside, in 0..1 (see `split_off`).

    Raises:
        InputError: as `read_instances`; or there are too few photographs or too many classes.
    """
    found = read_instances(path, photos or path.parent)
    classes = check_names(list(dict.fromkeys(found.categories.values())), path, masks=True)
    splits = split_off({item.id: item.labels for item in found.items}, val)
    return Plan(classes, found.items, splits, {"kind": "coco", "files": [_fingerprint(path)]}, found.notes)


@dataclass
class _Objects:
    """What the annotations of one photograph say."""

    classes: set[int] = field(default_factory=set)
    regions: list[Region] = field(default_factory=list)


def _load(path: Path) -> dict[str, list[dict[str, Any]]]:
    content = disk.read_json(path, "annotation file", limit=LARGEST)
    for key in ("images", "annotations", "categories"):
        rows = content.get(key) if isinstance(content, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise InputError(f"{path}: holds no list '{key}' as COCO's instance annotations do; check the file.")
    found: dict[str, list[dict[str, Any]]] = content
    return found


def _value(row: dict[str, Any], key: str, kind: type, where: str) -> Any:
    """row[key], which must be of a kind (a whole number may come as 3.0)."""
    value = row.get(key)
    if kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, kind) or isinstance(value, bool):
        wanted = "a whole number" if kind is int else "a text"
        raise InputError(f"{where}: has '{key}' {value!r:.60}; it must be {wanted}.")
    return value


def _where(path: Path, row: Mapping[str, Any]) -> str:
    number = row.get("id")
    return f"{path} (annotation {number if isinstance(number, int) else '?'})"


def _read_categories(rows: Sequence[dict[str, Any]], path: Path) -> Categories:
    found: dict[int, str] = {}
    for row in rows:
        number, name = _value(row, "id", int, f"{path} (a category)"), _value(row, "name", str, f"{path} (a category)")
        if number in found:
            raise InputError(f"{path}: category {number} is listed twice; give each an id of its own.")
        found[number] = name.strip()
        if fault_of_name(found[number]):
            raise InputError(f"{path}: the category {name[:60]!r} {fault_of_name(found[number])}; rename it.")
    names = [name for _, name in sorted(found.items()) if name not in BACKGROUND_NAMES]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{path}: two categories have the name '{twice}'; rename one.")
    return {number: name for number, name in sorted(found.items()) if name not in BACKGROUND_NAMES}


def _read_images(rows: Sequence[dict[str, Any]], path: Path) -> dict[int, tuple[str, tuple[int, int] | None]]:
    """From a photograph's id to its file's name, and its width and height if the file says them."""
    images: dict[int, tuple[str, tuple[int, int] | None]] = {}
    for row in rows:
        number = _value(row, "id", int, f"{path} (an image)")
        where = f"{path} (image {number})"
        size = None
        if row.get("width") is not None or row.get("height") is not None:  # Label Studio writes null for both
            size = (_value(row, "width", int, where), _value(row, "height", int, where))
            if min(size) < 1:
                raise InputError(f"{where}: is {size[0]} x {size[1]} pixels; correct the annotation.")
        if number in images:
            raise InputError(f"{path}: image {number} is listed twice; give each an id of its own.")
        images[number] = (_value(row, "file_name", str, where), size)
    return images


def _read_objects(
    rows: Sequence[dict[str, Any]],
    categories: Categories,
    sizes: Mapping[int, tuple[int, int] | None],
    path: Path,
) -> tuple[dict[int, _Objects], list[str]]:
    """From a photograph's id to its objects, for those that show any; and sentences for the user.

    Args:
        rows: The annotations.
        categories: Those that are classes.
        sizes: By the id of every photograph that the file lists: width and height, where they are known.
        path: The file, for errors.
    """
    indices = {number: index for index, number in enumerate(categories, 1)}
    has_masks = any(row.get("segmentation") for row in rows)
    painted = _painted(rows, categories, path)
    objects: dict[int, _Objects] = {}
    boxes = crowds = ignored = 0
    for row in tqdm(rows, f"objects of {path.name}", disable=None):
        where = _where(path, row)
        image, category = row["image_id"], row["category_id"]
        if image not in sizes:
            raise InputError(f"{where}: is of image {image}, which 'images' does not list; correct it or remove it.")
        if category not in indices:
            ignored += 1
            continue
        own = objects.setdefault(image, _Objects())
        own.classes.add(indices[category])
        size = sizes[image]
        if has_masks and size:
            if len(own.regions) == MOST_OBJECTS:
                raise InputError(f"{path}: image {image} has more than {MOST_OBJECTS:,} objects; check the file.")
            segmentation, is_box = _read_segmentation(row, size, where)
            is_crowd = bool(row.get("iscrowd")) and category not in painted
            boxes += is_box
            crowds += is_crowd
            own.regions.append(Region(IGNORE if is_box or is_crowd else indices[category], segmentation))
    notes = []
    if painted:
        names = "', '".join(list(painted.values())[:5])
        notes.append(f"{path}: every object of '{names}' is marked as a crowd (iscrowd 1); they were read as objects.")
    if crowds:
        notes.append(
            f"{path}: {crowds} of the objects are marked as crowds (iscrowd 1) and are void (255) in the masks; where "
            "they are single objects, give them iscrowd 0."
        )
    if boxes:
        notes.append(
            f"{path}: {boxes} objects have no polygon of three points; their boxes are void (255) in the masks."
        )
    if ignored:
        unknown = min(row["category_id"] for row in rows if row["category_id"] not in indices)
        notes.append(f"{path}: {ignored} annotations are of no class (category {unknown}) and count as background.")
    return objects, notes


def _painted(rows: Sequence[dict[str, Any]], categories: Categories, path: Path) -> Categories:
    """The categories whose segmented objects are all marked as crowds: COCO itself has none such."""
    marks: dict[int, set[bool]] = {}
    for row in rows:
        if row.get("iscrowd") not in (None, 0, 1):
            raise InputError(f"{_where(path, row)}: has 'iscrowd' {row['iscrowd']!r:.40}; it must be 0 or 1.")
        if row.get("segmentation"):
            marks.setdefault(row["category_id"], set()).add(bool(row.get("iscrowd")))
    return {number: name for number, name in categories.items() if marks.get(number) == {True}}


def _read_segmentation(
    row: dict[str, Any], size: tuple[int, int], where: str
) -> tuple[list[np.ndarray] | dict[str, Any], bool]:
    """An object's segmentation, or its box as a polygon, and whether it is the box."""
    segmentation = row.get("segmentation")
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


def _find(
    images: Mapping[int, tuple[str, tuple[int, int] | None]], photos: Path, path: Path
) -> tuple[dict[int, Path], list[str]]:
    """From a photograph's id to its file; and sentences on files that nothing names."""
    found = walk(photos).check()
    index = PhotoIndex(photos, found.photographs)
    files: dict[int, Path] = {}
    for number, (name, _) in images.items():
        check_below(name, f"{path} (image {number})", photos)
        files[number] = index.only(name, path)
    if len(set(files.values())) < len(files):
        names = sorted(name for name, _ in images.values())
        twice = next((name for name, after in itertools.pairwise(names) if name == after), names[0])
        raise InputError(f"{path}: two images are the photograph '{twice}'; join them into one.")
    others = [other for other in found.others if other.resolve() != path.resolve()]
    return files, describe_left_out(photos, others, found.skipped)


def _check_official(found: Instances) -> None:
    names = tuple(found.categories.values())
    if names != labels.COCO[1:]:
        pairs = zip(names, labels.COCO[1:], strict=False)
        first = next(
            (f"'{name}' where '{known}' is expected" for name, known in pairs if name != known), "their number"
        )
        raise InputError(
            f"{found.path}: its categories are not COCO's 80 ({first}); use --coco-json for other classes."
        )


def _fingerprint(path: Path) -> list[str | int]:
    return [str(path.resolve()), *identity(path)]
