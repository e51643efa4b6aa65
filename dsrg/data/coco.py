"""Annotations in COCO's format: image-level labels, and masks painted with pycocotools."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as rle_masks
from tqdm import tqdm

from dsrg import labels
from dsrg.data.photograph import PhotoIndex, describe_left_out, find_photographs
from dsrg.data.prepare import Item, Plan, check_names, name_ids, split_off
from dsrg.errors import InputError
from dsrg.labels import BACKGROUND, BACKGROUND_NAMES, IGNORE

Categories = Mapping[int, str]
"""From a category's id to its name, in the order of the ids."""


class Region(NamedTuple):
    """What one annotation paints."""

    class_index: int
    """255 for void."""
    segmentation: list[np.ndarray] | dict[str, Any]
    """Polygons, each (2n,) float64 x, y, x, y, ... in pixels; or a run-length encoding as pycocotools takes it."""


@dataclass
class Instances:
    """An annotation file, read."""

    path: Path
    categories: Categories
    items: list[Item]
    notes: list[str] = field(default_factory=list)


def paint(regions: Sequence[Region], size: tuple[int, int], where: str = "the annotation") -> np.ndarray:
    """Paint the regions of a photograph into one mask.

    Void regions (crowds) come first, so they cover background alone; then the objects in falling order of their area in
    pixels: where two overlap, the pixel is the smaller one's, which in a photograph mostly is the one in front.

    Args:
        regions: What to paint.
        size: Width and height of the photograph in pixels.
        where: The file and photograph, for the error.

    Returns:
        (H, W) uint8: class index, 0 for background, 255 for void.

    Raises:
        InputError: a run-length encoding is broken or of another size.
    """
    width, height = size
    canvas = np.full((height, width), BACKGROUND, np.uint8)
    try:
        encoded = [_encode(region.segmentation, width, height) for region in regions]
        areas = np.array([int(rle_masks.area(one)) for one in encoded])
        void = np.array([region.class_index == IGNORE for region in regions], bool)
        for position in np.lexsort((-areas, ~void)):
            canvas[rle_masks.decode(encoded[position]).view(bool)] = regions[position].class_index
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{where}: a segmentation cannot be decoded ({error}); correct the annotation.") from None
    return canvas


def read_instances(path: Path, photos: Path) -> Instances:
    """Read an annotation file and find its photographs; those without any object are left out.

    A crowd (iscrowd 1) gives its label to the photograph and 255 to its pixels. So does the box of an object without a
    polygon of three points, if any other object of the file has one; if none has, there are no masks.

    Args:
        path: The JSON file.
        photos: Folder of the photographs, searched at any depth.

    Raises:
        InputError: the file is missing or broken, or names photographs that do not exist.
    """
    content = _load(path)
    categories = _read_categories(content["categories"], path)
    images = _read_images(content["images"], path)
    objects, notes = _read_objects(content["annotations"], categories, images, path)
    kept = {number: image for number, image in images.items() if number in objects}
    if len(images) > len(kept):
        notes.append(
            f"{path}: {len(images) - len(kept)} of {len(images)} photographs show no object and were left out."
        )
    files, more = _find(kept, photos, path)
    ids = name_ids(files.values())
    names = ("background", *dict.fromkeys(categories.values()))
    has_masks = any(region.segmentation for own in objects.values() for region in own.regions)
    if not has_masks:
        notes.append(f"{path}: no object has a segmentation, so there are no masks to measure with.")
    items = []
    for number, (_, size) in kept.items():
        own = objects[number]
        mask = functools.partial(paint, own.regions, size, f"{path} (image {number})") if has_masks else None
        own_labels = tuple(names[index] for index in sorted(own.classes))
        items.append(Item(ids[files[number]], files[number], own_labels, mask, size))
    return Instances(path, categories, items, notes + more)


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
        parts[split] = read_instances(path, photos)
        _check_official(parts[split])
    items = [item for part in parts.values() for item in part.items]
    splits = {split: sorted(item.id for item in part.items) for split, part in parts.items()}
    source = {"kind": "coco", "files": [_fingerprint(part.path) for part in parts.values()]}
    return Plan(labels.COCO, items, splits, source, [note for part in parts.values() for note in part.notes])


def plan_json(path: Path, photos: Path | None = None, *, val: float = 0.1, seed: int = 0) -> Plan:
    """Plan the data set of any annotation file in COCO's format; classes in the order of the category ids.

    Args:
        path: The JSON file.
        photos: Folder of the photographs; None for the file's own.
        val: Share of the photographs set aside, in 0..1 (see `split_off`).
        seed: Chooses them.

    Raises:
        InputError: as `read_instances`; or there are too few photographs or too many classes.
    """
    found = read_instances(path, photos or path.parent)
    classes = check_names(list(dict.fromkeys(found.categories.values())), path)
    splits = split_off({item.id: item.labels for item in found.items}, val, seed)
    return Plan(classes, found.items, splits, {"kind": "coco", "files": [_fingerprint(path)]}, found.notes)


@dataclass
class _Objects:
    """What the annotations of one photograph say."""

    classes: set[int] = field(default_factory=set)
    regions: list[Region] = field(default_factory=list)


def _encode(segmentation: list[np.ndarray] | dict[str, Any], width: int, height: int) -> dict[str, Any]:
    if isinstance(segmentation, list):
        merged: dict[str, Any] = rle_masks.merge(rle_masks.frPyObjects(segmentation, height, width))
        return merged
    if list(segmentation["size"]) != [height, width]:
        raise ValueError(f"its size is {segmentation['size']}, not [{height}, {width}]")
    counts = segmentation["counts"]
    lengths = np.array(counts, np.float64) if isinstance(counts, list) else unpack_runs(counts)
    # pycocotools leaves what the runs do not reach as it happens to be in memory.
    if lengths.sum() != height * width or lengths.min() < 0:
        raise ValueError("its counts do not add up to the photograph's pixels")
    if not isinstance(counts, list):
        return segmentation
    encoded: dict[str, Any] = rle_masks.frPyObjects(segmentation, height, width)
    return encoded


def unpack_runs(counts: str | bytes) -> np.ndarray:
    """The lengths of the runs in a compressed run-length encoding.

    Each is five bits a character, the lowest first, in characters from '0' on, where 32 says that more follow; from the
    fourth on it is the difference from the length before the last (rleToString in pycocotools' maskApi.c).
    """
    codes = np.frombuffer(counts.encode() if isinstance(counts, str) else counts, np.uint8).astype(np.int64) - 48
    last = codes & 32 == 0
    if not codes.size or codes.min() < 0 or codes.max() > 63 or not last[-1]:
        raise ValueError("its counts are no run-length encoding")
    starts = np.concatenate([[0], np.flatnonzero(last)[:-1] + 1])
    widths = np.diff(np.append(starts, codes.size))
    if widths.max() > 12:
        raise ValueError("its counts are too long")
    places = 5 * (np.arange(codes.size) - np.repeat(starts, widths))
    lengths = np.add.reduceat((codes & 31) << places, starts)
    lengths -= np.where(codes[last] & 16, np.int64(1) << (5 * widths), 0)  # two's complement
    for first in (1, 2):
        lengths[first::2] = np.cumsum(lengths[first::2])
    return lengths


def _load(path: Path) -> dict[str, list[dict[str, Any]]]:
    if not path.is_file():
        raise InputError(f"{path}: the annotations do not exist; check the path.")
    try:
        content = json.loads(path.read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid JSON ({error}); replace the file.") from None
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
        raise InputError(f"{where}: has '{key}' {value!r}; it must be {'a whole number' if kind is int else 'a text'}.")
    return value


def _read_categories(rows: Sequence[dict[str, Any]], path: Path) -> Categories:
    found: dict[int, str] = {}
    for row in rows:
        number, name = _value(row, "id", int, f"{path} (a category)"), _value(row, "name", str, f"{path} (a category)")
        if number in found:
            raise InputError(f"{path}: category {number} is listed twice; give each an id of its own.")
        found[number] = name.strip()
    names = [name for _, name in sorted(found.items()) if name not in BACKGROUND_NAMES]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{path}: two categories have the name '{twice}'; rename one.")
    return {number: name for number, name in sorted(found.items()) if name not in BACKGROUND_NAMES}


def _read_images(rows: Sequence[dict[str, Any]], path: Path) -> dict[int, tuple[str, tuple[int, int]]]:
    """From a photograph's id to its file's name and its width and height."""
    images: dict[int, tuple[str, tuple[int, int]]] = {}
    for row in rows:
        number = _value(row, "id", int, f"{path} (an image)")
        where = f"{path} (image {number})"
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
    images: Mapping[int, tuple[str, tuple[int, int]]],
    path: Path,
) -> tuple[dict[int, _Objects], list[str]]:
    """From a photograph's id to its objects, for those that show any; and sentences for the user."""
    listed = {_value(row, "category_id", int, f"{path} (an annotation)") for row in rows}
    indices = {number: index for index, number in enumerate(categories, 1)}
    has_masks = any(row.get("segmentation") for row in rows)
    objects: dict[int, _Objects] = {}
    boxes = ignored = 0
    for row in tqdm(rows, f"objects of {path.name}", disable=None):
        where = f"{path} (annotation {row.get('id', '?')})"
        image, category = _value(row, "image_id", int, where), row["category_id"]
        if image not in images:
            raise InputError(f"{where}: is of image {image}, which 'images' does not list; correct it or remove it.")
        if category not in indices:
            ignored += 1
            continue
        own = objects.setdefault(image, _Objects())
        own.classes.add(indices[category])
        if has_masks:
            segmentation, is_box = _read_segmentation(row, images[image][1], where)
            boxes += is_box
            own.regions.append(Region(IGNORE if is_box or row.get("iscrowd") else indices[category], segmentation))
    notes = []
    if boxes:
        notes.append(
            f"{path}: {boxes} objects have no polygon of three points; their boxes are void (255) in the masks."
        )
    unknown = sorted(listed - set(categories))
    if unknown:
        notes.append(f"{path}: {ignored} annotations are of no class (category {unknown[0]}) and count as background.")
    return objects, notes


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
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"{where}: has neither polygons nor a bbox of four numbers; correct it or remove it."
        ) from None
    reach = 2 * max(size)  # pycocotools walks along every edge, however long
    for polygon in polygons:
        if polygon.ndim != 1 or polygon.size % 2 or not (np.abs(polygon) <= reach).all():
            raise InputError(
                f"{where}: a polygon is no list of x, y in its photograph ({size[0]} x {size[1]}); correct it."
            )
    return polygons, is_box


def _find(
    images: Mapping[int, tuple[str, tuple[int, int]]], photos: Path, path: Path
) -> tuple[dict[int, Path], list[str]]:
    """From a photograph's id to its file; and sentences on files that nothing names."""
    found = find_photographs(photos)
    index = PhotoIndex(photos, found.photographs)
    files: dict[int, Path] = {}
    for number, (name, _) in images.items():
        hits = index.find(name)
        if not hits:
            raise InputError(f"{photos / name}: the photograph does not exist, but {path} names it; add it.")
        if len(hits) > 1:
            raise InputError(f"{path}: '{name}' may be {hits[0]} or {hits[1]}; write the path below {photos}.")
        files[number] = hits[0]
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
    state = path.stat()
    return [str(path.resolve()), state.st_size, state.st_mtime_ns]
