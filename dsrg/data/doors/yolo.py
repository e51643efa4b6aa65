"""YOLO's folders: a .txt for each photograph with a box or outline a line, and a file of the classes' names."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from dsrg import typed_yaml
from dsrg.data import coco
from dsrg.data.annotations import MOST_OBJECTS
from dsrg.data.class_folders import SPLITS
from dsrg.data.coco_rows import Content
from dsrg.data.doors.tables import of_all, split_of
from dsrg.data.ids import shown
from dsrg.data.photo_index import PhotoIndex
from dsrg.data.photograph import Found, fold, walk
from dsrg.data.prepare import Plan
from dsrg.errors import InputError
from dsrg.files import disk, pictures
from dsrg.files.manifest import identity

YAML = ("data.yaml", "dataset.yaml", "data.yml", "dataset.yml")
LISTS = ("obj.names", "_darknet.labels", "classes.txt", "predefined_classes.txt")
"""Files of the classes' names: with `names`, and with one a line."""
_DATA = "obj.data"
"""Darknet's file of paths, which says nothing that the others do not."""
_FOLDERS = ("images", "labels")
"""Folders that lie beside each other, and stand for each other in the paths of a photograph and of its .txt."""
TURNED = (
    "all outlines are rectangles, and some are rotated, so they were read as rotated boxes: the upright boxes around "
    "them are kept, and no masks are made"
)
"""Of outlines, for a note."""
_ROW = re.compile(r"\d+([ \t]+-?[\d.]+(e-?\d+)?){4}\s", re.IGNORECASE)
_BEGIN = 10_000
"""Bytes that hold the first object."""
_SOME = 20
"""Texts that are looked into, to tell whether the rest are YOLO's."""
LARGEST = 16 * disk.MIB


class Legend(NamedTuple):
    """The file of the names, read."""

    path: Path
    names: dict[int, str]
    splits: dict[str, str]
    """The split of the photographs in a folder, by the end of its path."""
    lists: dict[Path, str]
    """The files that list the photographs of a split, and the split."""
    lacking: list[str]
    """Those that are named and not there."""


def texts_in(root: Path, found: Found) -> list[Path]:
    """The files of a folder that hold objects as YOLO writes them; empty where it is none of YOLO's.

    Args:
        root: The folder.
        found: What lies in it.
    """
    texts = [path for path in found.others if path.suffix.lower() == ".txt" and path.name not in LISTS]
    keys = {_key(path.relative_to(root)) for path in found.photographs}
    own = {path for path in texts if _key(path.relative_to(root)) in keys}
    if not any(map(_is_yolo, sorted(own)[:_SOME] or texts[:_SOME])):
        return []
    return [path for path in texts if path in own or _is_yolo(path)]


def legend_file(root: Path, found: Found) -> Path | None:
    """The file of the classes' names, in the folder or the one above."""
    paths = [*found.others, *(root.parent / name for name in (*YAML, *LISTS) if (root.parent / name).is_file())]
    for name in (*YAML, *LISTS):
        own = [path for path in paths if path.name == name]
        if own:
            return min(own, key=lambda path: len(path.parts))
    return next((path for path in paths if path.parent == root and path.suffix in (".yaml", ".yml")), None)


def plan_files(root: Path, legend: Path | None, photos: Path, *, val: float) -> Plan:
    """Plan the data set of YOLO's files: outlines become masks, boxes boxes, and photographs without an object are left
    out.

    Args:
        root: The folder of the .txt files.
        legend: The file of the classes' names.
        photos: Folder of the photographs.
        val: Share of the photographs set aside where nothing names splits, in 0..1.

    Raises:
        InputError: there is no file of names, a line is broken, a .txt has no photograph, or as `coco.instances_of`.
    """
    found = walk(root)
    texts = texts_in(root, found)
    if legend is None:
        known = ", ".join((*YAML[:1], *LISTS[:3]))
        raise InputError(f"{root}: has a .txt for each photograph, as YOLO writes, and no file of names; add {known}.")
    if not texts:
        raise InputError(f"{legend}: is YOLO's, but {root} has no .txt with the objects of a photograph; add them.")
    read = read_legend(legend)
    content, notes = _content(root, texts, read, photos)
    names = coco.used_names({legend: content})
    files = [*texts, root / legend.name, *read.lists, legend.parent / _DATA]
    made = coco.instances_of(content, legend, photos, names=names, files=files)
    made.notes[:0] = notes
    listed = _listed(read, photos)
    splits = {item.photo: listed.get(item.photo) or _split(item.photo.relative_to(photos), read) for item in made.items}
    given, said = of_all(splits, legend)
    plan = coco.plan_instances(legend, [made], names, given, val=val)
    said += [f"{legend}: the list of a split that it names, {shown(name)}, does not exist." for name in read.lacking]
    plan.notes.extend(said)
    stamps = [[str(path.resolve()), *identity(path)] for path in (legend, *texts, *read.lists)]
    return dataclasses.replace(plan, source={"kind": "yolo", "files": stamps})


def read_legend(path: Path) -> Legend:
    """Read a file of names.

    Raises:
        InputError: it is broken, names no class, or is of key points.
    """
    text = disk.read_text(path, "list of classes", limit=LARGEST)
    if path.suffix not in (".yaml", ".yml"):
        lines = [line.strip() for line in text.rstrip().split("\n")]
        return Legend(path, dict(enumerate(lines)), {}, _lists_beside(path), [])
    try:
        value = typed_yaml.parse(text, Any)
    except typed_yaml.NotYamlError as error:
        raise InputError(f"{path}: not valid YAML ({error}); correct it.") from None
    value = value if isinstance(value, dict) else {}
    names = value.get("names")
    if isinstance(names, list):
        names = dict(enumerate(names))
    elif isinstance(names, dict):
        names = {int(key) if str(key).isdecimal() else key: name for key, name in names.items()}
    if not names or not isinstance(names, dict) or not all(isinstance(key, int) for key in names):
        raise InputError(f"{path}: has no list 'names' of the classes, as YOLO's has; add it.")
    if "kpt_shape" in value:
        raise InputError(f"{path}: is of key points (kpt_shape), which are not read; export boxes or outlines.")
    splits: dict[str, str] = {}
    lists: dict[Path, str] = {}
    lacking: list[str] = []
    for split in ("train", "val", "test"):
        for place in value[split] if isinstance(value.get(split), list) else [value.get(split)]:
            whole = PurePosixPath(str(place or "").replace("\\", "/")).parts
            parts = [part for part in whole if part not in ("/", ".", "..")][-2:]  # it may be of another machine
            if parts and not parts[-1].endswith(".txt"):
                splits.setdefault(fold("/".join(parts)), split)
            elif parts:
                near = [path.parent / part for part in ("/".join(parts), parts[-1])]
                file = next((file for file in near if os.path.isfile(file)), None)  # noqa: PTH113 - false for a name too long
                if file is None:
                    lacking.append("/".join(parts))
                else:
                    lists.setdefault(file, split)
    lists = lists if splits or lists else _lists_beside(path)
    return Legend(path, {number: str(name).strip() for number, name in names.items()}, splits, lists, lacking)


def _lists_beside(path: Path) -> dict[Path, str]:
    """The lists of splits beside a file of names that names none, such as CVAT's train.txt and valid.txt."""
    found = {file: SPLITS.get(fold(file.stem), "") for file in sorted(path.parent.glob("*.txt"))}
    return {file: split for file, split in found.items() if split and not _is_yolo(file)}


def _listed(legend: Legend, photos: Path) -> dict[Path, str]:
    """The splits of the photographs in the lists of splits, found by the last parts of their paths, see `PhotoIndex`.

    Raises:
        InputError: a photograph is in the list of train and in that of another split.
    """
    index = PhotoIndex(photos, walk(photos).photographs)
    found: dict[Path, str] = {}
    for path, split in legend.lists.items():
        for line in _lines(path):
            hits = index.guess(line.strip())
            # Where there is no test set, the list of val often stands for both.
            if len(hits) == 1 and found.setdefault(hits[0], split) != split and "train" in (split, found[hits[0]]):
                sentence = f"lists {shown(line.strip())}, which is also in the list of '{found[hits[0]]}'; remove it"
                raise InputError(f"{path}: {sentence} from one of them.")
    return found


def _content(root: Path, texts: Sequence[Path], legend: Legend, photos: Path) -> tuple[Content, list[str]]:
    """The files' objects in COCO's format, and a sentence on how photographs were found."""
    found = walk(photos).check()
    by_key = {_key(path.relative_to(photos)): path for path in found.photographs}
    owners: dict[Path, Path] = {}
    rows: list[dict[str, Any]] = []
    sizes: dict[Path, tuple[int, int]] = {}
    said = {path: _lines(path) for path in tqdm(texts, "YOLO's files", disable=None)}
    keys = {path: _key(path.relative_to(root)) for path in texts}
    alone = {path.stem: str(path) for path, lines in said.items() if lines and keys[path] not in by_key}
    located, notes = PhotoIndex(photos, found.photographs).locate(alone, root, alone)
    for path, lines in said.items():
        photo = by_key.get(keys[path]) or located.get(path.stem if lines else "")
        if photo is None:
            continue
        if owners.setdefault(photo, path) != path:
            raise InputError(f"{path}: is of the photograph {photo}, as {owners[photo]} is; remove one of the two.")
        if lines:
            sizes[photo] = pictures.read_upright(photo).size
            rows += [{"image_id": photo, **row} for row in _objects(lines, sizes[photo], legend, path)]
    if _are_turned_boxes([row["segmentation"][0] for row in rows if row["segmentation"]]):
        for row in rows:
            row["segmentation"] = []
        notes.append(f"{root}: {TURNED}.")
    numbers = {photo: number for number, photo in enumerate(found.photographs, 1)}
    images = [
        {"id": number, "file_name": photo.relative_to(photos).as_posix(), "width": None, "height": None}
        | (dict(zip(("width", "height"), sizes[photo], strict=True)) if photo in sizes else {})
        for photo, number in numbers.items()
    ]
    for number, row in enumerate(rows, 1):
        row |= {"id": number, "image_id": numbers[row["image_id"]]}
    categories = [{"id": number, "name": name} for number, name in legend.names.items() if name]
    return {"images": images, "annotations": rows, "categories": categories}, notes


def _objects(lines: Sequence[str], size: tuple[int, int], legend: Legend, path: Path) -> list[dict[str, Any]]:
    """The objects of one photograph: 'class x y width height', or 'class x y x y x y ...', in shares of its sides."""
    if len(lines) > MOST_OBJECTS:
        raise InputError(f"{path}: has {len(lines):,} objects, and {MOST_OBJECTS:,} are the most; check the file.")
    found = []
    for number, line in enumerate(lines, 1):
        words = line.split()
        try:
            category, shares = int(words[0]), list(map(float, words[1:]))
        except ValueError:
            category, shares = -1, []
        is_box = len(shares) == 4
        if not is_box and (len(shares) < 6 or len(shares) % 2):
            sentence = f"object {number} is {shown(line, 40)}, not 'class x y width height' or 'class x y x y x y'"
            raise InputError(f"{path}: {sentence} in numbers; export it anew.")
        if not all(-0.01 <= share <= 1.01 for share in shares):  # nan too; tools round beyond the edge
            raise InputError(f"{path}: object {number} has numbers beyond 0..1, shares of the sides; export it anew.")
        if not legend.names.get(category):
            sentence = f"object {number} is of class {category}, which {legend.path} does not name; add it"
            raise InputError(f"{path}: {sentence}.")
        places = [share * size[place % 2] for place, share in enumerate(shares)]
        if is_box:
            x, y, width, height = places
            place: dict[str, Any] = {"segmentation": [], "bbox": [x - width / 2, y - height / 2, width, height]}
        else:
            left, top = min(places[::2]), min(places[1::2])
            place = {"segmentation": [places], "bbox": [left, top, max(places[::2]) - left, max(places[1::2]) - top]}
        found.append({"category_id": category, **place})
    return found


def _are_turned_boxes(outlines: Sequence[Sequence[float]]) -> bool:
    """Whether outlines, x y x y ... in pixels, are all rectangles and one is not upright: Ultralytics' turned boxes
    (OBB), which nothing else tells from outlines of four points. As masks they would call what lies around an object
    a part of it."""
    if not outlines or any(len(outline) != 8 for outline in outlines):
        return False
    corners = np.array(outlines, np.float64).reshape(-1, 4, 2)
    diagonals = corners[:, 2:] - corners[:, :2]
    off_centre = np.abs(corners[:, 0] + corners[:, 2] - corners[:, 1] - corners[:, 3]).max()
    unequal = np.abs(np.diff(np.linalg.norm(diagonals, axis=2), axis=1)).max()
    turned = np.abs(corners[:, 1] - corners[:, 0]).min(axis=1).max()
    return bool(max(off_centre, unequal) < 1 <= turned)


def _is_yolo(path: Path) -> bool:
    with disk.open_regular(path, "YOLO file") as file:
        begin = disk.read_at_most(file, _BEGIN).decode("utf-8", "replace").lstrip("\ufeff\r\n\t ")
    return bool(_ROW.match(f"{begin}\n"))


def _lines(path: Path) -> list[str]:
    text = disk.read_text(path, "YOLO file", limit=LARGEST)
    return [line for line in text.split("\n") if line.strip()]


def _key(path: Path) -> str:
    """What the path of a photograph and that of its .txt have in common."""
    return "/".join(fold(part) for part in path.with_suffix("").parts if fold(part) not in _FOLDERS)


def _split(path: Path, legend: Legend) -> str:
    """The split of a photograph: what a folder above it is called, or whose path the file of names has."""
    below = fold(f"/{path.parent.as_posix()}/")
    return split_of(path) or next((split for end, split in legend.splits.items() if f"/{end}/" in below), "")
