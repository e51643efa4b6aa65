"""Annotations in COCO's format: image-level labels, and masks painted with pycocotools."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dsrg import labels
from dsrg.data import drawn
from dsrg.data.coco_objects import Objects, join_listed_twice, read_objects
from dsrg.data.coco_rows import (
    Categories,
    Content,
    check_content,
    describe_unused,
    painted_categories,
    read_categories,
    read_images,
    unfolded,
    value_of,
    void_categories,
    where_of,
)
from dsrg.data.photo_index import PhotoIndex
from dsrg.data.photograph import Found, describe_left_out, walk
from dsrg.data.prepare import Item, Plan, check_names, choose_splits, name_ids
from dsrg.data.regions import paint
from dsrg.errors import InputError
from dsrg.files import disk, pictures
from dsrg.files.manifest import identity

LARGEST = 2 * 2**30
"""Bytes of an annotation file; COCO's largest has 0.5 GB, LVIS's 1.1 GB."""
Images = Mapping[int, tuple[str, tuple[int, int] | None]]
"""From a photograph's id to its file's name, and its width and height if the file says them."""
Sizes = Mapping[int, tuple[int, int] | None]
"""From a photograph's id to its width and height, where they are known."""


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
    named_anew: bool = False,
) -> Instances:
    """The photographs of annotations in COCO's format; those without any object are left out.

    A crowd (iscrowd 1) gives its label to the photograph and 255 to its pixels. But where every object of a category is
    marked so, as annotation tools mark masks that are painted, they are objects. The box of an object without a polygon
    of three points is 255 too, if any other object of the file has one; if none has, there are no masks. Objects of a
    category that stands for void (see `mask_folders.is_void`) are 255 and give no label.

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
        named_anew: The photographs are a data set's, see `PhotoIndex`.

    Raises:
        InputError: a value is broken, or a photograph does not exist or lies elsewhere.
    """
    rows, notes = unfolded(content["annotations"], path)
    listed = {value_of(row, "category_id", int, f"{path} (an annotation)") for row in rows}
    categories = read_categories(content["categories"], path, None if keep_unused else listed)
    notes += [] if keep_unused or part else describe_unused([content], path)
    images = read_images(content["images"], path)
    kept, bare = _showing(images, rows, categories, path)
    notes += bare
    lying = walk(photos).check()
    index = PhotoIndex(photos, lying.photographs, named_anew=named_anew)
    found_at, known_files, left_out = _find(kept, images, index, path)
    if not part:
        left_out += describe_unlisted(photos, lying, known_files, {one.resolve() for one in (path, *files)}, path)
    sizes = _sizes(kept, found_at, rows)
    class_names = ("background", *(categories.values() if names is None else names))
    indices = dict.fromkeys(void_categories(content["categories"]), labels.IGNORE)
    indices |= {number: class_names.index(name) for number, name in categories.items()}
    crowds = categories if painted else painted_categories(rows, categories, path)
    objects, found = read_objects(rows, crowds, categories, indices, {n: sizes.get(n) for n in images}, path)
    if not _segmented(rows):
        notes.append(f"{path}: no object has a segmentation, so there are no masks to measure with.")
    objects, twice = join_listed_twice(objects, found_at, sizes, path)
    painter = functools.partial(paint, in_order=in_order) if _segmented(rows) else None
    items, of_boxes = _items(objects, found_at, sizes, class_names, path, painter)
    named = {found_at[number]: kept[number][0] for number in objects}
    return Instances(path, categories, items, notes + twice + found + of_boxes + left_out, named, known_files)


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


def plan_instances(
    where: Path, parts: Sequence[Instances], names: Sequence[str], given: Mapping[Path, str], *, val: float = 0.1
) -> Plan:
    """Plan the data set of annotation files, joined.

    Args:
        where: The file or folder that holds them, for the error.
        parts: What the files hold.
        names: The classes without background, in the order of their indices.
        given: The split of each photograph, 'train', 'val' or 'test', where there are splits.
        val: Share of the photographs set aside where the files name no splits, in 0..1 (see `prepare.split_off`).

    Raises:
        InputError: there are too few photographs or too many classes, or there is no split to learn from.
    """
    classes = check_names(names, where, masks=True)
    ids = name_ids(item.photo for found in parts for item in found.items)
    items = [dataclasses.replace(item, id=ids[item.photo]) for found in parts for item in found.items]
    splits, said = choose_splits(where, items, {ids[photo]: split for photo, split in given.items()}, val)
    notes = [note for found in parts for note in found.notes] + said
    source = {"kind": "coco", "files": [_fingerprint(found.path) for found in parts]}
    return Plan(classes, items, splits, source, notes)


def _segmented(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether any annotation has a segmentation: without one there are no masks."""
    return any(row.get("segmentation") for row in rows)


def _showing(
    images: Images, rows: Sequence[dict[str, Any]], categories: Categories, path: Path
) -> tuple[Images, list[str]]:
    """Those of the photographs that show an object of a class, and a sentence on the others."""
    pictured = [value_of(row, "image_id", int, where_of(path, row)) for row in rows]
    shown = {image for image, row in zip(pictured, rows, strict=True) if row["category_id"] in categories}
    kept = {number: image for number, image in images.items() if number in shown}
    left = len(images) - len(kept)
    sentence = f"{path}: {left} of {len(images)} photographs show no object and were left out."
    return kept, [sentence] if left else []


def _sizes(kept: Images, files: Mapping[int, Path], rows: Sequence[Mapping[str, Any]]) -> Sizes:
    """Width and height of each photograph. Where its annotations need them and say none, they are of the photograph
    upright, as the tool that made them showed it."""
    needed = any(row.get("segmentation") or row.get("bbox") for row in rows)
    return {
        number: size or (pictures.read_upright(files[number]).size if needed else None)
        for number, (_, size) in kept.items()
    }


def _items(
    objects: Mapping[int, Objects],
    files: Mapping[int, Path],
    sizes: Sizes,
    class_names: Sequence[str],
    path: Path,
    painter: Callable[..., np.ndarray] | None,
) -> tuple[list[Item], list[str]]:
    """The photographs with their labels, masks and boxes; and sentences on the boxes.

    Args:
        objects: By a photograph's id.
        files: Theirs.
        sizes: Theirs.
        class_names: Background first.
        path: The annotation file, for notes and errors.
        painter: `paint`; None for no masks.
    """
    ids = name_ids(files[number] for number in objects)
    items, bare, cut_off = [], 0, 0
    for number, own in objects.items():
        size, file = sizes[number], files[number]
        where = f"{path} (image {number})"
        mask = functools.partial(painter, own.regions, size, where) if painter and size else None
        own_labels = tuple(class_names[index] for index in sorted(own.classes))
        xml, beyond = None, 0
        if size and {*own.names} == {*own_labels}:
            xml, beyond = drawn.annotation(file, size, own.names, own.boxes, where)
        bare += xml is None and not own.is_partly_void  # of void another sentence tells
        cut_off += beyond
        items.append(Item(ids[file], file, own_labels, mask, size, xml))
    boxed = any(item.annotation for item in items)
    return items, drawn.describe(path, bare if boxed else 0, cut_off)


def _find(kept: Images, images: Images, index: PhotoIndex, path: Path) -> tuple[dict[int, Path], set[Path], list[str]]:
    """From the id of a photograph that shows objects to its file; the files of all; and a sentence on how they were
    found."""
    places = {name: f"{path} (image {number})" for number, (name, _) in kept.items()}
    named, notes = index.locate(places, path, places)
    files = {number: named[name] for number, (name, _) in kept.items()}
    listed = {*named.values()}.union(*(index.guess(name) for name, _ in images.values() if name not in named))
    return files, listed, notes


def describe_unlisted(
    photos: Path, lying: Found, listed: Collection[Path], read: Collection[Path], path: Path
) -> list[str]:
    """Sentences on what lies in the folder of the photographs and nothing names, but for the files that are read."""
    unlisted = len({*lying.photographs} - {*listed})
    others = [other for other in lying.others if other.resolve() not in read]
    notes = [f"{photos}: {unlisted} photographs are not listed in {path} and were left out."] if unlisted else []
    return notes + describe_left_out(photos, others, lying.skipped)


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
