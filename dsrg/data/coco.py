"""Annotations in COCO's format: image-level labels, and masks painted with pycocotools."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from dsrg import labels
from dsrg.data import drawn
from dsrg.data.coco_rows import (
    TAG,
    Categories,
    Content,
    check_content,
    describe_unused,
    painted_categories,
    read_categories,
    read_images,
    read_segmentation,
    value_of,
    where_of,
)
from dsrg.data.photo_index import PhotoIndex
from dsrg.data.photograph import describe_left_out, walk
from dsrg.data.prepare import Item, Plan, check_names, name_ids, split_off, splits_given
from dsrg.data.regions import Region, paint
from dsrg.errors import InputError
from dsrg.files import disk, pictures
from dsrg.files.manifest import identity
from dsrg.labels import IGNORE

LARGEST = 2 * 2**30
"""Bytes of an annotation file; COCO's largest has 0.5 GB, LVIS's 1.1 GB."""
MOST_OBJECTS = 20_000
"""Objects in one photograph."""
Images = Mapping[int, tuple[str, tuple[int, int] | None]]
"""From a photograph's id to its file's name, and its width and height if the file says them."""


@dataclass
class Instances:
    """An annotation file, read."""

    path: Path
    categories: Categories
    items: list[Item]
    notes: list[str] = field(default_factory=list)
    names: dict[Path, str] = field(default_factory=dict)
    """What the file calls each photograph."""
    listed: set[Path] = field(default_factory=set)
    """The photographs that it lists, those without an object among them."""


@dataclass
class _Objects:
    """What the annotations of one photograph say."""

    classes: set[int] = field(default_factory=set)
    placed: set[int] = field(default_factory=set)
    """Those of the classes that have a place."""
    regions: list[Region] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    """Of the objects, but for labels that have no place."""
    boxes: list[drawn.Edges | None] = field(default_factory=list)
    """Theirs; None for one without a box."""


def load(path: Path) -> Content:
    """The content of an annotation file; raises InputError as `disk.read_json` and `check_content`."""
    return check_content(disk.read_json(path, "annotation file", limit=LARGEST), path)


def read_instances(path: Path, photos: Path, *, keep_unused: bool = False) -> Instances:
    """Read an annotation file and find its photographs; raises InputError as `load` and `instances_of`."""
    return instances_of(load(path), path, photos, keep_unused=keep_unused)


def instances_of(
    content: Content,
    path: Path,
    photos: Path,
    *,
    names: Sequence[str] | None = None,
    keep_unused: bool = False,
    in_order: bool = False,
    painted: bool = False,
    files: Collection[Path] = (),
    part: bool = False,
) -> Instances:
    """The photographs of annotations in COCO's format; those without any object are left out.

    A crowd (iscrowd 1) gives its label to the photograph and 255 to its pixels. But where every object of a category is
    marked so, as annotation tools mark masks that are painted, they are objects. The box of an object without a polygon
    of three points is 255 too, if any other object of the file has one; if none has, there are no masks.

    Args:
        content: The annotations.
        path: Their file, for notes and errors.
        photos: Folder of the photographs, searched at any depth.
        names: The classes without background, in the order of their indices; None for the categories in the order of
            their ids.
        keep_unused: Keep categories that no object has. They are no classes else, for nothing could be learnt of them.
        in_order: Paint later objects over earlier ones, and not smaller ones over larger.
        painted: What is marked as a crowd is an object, as where CVAT has written the file.
        files: Those that the content comes from, where they are several.
        part: The file is of a part of the data, so that nothing is told of categories and photographs that it lacks.

    Raises:
        InputError: a value is broken, or a photograph does not exist or lies elsewhere.
    """
    rows = content["annotations"]
    listed = {value_of(row, "category_id", int, f"{path} (an annotation)") for row in rows}
    categories = read_categories(content["categories"], path, None if keep_unused else listed)
    notes = [] if keep_unused or part else describe_unused([content], path)
    images = read_images(content["images"], path)
    pictured = [value_of(row, "image_id", int, where_of(path, row)) for row in rows]
    shown = {image for image, row in zip(pictured, rows, strict=True) if row["category_id"] in categories}
    kept = {number: image for number, image in images.items() if number in shown}
    if len(images) > len(kept):
        left = len(images) - len(kept)
        notes.append(f"{path}: {left} of {len(images)} photographs show no object and were left out.")
    read = {path.resolve(), *(file.resolve() for file in files)}
    found_at, known_files, left_out = _find(kept, images, photos, read, path, part)
    has_masks = any(row.get("segmentation") for row in rows)
    sizes = {number: size for number, (_, size) in kept.items()}
    if has_masks or any(
        row.get("bbox") for row in rows
    ):  # where the annotations say no size, as the tool that made them showed the photograph
        sizes = {number: size or pictures.read_upright(found_at[number]).size for number, size in sizes.items()}
    class_names = ("background", *(categories.values() if names is None else names))
    indices = {number: class_names.index(name) for number, name in categories.items()}
    known = {number: sizes.get(number) for number in images}
    crowds = categories if painted else painted_categories(rows, categories, path)
    objects, found = _read_objects(rows, crowds, categories, indices, known, path)
    if not has_masks:
        notes.append(f"{path}: no object has a segmentation, so there are no masks to measure with.")
    owners, twice = _join_listed_twice(objects, found_at, sizes, path)
    ids = name_ids(found_at[number] for number in owners)
    items, cut_off = [], 0
    for number in owners:
        own, size, file = objects[number], sizes[number], found_at[number]
        where = f"{path} (image {number})"
        mask = functools.partial(paint, own.regions, size, where, in_order=in_order) if has_masks and size else None
        own_labels = tuple(class_names[index] for index in sorted(own.classes))
        xml, beyond = None, 0
        if size and {*own.names} == {*own_labels}:
            xml, beyond = drawn.annotation(file, size, own.names, own.boxes, where)
        cut_off += beyond
        items.append(Item(ids[file], file, own_labels, mask, size, xml))
    bare = sum(item.annotation is None for item in items)
    found += drawn.describe(path, bare if bare < len(items) else 0, cut_off)
    named = {found_at[number]: kept[number][0] for number in owners}
    return Instances(path, categories, items, notes + twice + found + left_out, named, known_files)


def used_names(contents: Mapping[Path, Content]) -> list[str]:
    """The names of the categories that objects of any of the files have, in the order of their lowest ids; raises
    InputError as `read_categories`."""
    found: dict[str, int] = {}
    for path, content in contents.items():
        used = {value_of(row, "category_id", int, f"{path} (an annotation)") for row in content["annotations"]}
        for number, name in read_categories(content["categories"], path, used).items():
            found[name] = min(number, found.get(name, number))
    return sorted(found, key=found.__getitem__)


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
    return plan_instances(path, [found], list(found.categories.values()), {}, val=val)


def plan_instances(
    where: Path, parts: Sequence[Instances], names: Sequence[str], given: Mapping[Path, str], *, val: float = 0.1
) -> Plan:
    """Plan the data set of annotation files, joined.

    Args:
        where: The file or folder that holds them, for the error.
        parts: What the files hold.
        names: The classes without background, in the order of their indices.
        given: The split of each photograph, 'train', 'val' or 'test', where there are splits.
        val: Share of the photographs set aside where the files name no splits, in 0..1 (see `split_off`).

    Raises:
        InputError: there are too few photographs or too many classes, or there is no split to learn from.
    """
    classes = check_names(names, where, masks=True)
    ids = name_ids(item.photo for found in parts for item in found.items)
    items = [dataclasses.replace(item, id=ids[item.photo]) for found in parts for item in found.items]
    notes = [note for found in parts for note in found.notes]
    if {*given.values()} <= {"train"}:
        splits = split_off({item.id: item.labels for item in items}, val)
    else:
        splits, more = splits_given(where, {ids[item.photo]: given[item.photo] for item in items})
        notes += more
    source = {"kind": "coco", "files": [_fingerprint(found.path) for found in parts]}
    return Plan(classes, items, splits, source, notes)


def _read_objects(
    rows: Sequence[dict[str, Any]],
    painted: Categories,
    names: Categories,
    indices: Mapping[int, int],
    sizes: Mapping[int, tuple[int, int] | None],
    path: Path,
) -> tuple[dict[int, _Objects], list[str]]:
    """From a photograph's id to its objects, for those that show any; and sentences for the user.

    Args:
        rows: The annotations.
        painted: The categories whose crowds are objects.
        names: The categories that are classes.
        indices: Theirs.
        sizes: By the id of every photograph that the file lists: width and height, where they are known.
        path: The file, for errors.
    """
    has_masks = any(row.get("segmentation") for row in rows)
    objects: dict[int, _Objects] = {}
    boxes = crowds = ignored = 0
    marked: set[int] = set()
    for row in tqdm(rows, f"objects of {path.name}", disable=None):
        where = where_of(path, row)
        image, category = row["image_id"], row["category_id"]
        if image not in sizes:
            raise InputError(f"{where}: is of image {image}, which 'images' does not list; correct it or remove it.")
        if category not in indices:
            ignored += 1
            continue
        own = objects.setdefault(image, _Objects())
        own.classes.add(indices[category])
        size = sizes[image]
        if not row.get(TAG):
            own.names.append(names[category])
            own.boxes.append(drawn.coco_box(row, size, where))
        if has_masks and size and not row.get(TAG):
            if len(own.regions) == MOST_OBJECTS:
                raise InputError(f"{path}: image {image} has more than {MOST_OBJECTS:,} objects; check the file.")
            segmentation, is_box = read_segmentation(row, size, where)
            is_crowd = bool(row.get("iscrowd")) and category not in painted
            boxes += is_box
            crowds += is_crowd
            marked |= {category} if row.get("iscrowd") and category in painted else set()
            own.placed.add(indices[category])
            own.regions.append(Region(IGNORE if is_box or is_crowd else indices[category], segmentation))
    for image, own in objects.items():
        size = sizes[image]
        if size and own.classes > own.placed:  # a class is somewhere, nobody knows where: nothing is background
            own.regions.append(Region(IGNORE, [np.array([0, 0, size[0], 0, *size, 0, size[1]], np.float64)]))
    crowded = [name for number, name in painted.items() if number in marked]
    counts = _describe_objects(crowded, {"crowds": crowds, "boxes": boxes}, path)
    if ignored:
        unknown = min(row["category_id"] for row in rows if row["category_id"] not in indices)
        counts.append(f"{path}: {ignored} annotations are of no class (category {unknown}) and count as background.")
    return objects, counts


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
    return notes


def _find(
    kept: Images, images: Images, photos: Path, read: Collection[Path], path: Path, part: bool
) -> tuple[dict[int, Path], set[Path], list[str]]:
    """From the id of a photograph that shows objects to its file; the files of all; and sentences on files that nothing
    names, but for those that are read."""
    found = walk(photos).check()
    index = PhotoIndex(photos, found.photographs)
    places = {name: f"{path} (image {number})" for number, (name, _) in kept.items()}
    named, notes = index.locate(places, path, places)
    files = {number: named[name] for number, (name, _) in kept.items()}
    listed = {*named.values()}.union(*(index.guess(name) for name, _ in images.values() if name not in named))
    if part:
        return files, listed, notes
    unlisted = len({*found.photographs} - listed)
    if unlisted:
        notes.append(f"{photos}: {unlisted} photographs are not listed in {path} and were left out.")
    others = [other for other in found.others if other.resolve() not in read]
    return files, listed, notes + describe_left_out(photos, others, found.skipped)


def _join_listed_twice(
    objects: Mapping[int, _Objects],
    files: Mapping[int, Path],
    sizes: Mapping[int, tuple[int, int] | None],
    path: Path,
) -> tuple[list[int], list[str]]:
    """The ids of the photographs, each file's first, which gets the objects of the others; and a sentence on them.

    Label Studio lists a photograph once for each of its annotations.

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
    twice = len(files) - len(owners)
    if not twice:
        return list(owners.values()), []
    return list(owners.values()), [f"{path}: {twice} photographs are listed once more; their objects were joined."]


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
