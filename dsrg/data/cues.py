"""The authors' cues: seeds of VOC's photographs, on a grid of 41 x 41, that come as one pickle.

It maps `<n>_labels` to the image's foreground classes and `<n>_cues` to class, row and column of each cue, (3, N).
The classes are counted from 1, as in masks; n counts the lines of the authors' list of photographs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from dsrg.data.array_pickle import read_arrays
from dsrg.data.ids import LARGEST_LIST, check_id, id_of, shown
from dsrg.data.voc import Photo
from dsrg.errors import InputError
from dsrg.files import disk, locks, pictures
from dsrg.labels import BACKGROUND, IGNORE, Classes

GRID = 41
"""Rows and columns of the cues' grid: the network's output at 321 pixels and stride 8."""
MOST_IMAGES = 200_000
"""Images that a file of cues may have: COCO's largest split has 118,287, and each takes some 2 KB of memory."""


@dataclass(frozen=True)
class ImageCues:
    """The cues of one image."""

    tags: np.ndarray
    """(C,) bool, the image-level labels; index 0, background, is always True."""
    seeds: np.ndarray
    """(GRID, GRID) uint8, class index or 255 = unlabelled."""


def read_cues(path: Path, classes: Classes) -> dict[int, ImageCues]:
    """Read a file of cues; nothing that it holds is run (see `dsrg.data.array_pickle`).

    Args:
        path: The pickle, packed with gzip or not.
        classes: The classes that its numbers mean: VOC's, for the authors' file.

    Returns:
        From each image's number to its cues, in the order of the numbers.

    Raises:
        InputError: the file is missing, broken or hostile, or holds anything else than cues of these classes.
    """
    arrays = read_arrays(path)
    numbers: set[int] = set()
    for key in arrays:
        number, _, what = key.partition("_")
        if not (number.isascii() and number.isdecimal() and len(number) < 10 and what in ("labels", "cues")):
            raise InputError(f"{path}: holds {ascii(key)[:40]}; a file of cues has <number>_labels and <number>_cues.")
        numbers.add(int(number))
    if not 0 < len(numbers) <= MOST_IMAGES:
        count = f"cues of {len(numbers):,} images, and {MOST_IMAGES:,} are the most" if numbers else "no cues"
        raise InputError(f"{path}: holds {count}; check --cues.")
    return {number: _image_cues(path, arrays, number, classes) for number in sorted(numbers)}


def _image_cues(path: Path, arrays: Mapping[str, Any], number: int, classes: Classes) -> ImageCues:
    labels = _integers(path, arrays, f"{number}_labels", axes=1)
    cues = _integers(path, arrays, f"{number}_cues", axes=2)
    if len(cues) != 3:
        raise InputError(f"{path}: '{number}_cues' has {len(cues)} rows, not class, row and column; get the file anew.")
    _check_range(f"{path}: '{number}_labels'", "class", labels, 1, len(classes))
    _check_range(f"{path}: '{number}_cues'", "class", cues[0], 0, len(classes))
    _check_range(f"{path}: '{number}_cues'", "row or column", cues[1:], 0, GRID)
    tags = np.zeros(len(classes), bool)
    tags[BACKGROUND] = True
    tags[labels] = True
    if not tags[cues[0]].all():
        name = classes.names[cues[0][~tags[cues[0]]][0]]
        raise InputError(f"{path}: '{number}_cues' has cues of '{name}', which '{number}_labels' lacks; get it anew.")
    seeds = np.full((GRID, GRID), IGNORE, np.uint8)
    seeds[cues[1], cues[2]] = cues[0]
    if (seeds[cues[1], cues[2]] != cues[0]).any():
        raise InputError(f"{path}: '{number}_cues' gives a cell two classes, which no mask can hold; get it anew.")
    return ImageCues(tags, seeds)


def _integers(path: Path, arrays: Mapping[str, Any], key: str, axes: int) -> np.ndarray:
    value = arrays.get(key)
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iu" or value.ndim != axes:
        raise InputError(f"{path}: '{key}' is no array of integers with {axes} axes; get the file anew.")
    if value.size > 3 * GRID * GRID:
        raise InputError(f"{path}: '{key}' has {value.size:,} numbers, more than a grid of {GRID} x {GRID} can take.")
    return value.astype(np.int64)


def _check_range(where: str, what: str, values: np.ndarray, low: int, stop: int) -> None:
    wrong = values[(values < low) | (values >= stop)]
    if wrong.size:
        raise InputError(
            f"{where} has the {what} {wrong[0]}, which must be {low} to {stop - 1}; set the classes that the cues were "
            "made for (the authors': voc), or get the file anew."
        )


def translate(cues: Mapping[int, ImageCues], source: Classes, target: Classes) -> dict[int, ImageCues]:
    """Cues of one list of classes as those of another, by the classes' names.

    Args:
        cues: By number.
        source: The classes that they are of.
        target: The classes of the result. Cues of classes that it lacks become unlabelled, for they may be anything.

    Raises:
        InputError: the lists have no foreground class in common.
    """
    places = {name: index for index, name in enumerate(target.names)}
    table = np.full(IGNORE + 1, IGNORE, np.uint8)
    for index, name in enumerate(source.names):
        table[index] = places.get(name, IGNORE)
    known = table[: len(source)] != IGNORE
    if not known[BACKGROUND + 1 :].any():
        raise InputError(
            f"{source.source}: no class of the cues is one of {target.source}; name the list that they were made for."
        )

    def one(own: ImageCues) -> ImageCues:
        tags = np.zeros(len(target), bool)
        tags[table[: len(source)][own.tags & known]] = True
        return ImageCues(tags, table[own.seeds])

    return {number: one(own) for number, own in cues.items()}


def read_list(path: Path) -> dict[str, int]:
    """Read the list that tells which photograph each number of the cues means.

    Args:
        path: Lines "<photograph> <number>", as in the authors' input_list.txt, the photograph an id or a file; or one
            photograph a line, whose number is the line's, counted from 0.

    Returns:
        From each photograph's id to its number.

    Raises:
        InputError: the file is missing or not UTF-8, a line has another form, or a photograph or number comes twice.
    """
    text = disk.read_text(path, "list", limit=LARGEST_LIST)
    lines = [line.split() for line in text.splitlines() if line.strip()]
    if not lines:
        raise InputError(f"{path}: the list names no photograph; check --list.")
    numbered = len(lines[0]) == 2
    numbers: dict[str, int] = {}
    taken: set[int] = set()
    for position, words in enumerate(lines):
        text = words[-1] if numbered else str(position)
        if len(words) != 1 + numbered or not (text.isascii() and text.isdecimal() and len(text) < 10):
            raise InputError(
                f"{path}: the line {shown(' '.join(words))} is not '<photograph> <number>'; write all lines so, or all "
                "as one photograph without a number."
            )
        name = check_id(id_of(words[0]), path)
        if name in numbers or int(text) in taken:
            raise InputError(f"{path}: the photograph '{name}' or the number {text} comes twice; remove one line.")
        numbers[name] = int(text)
        taken.add(int(text))
    return numbers


def choose(
    photos: Sequence[Photo], cues: Mapping[int, ImageCues], numbers: Mapping[str, int], source: str
) -> tuple[list[ImageCues], int]:
    """Each photograph's cues, and how many photographs have other labels in the data set than in the cues.

    A few may: the authors took the labels from the masks, VOC's XML also counts what no mask shows.

    Args:
        photos: The photographs.
        cues: By number.
        numbers: The number of each photograph's id.
        source: Name of the list of numbers, for the errors.

    Raises:
        InputError: a photograph has no number or the number no cues, or most labels differ: the numbers are others'.
    """
    chosen = []
    for photo in photos:
        if photo.id not in numbers:
            raise InputError(f"{source}: does not name the photograph '{photo.id}' of the split; choose another list.")
        if numbers[photo.id] not in cues:
            raise InputError(f"{source}: '{photo.id}' has the number {numbers[photo.id]}, which has no cues; correct.")
        chosen.append(cues[numbers[photo.id]])
    differ = sum(not np.array_equal(photo.tags, own.tags) for photo, own in zip(photos, chosen, strict=True))
    if 2 * differ > len(photos):
        raise InputError(
            f"{source}: {differ} of {len(photos)} photographs have other labels in the data set than in the cues, so "
            "the numbers are not theirs; choose the list that belongs to the cues."
        )
    return chosen, differ


def enlarge(seeds: np.ndarray, height: int, width: int) -> np.ndarray:
    """Seeds at a photograph's size, each pixel that of the nearest cell, corner on corner.

    `dsrg.run.inference.on_grid` gives a grid of GRID cells back exactly from photographs of 41 pixels a side and more,
    and after training's warp to 321 x 321 from those of 71 and more.

    Args:
        seeds: (h, w) uint8.
        height: Of the photograph, in pixels.
        width: Likewise.

    Returns:
        (height, width) uint8.
    """
    rows, columns = (
        np.linspace(0, cells - 1, side).round().astype(int)
        for cells, side in zip(seeds.shape, (height, width), strict=True)
    )
    return np.asarray(seeds[rows[:, None], columns])


def write_seeds(directory: Path, photos: Sequence[Photo], cues: Sequence[ImageCues], *, threads: int = 4) -> None:
    """Write directory/<id>.png, each as large as its photograph: the whole folder or nothing.

    Args:
        directory: A new or empty folder.
        photos: The photographs, which are decoded for their size.
        cues: Those of each.
        threads: Files to read and write at a time; decoding leaves Python's lock.

    Raises:
        InputError: the folder holds something already, or a photograph cannot be read.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise InputError(f"{directory}: is there already; choose another run_dir, or delete it and what came of it.")
    directory.parent.mkdir(parents=True, exist_ok=True)
    locks.remove_leftovers(directory.parent)
    with locks.temporary_folder(directory) as temporary:

        def write(photo: Photo, own: ImageCues) -> None:
            width, height = pictures.read_image(photo.path).size
            pictures.write_mask(temporary / f"{photo.id}.png", enlarge(own.seeds, height, width))

        pool = ThreadPoolExecutor(max(1, threads))
        try:
            for _ in tqdm(pool.map(write, photos, cues), "seeds", len(photos)):
                pass
        finally:
            pool.shutdown(cancel_futures=True)
        temporary.chmod(0o755)
        temporary.replace(directory)  # an empty folder gives way


def count(cues: Mapping[int, ImageCues], classes: Classes) -> str:
    """A table of images by label and of cues by class, as text."""
    images = np.sum([own.tags for own in cues.values()], axis=0)
    cells = np.zeros(IGNORE + 1, np.int64)
    for own in cues.values():
        cells += np.bincount(own.seeds.ravel(), minlength=IGNORE + 1)
    width = max(map(len, classes.names))
    lines = [f"{'class':{width}}  {'images':>8} {'cues':>12}"]
    lines += [f"{name:{width}}  {images[i]:8,} {cells[i]:12,}" for i, name in enumerate(classes.names)]
    total = int(cells[:IGNORE].sum())
    lines.append(f"{'all':{width}}  {len(cues):8,} {total:12,}, {total / cells.sum():.1%} of all cells")
    return "\n".join(lines)
