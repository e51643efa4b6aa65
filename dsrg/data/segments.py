"""Segments of the photographs, made by any segmenter: label maps, or SAM's automatic masks."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
from tqdm import tqdm

from dsrg.data import regions
from dsrg.data.voc import Photo, Refuse, check_size, raise_fault, reporting
from dsrg.errors import InputError
from dsrg.files import disk, pictures
from dsrg.segments import of_labels

MOST_WORK = 2**34
"""Segments times pixels of their photograph, of one JSON file: each segment is decoded at full size, twice."""


@dataclass(frozen=True)
class Encoded(Sequence[np.ndarray]):
    """Segments that may overlap, each (n,) places of its pixels in the photograph's rows, decoded when it is asked
    for."""

    rows: list[dict[str, Any]]
    """As `regions.encode` gives them."""

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, number: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, number: slice) -> Encoded: ...
    def __getitem__(self, number: int | slice) -> np.ndarray | Encoded:
        if isinstance(number, slice):
            return Encoded(self.rows[number])
        return np.flatnonzero(regions.decode(self.rows[number]))


def find(folder: Path, name: str) -> Path:
    """The file of a photograph's segments, <name>.png or <name>.json; <name>.png where there is none.

    Raises:
        InputError: there are both.
    """
    label_map, masks = pictures.mask_file(folder, name), folder / f"{name}.json"
    if not os.path.lexists(masks):
        return label_map
    if os.path.lexists(label_map):
        raise InputError(f"{masks}: {label_map.name} is there too, and one of them must vote; remove the other.")
    return masks


def require(folder: Path, photos: Sequence[Photo]) -> None:
    """Check that each of the training photographs has its segments, and read them once.

    Raises:
        InputError: one has none, or two files of them; or as `read_for`.
    """
    missing = [photo.id for photo in photos if not find(folder, photo.id).is_file()]
    if missing:
        raise InputError(
            f"{folder / missing[0]}.png: neither this file nor {missing[0]}.json exists: {len(missing):,} of the "
            f"{len(photos):,} training photographs have no segments in masks.segments; add theirs, or set it to null.",
            "segments missing",
        )
    check(folder, photos, {photo.id: pictures.read_size(photo.path) for photo in photos}, raise_fault)


def read_for(folder: Path, photo: Photo, size: tuple[int, int]) -> Sequence[np.ndarray]:
    """The segments of a photograph.

    A label map, <id>.png, has a number for each segment, and 0 where there is none. <id>.json holds the masks of SAM's
    automatic mask generator (output_mode "coco_rle"): their list, as its script amg.py writes it, or SA-1B's object
    with the list "annotations". These may overlap. Nothing but their run lengths is read.

    Args:
        folder: Where they are.
        photo: The photograph.
        size: Its width and height in pixels.

    Returns:
        Of each segment, (n,) places of its pixels in the photograph's rows, one after another.

    Raises:
        InputError: the file is missing, broken, or of another size than the photograph.
    """
    path = find(folder, photo.id)
    if path.suffix == ".json":
        return _read_masks(path, photo, size)
    labels = pictures.read_labels(path, "label map of segments")
    check_size("label map is", labels.shape[::-1], size, path, photo.path)
    return of_labels(labels)


def check(folder: Path, photos: Sequence[Photo], sizes: Mapping[str, tuple[int, int]], refuse: Refuse) -> None:
    """Read the segments of photographs.

    Args:
        folder: Where they are.
        photos: The photographs.
        sizes: Width and height of those whose segments to read, by id.
        refuse: Gets every fault.
    """
    known = [photo for photo in photos if photo.id in sizes]
    for photo in tqdm(known, "checking segments", leave=False, disable=None):  # None: on a terminal alone
        with reporting(refuse, folder / f"{photo.id}.png", photo.id):
            path = find(folder, photo.id)
            with reporting(refuse, path, photo.id):
                read_for(folder, photo, sizes[photo.id])


def _read_masks(path: Path, photo: Photo, size: tuple[int, int]) -> Encoded:
    content = disk.read_json(path, "list of segments")
    rows = content.get("annotations") if isinstance(content, dict) else content
    if not isinstance(rows, list):
        raise InputError(
            f"{path}: holds neither a list of masks nor SA-1B's 'annotations', as SAM's automatic mask generator gives "
            "them; write its result into the file."
        )
    most = max(1, MOST_WORK // (size[0] * size[1]))
    if len(rows) > most:
        raise InputError(
            f"{path}: holds {len(rows):,} segments, and of a photograph of {size[0]} x {size[1]} pixels {most:,} are "
            "read; leave the smallest out."
        )
    return Encoded([_encode(row, number, path, photo, size) for number, row in enumerate(rows)])


def _encode(row: Any, number: int, path: Path, photo: Photo, size: tuple[int, int]) -> dict[str, Any]:
    segmentation = row.get("segmentation") if isinstance(row, dict) else None
    if not isinstance(segmentation, dict) or not {"size", "counts"} <= segmentation.keys():
        raise InputError(
            f"{path} (segment {number}): has no 'segmentation' with 'size' and 'counts'; let SAM's automatic mask "
            "generator write run lengths (output_mode='coco_rle')."
        )
    sides = segmentation["size"]
    if isinstance(sides, list) and len(sides) == 2 and all(isinstance(side, int) for side in sides):
        check_size("segments are", (sides[1], sides[0]), size, path, photo.path)
    return regions.encode({"size": sides, "counts": segmentation["counts"]}, size, f"{path} (segment {number})")
