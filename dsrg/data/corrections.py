"""Masks that somebody has corrected in another tool, found by content, of photographs of a data set."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element

import numpy as np

from dsrg.data import coco
from dsrg.data.coco_rows import Content, check_content
from dsrg.data.doors import coco_files, cvat, label_studio, labelme, layouts, legend, unread
from dsrg.data.ids import plain
from dsrg.data.labelme import image_path, locate
from dsrg.data.mask_folders import Colours, is_void, read_any_mask
from dsrg.data.photo_index import PhotoIndex
from dsrg.data.photograph import describe_left_out, fold, walk
from dsrg.data.voc import VocFolder
from dsrg.errors import InputError
from dsrg.files import disk, pictures
from dsrg.files.markup import read_xml
from dsrg.labels import BACKGROUND, BACKGROUND_NAMES, IGNORE, Classes

READ = (
    "LabelMe's JSON, COCO's, Label Studio's JSON, CVAT's 'CVAT for images', SegmentationClass/ with labelmap.txt or "
    "class_names.txt, and PNG masks of class indices or colours"
)
CLASSES = "classes.txt"
"""A list of classes beside masks or above their folder."""
LISTS = (legend.LABELMAP, legend.CLASS_NAMES, CLASSES)
"""Files that say what the values of masks mean."""
LABELME, COCO, LABEL_STUDIO, CVAT = "LabelMe's JSON", "COCO's JSON", "Label Studio's JSON", "CVAT's 'CVAT for images'"
PNG = "PNG masks"


class Correction(NamedTuple):
    """The true mask of one photograph."""

    photo: Path
    """The photograph, in the data set."""
    source: Path
    """The file that holds the mask."""
    size: tuple[int, int] | None
    """Width and height in pixels that it is for, if that is known before it is painted."""
    mask: Callable[[], np.ndarray]
    """Makes it, (H, W) uint8 of the data set's class indices."""


class Corrections(NamedTuple):
    """What a file or folder holds."""

    title: str
    """The tool and its format, for the note."""
    masks: list[Correction]
    notes: list[str]


def read_corrections(source: Path, folder: VocFolder, colours: Colours | None = None) -> Corrections:
    """Read masks of photographs of a data set; the masks themselves are painted when they are asked for.

    Args:
        source: A file, or a folder of one kind of files.
        folder: The data set.
        colours: The classes that colours of PNG masks stand for, where no file beside them tells.

    Raises:
        InputError: nothing is known there, or kinds are mixed; a photograph or a class is not the data set's, or a
            photograph has two masks; no object fills a part of a photograph; or as the readers.
    """
    if not source.exists():
        raise InputError(f"{source}: does not exist; check --masks.")
    unread.check_format(source)
    index = PhotoIndex(folder.image_dir, [files[-1] for files in folder.photo_files().values()], named_anew=True)
    masks = layouts.mask_folder(source) if source.is_dir() else None
    kinds = {} if masks else _sort(source)
    if len(kinds) > 1:
        both = "' and '".join(list(kinds)[:2])
        raise InputError(f"{source}: holds files of '{both}'; give the folder or file of one of them.")
    if not kinds and masks is None:
        raise InputError(f"{source}: holds no masks that are known. Read are {READ}.")
    title, values = next(iter(kinds.items()), (PNG, {}))
    if masks is not None or title == PNG:
        read = _read_pngs(source, masks or source, folder, index, colours)
    elif title == LABELME:
        read = _read_labelme(values, source, folder, index)
    else:
        read = _read_objects(title, values, folder)
    if not read.masks:
        raise InputError(
            f"{source}: holds no object that covers any part of a photograph (read as {title}), so there is nothing to "
            "import; polygons and painted masks are read, lines, points and predictions are not."
        )
    seen: dict[Path, Path] = {}
    for one in read.masks:
        first = seen.setdefault(one.photo, one.source)
        if first != one.source:
            raise InputError(f"{one.source}: is a mask of {one.photo.name}, as {first} is; remove one of them.")
    return read._replace(notes=read.notes + _describe_unread(masks or source, read.masks, values))


def _describe_unread(place: Path, read: Sequence[Correction], values: Mapping[Path, Any]) -> list[str]:
    """Sentences on the files of a folder that are neither read nor the photographs of masks that are."""
    if not place.is_dir():
        return []
    known = {*values, *(one.source for one in read), *(place / name for name in LISTS)}
    stems = {fold(one.photo.stem) for one in read}
    found = walk(place)
    left = [path for path in found.others if path not in known]
    left += [path for path in found.photographs if path not in known and fold(plain(path.stem)) not in stems]
    return describe_left_out(place, sorted(left), found.skipped, "files are no masks that are read and were left out")


def _sort(source: Path) -> dict[str, dict[Path, Any]]:
    """What each file holds, by its kind; a PNG beside JSON files is a photograph and no mask."""
    found = walk(source).check() if source.is_dir() else None
    paths = [source] if found is None else [*found.others, *found.photographs]
    kinds: dict[str, dict[Path, Any]] = {}
    for path in paths:
        if path.suffix.lower() == ".json":
            value = disk.read_json(path, "file of masks", limit=coco.LARGEST)
            kind = _kind_of(value)
        elif path.suffix.lower() == ".xml":
            value = read_xml(path, "file of masks", limit=cvat.LARGEST)
            kind = CVAT if cvat.is_export(value) else ""
        else:
            value, kind = None, PNG if path.suffix.lower() == ".png" else ""
        if kind:
            kinds.setdefault(kind, {})[path] = value
    described = {path.parent for path in kinds.get(LABELME, ())}
    pngs = {path: None for path in kinds.pop(PNG, {}) if path.parent not in described}
    return {**kinds, **({PNG: pngs} if pngs else {})}


def _kind_of(value: Any) -> str:
    if labelme.is_labelme(value):
        return LABELME
    if coco_files.is_content(value):
        return COCO
    return LABEL_STUDIO if label_studio.is_export(value) else ""


def _read_labelme(values: Mapping[Path, Any], source: Path, folder: VocFolder, index: PhotoIndex) -> Corrections:
    masks, empty = [], 0
    said = {path: image_path(value) for path, value in values.items()}
    photos, notes = locate(said, source if source.is_dir() else source.parent, index)
    for path, value in values.items():
        drawn = labelme.read_drawn(value, path)
        index_of = functools.partial(_index_of, folder.classes, str(path))
        for shape in drawn.shapes:
            index_of(shape.label)
        size = pictures.read_size(photos[path])
        mask = functools.partial(labelme.paint, drawn, size, index_of)
        masks.append(Correction(photos[path], path, drawn.size or size, mask))
        empty += drawn.empty
    notes += [f"{empty} points and lines of LabelMe fill nothing and were not read."] if empty else []
    return Corrections(LABELME, masks, notes)


def _read_pngs(source: Path, place: Path, folder: VocFolder, index: PhotoIndex, colours: Colours | None) -> Corrections:
    """Masks of a file or folder, with a list of classes beside them or of the data set's own indices and colours."""
    found = walk(place).check() if place.is_dir() else None
    files = [place] if found is None else [path for path in found.photographs if path.suffix.lower() == ".png"]
    root = place if place.is_dir() else place.parent
    names = {path.relative_to(root).with_suffix("").as_posix(): path for path in files}
    photos, notes = index.locate(names, source)
    listed = [source / name for name in LISTS] if source.is_dir() else []
    listed.append(root.parent / CLASSES)  # where `dsrg predict` puts it
    file = None if colours else next((path for path in listed if path.is_file()), None)
    meaning = legend.read_legend(file) if file else None
    masks = []
    for name, path in names.items():
        if meaning is not None:
            index_of = functools.partial(_index_of, folder.classes, str(path))
            mask = functools.partial(legend.read_mask, path, meaning, index_of)
        else:
            mask = functools.partial(read_any_mask, path, folder.classes, colours)
        masks.append(Correction(photos[name], path, None, mask))
    tool = f", by {file.name}" if file else ""
    return Corrections(f"{PNG}{tool}", masks, notes)


def _read_objects(title: str, values: Mapping[Path, Any], folder: VocFolder) -> Corrections:
    """Masks of files that hold objects: COCO's, CVAT's, Label Studio's."""
    masks, notes = [], list[str]()
    for path, value in values.items():
        content, more = _content(value, path)
        is_cvat = title == CVAT or (title == COCO and coco_files.tool_of(content, path) == coco_files.CVAT)
        found = coco.instances_of(
            content, path, folder.image_dir, in_order=title == CVAT, painted=is_cvat, part=True, named_anew=True
        )
        names = found.categories.values()
        table = np.array([BACKGROUND, *(folder.classes.index(name, str(path)) for name in names)], np.uint8)
        table = np.concatenate([table, np.full(IGNORE + 1 - len(table), IGNORE, np.uint8)])
        for item in found.items:
            if not callable(item.mask):
                raise InputError(
                    f"{path}: holds no segmentation, and boxes alone are no masks; export polygons or masks."
                )
            masks.append(Correction(item.photo, path, item.size, functools.partial(_translated, item.mask, table)))
        notes += [*more, *found.notes]
    return Corrections(title, masks, notes)


def _content(value: Any, path: Path) -> tuple[Content, list[str]]:
    if label_studio.is_export(value):
        return label_studio.content_of(label_studio.read_json(value, path))
    if isinstance(value, Element):
        export = cvat.read_export(value, path)
        return export.content, export.notes
    return check_content(value, path), []


def _translated(mask: Callable[[], np.ndarray], table: np.ndarray) -> np.ndarray:
    return np.asarray(table[mask()])


def _index_of(classes: Classes, where: str, label: str) -> int:
    """The class's index of a label, 255 for void; raises InputError for one that is none of the data set's."""
    if is_void(label):
        return IGNORE
    return BACKGROUND if label in BACKGROUND_NAMES else classes.index(label, where)
