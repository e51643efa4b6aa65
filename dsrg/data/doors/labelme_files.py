"""A folder of LabelMe's JSON files, one a photograph: labels, masks as LabelMe itself paints them, and boxes."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from dsrg.data import coco, drawn
from dsrg.data.doors import labelme
from dsrg.data.doors.tables import of_all, split_of
from dsrg.data.labelme import LARGEST, Shape, image_path, locate, read_shapes
from dsrg.data.mask_folders import is_void
from dsrg.data.photo_index import PhotoIndex
from dsrg.data.photograph import walk
from dsrg.data.prepare import Item, Plan, name_ids
from dsrg.errors import InputError
from dsrg.files import disk, pictures
from dsrg.files.manifest import identity
from dsrg.labels import BACKGROUND, BACKGROUND_NAMES, IGNORE


class File(NamedTuple):
    """A file, read."""

    photo: str
    """What it calls its photograph, see `image_path`."""
    shapes: list[Shape]
    """Its objects of classes, with their boxes."""
    void: int
    """How many others are void."""
    flags: list[str]
    """What is true of the whole photograph."""
    painted: labelme.Drawn
    """All of its shapes, as they are painted."""

    @property
    def labels(self) -> list[str]:
        """Of the photograph: what its objects are."""
        return sorted({shape.name for shape in self.shapes})


def plan_files(root: Path, files: Sequence[Path], photos: Path, *, val: float) -> Plan:
    """Plan the data set of LabelMe files: shapes become masks, rectangles boxes alone; what has no file is left out.

    Where no file has a shape of a class, the flags that are true are the labels.

    Args:
        root: The folder of the files.
        files: Those in it.
        photos: Folder of the photographs; each file is the one's that it says, or of its path or name.
        val: Share of the photographs set aside where their folders name no splits, in 0..1.

    Raises:
        InputError: a file is broken, has no photograph, or that of another; none names a class; or as
            `coco.plan_instances`.
    """
    lying = walk(photos).check()
    read = {path: _read(path) for path in tqdm(files, "LabelMe files", disable=None)}
    said = {path: file.photo for path, file in read.items()}
    located, notes = locate(said, root, PhotoIndex(photos, lying.photographs))
    owners: dict[Path, Path] = {}
    for path, photo in located.items():
        if owners.setdefault(photo, path) != path:
            raise InputError(f"{path}: is of the photograph {photo}, as {owners[photo]} is; remove one of the two.")
    shown = {path: file for path, file in read.items() if file.shapes}
    if shown:
        items, more = _with_objects(root, shown, located)
        flagged = sum(bool(file.flags) for file in read.values())
        if flagged:
            sentence = f"flags of {flagged} photographs are true and were not read; the shapes are the labels."
            more.append(f"{root}: {sentence}")
    else:
        shown = {path: file for path, file in read.items() if file.flags}
        items, more = _with_flags(root, shown, located)
    if len(read) > len(shown):
        notes.append(f"{root}: {len(read) - len(shown)} of {len(read)} photographs show no object and were left out.")
    known = {path.resolve() for path in files}
    notes += more + coco.describe_unlisted(photos, lying, {*located.values()}, known, root)
    names = sorted({label for item in items for label in item.labels})
    given, partly = of_all({item.photo: split_of(item.photo.relative_to(photos)) for item in items}, photos)
    found = coco.Instances(root, {}, items, notes + partly)
    plan = coco.plan_instances(root, [found], names, given, val=val)
    stamps = [[str(path.resolve()), *identity(path)] for path in files]
    return dataclasses.replace(plan, source={"kind": "labelme", "files": stamps})


def _read(path: Path) -> File:
    value = disk.read_json(path, "LabelMe file", limit=LARGEST)
    shapes, _ = read_shapes(value, path)
    flags = value.get("flags")
    true = [name.strip() for name, holds in flags.items() if holds is True] if isinstance(flags, dict) else []
    classes = [shape for shape in shapes if _is_class(shape.name)]
    void = sum(is_void(shape.name) for shape in shapes)
    return File(image_path(value), classes, void, sorted({*filter(_is_class, true)}), labelme.read_drawn(value, path))


def _with_objects(root: Path, files: Mapping[Path, File], photos: Mapping[Path, Path]) -> tuple[list[Item], list[str]]:
    """The photographs of files that show objects, and sentences on them."""
    names = sorted({label for file in files.values() for label in file.labels})
    indices = {name: number for number, name in enumerate(names, BACKGROUND + 1)}
    kinds = Counter(shape.kind for file in files.values() for shape in file.painted.shapes)
    has_masks = kinds.total() > kinds[labelme.RECTANGLE]
    ids = name_ids(photos[path] for path in files)
    items, cut_off = [], 0
    for path, file in tqdm(files.items(), "photographs of LabelMe's", disable=None):
        photo = photos[path]
        size = file.painted.size or pictures.read_upright(photo).size
        if has_masks:
            labelme.check_reach(file.painted, size)  # before photographs are copied
        paint = functools.partial(labelme.paint, file.painted, size, functools.partial(_index_of, indices), boxes=False)
        objects = [] if file.void else file.shapes  # what is void has no box, see `drawn.VOID_SAID`
        xml, beyond = drawn.annotation(
            photo, size, [one.name for one in objects], [tuple(one.box.tolist()) for one in objects], str(path)
        )
        cut_off += beyond
        items.append(Item(ids[photo], photo, tuple(file.labels), paint if has_masks else None, size, xml))
    notes = drawn.describe(root, 0, cut_off)  # every shape has a box
    void = sum(file.void for file in files.values())
    if not has_masks:
        notes.append(f"{root}: all objects are rectangles, boxes alone, so there are no masks to measure with.")
    elif kinds[labelme.RECTANGLE]:
        sentence = "rectangles are boxes and no outlines; they are void (255) in the masks"
        notes.append(f"{root}: {kinds[labelme.RECTANGLE]} {sentence}.")
    if void:
        notes.append(f"{root}: {void} objects {drawn.VOID_SAID}.")
    return items, notes


def _with_flags(root: Path, files: Mapping[Path, File], photos: Mapping[Path, Path]) -> tuple[list[Item], list[str]]:
    """The photographs of files whose flags are the labels, and the sentence on that."""
    if not files:
        raise InputError(f"{root}: its LabelMe files hold no shape of a class, and no flag that is true; draw some.")
    ids = name_ids(photos[path] for path in files)
    items = [Item(ids[photos[path]], photos[path], tuple(file.flags)) for path, file in files.items()]
    return items, [f"{root}: no file has a shape of a class, so the flags that are true were read as labels."]


def _is_class(label: str) -> bool:
    return label not in BACKGROUND_NAMES and not is_void(label)


def _index_of(indices: Mapping[str, int], label: str) -> int:
    """The class's index of a label, 0 for background and 255 for void."""
    return IGNORE if is_void(label) else indices.get(label, BACKGROUND)
