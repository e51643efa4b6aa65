"""Two folders of masks compared: which belong together, colours read as classes, and one confusion matrix of all."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dsrg.data.photograph import check_folder, describe_left_out, walk
from dsrg.errors import InputError
from dsrg.files import disk, pictures
from dsrg.labels import BACKGROUND, BACKGROUND_NAMES, IGNORE, Classes, is_unlabelled, palette
from dsrg.metrics import ConfusionMatrix

VOID_NAMES = ("void", "ignore", "ignored", "__ignore__")
"""What tables of colours call pixels that are not counted, beside `labels.is_unlabelled`."""
LARGEST_TABLE = disk.MIB
_COLOUR = re.compile(r"(.*?)[\s,;:]+(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})\s*(?::.*)?")

Colours = Mapping[int, int]
"""From a colour, red * 65536 + green * 256 + blue, to the class's index."""


class Pair(NamedTuple):
    """The predicted and the true mask of one photograph."""

    predicted: Path
    true: Path


def pair_masks(predictions: Path, truth: Path) -> tuple[list[Pair], list[str]]:
    """Find the true mask of every predicted one, at any depth: that of the same path, else the only one of its name.

    Returns:
        The pairs, and sentences on the files that are compared with nothing.

    Raises:
        InputError: a folder is missing, holds no PNG or what cannot be read; a prediction has no true mask, or it
            cannot be told which; or two masks of a folder are one but for their endings.
    """
    predicted, notes = _masks(predictions, "--pred")
    true, more = _masks(truth, "--gt")
    stems: dict[str, list[Path]] = {}
    for path in true.values():
        stems.setdefault(path.stem, []).append(path)
    alike = Counter(path.stem for path in predicted.values())
    pairs, alone = [], []
    for key, path in predicted.items():
        found = [true[key]] if key in true else stems.get(path.stem, [])
        if len(found) > 1 or (key not in true and found and alike[path.stem] > 1):
            raise InputError(
                f"{path}: it cannot be told which mask below {truth} is its own, {found[0]} or another; give both "
                "folders the same folders within."
            )
        if found:
            pairs.append(Pair(path, found[0]))
        else:
            alone.append(truth / f"{key}.png")
    if alone:
        more_alone = f", as {len(alone) - 1} more do not" if len(alone) > 1 else ""
        raise InputError(
            f"{alone[0]}: the true mask does not exist{more_alone}, but {predictions} has a prediction; add the mask, "
            "or remove the prediction.",
            "mask missing",
        )
    left = sorted({*true.values()} - {pair.true for pair in pairs})
    if left:
        names = ", ".join(path.relative_to(truth).as_posix() for path in left[:3])
        and_more = f" and {len(left) - 3} more" if len(left) > 3 else ""
        notes.append(f"{truth}: {len(left)} masks have no prediction and were not counted: {names}{and_more}.")
    return pairs, notes + more


def _masks(folder: Path, flag: str) -> tuple[dict[str, Path], list[str]]:
    """The masks of a folder by their paths without an ending, and what else lies there."""
    check_folder(folder, "masks", flag)
    found = walk(folder).check()
    masks: dict[str, Path] = {}
    others = list(found.others)
    for path in found.photographs:
        key = path.relative_to(folder).with_suffix("").as_posix()
        if path.suffix.lower() != ".png":
            others.append(path)
        elif key in masks:
            raise InputError(f"{path}: has the same name as {masks[key].name} but for the ending; remove one of them.")
        else:
            masks[key] = path
    if not masks:
        raise InputError(f"{folder}: holds no .png; check {flag}.")
    return masks, describe_left_out(folder, sorted(others), said="files are no masks and were left out")


def read_colours(name: str, classes: Classes) -> Colours:
    """The classes that colours stand for.

    Args:
        name: 'voc' for VOC's palette; or a file with one class a line, its name and red, green and blue, 0 to 255:
            `cat:128,0,0`, as in CVAT's labelmap.txt, or `cat 128 0 0`.
        classes: The class list.

    Raises:
        InputError: the file is missing or broken, names no class of the list, or gives two classes one colour.
    """
    if name == "voc":
        listed = {**{index: palette()[index] for index in range(len(classes))}, IGNORE: palette()[IGNORE]}
        return {_number(colour): index for index, colour in listed.items()}
    path = Path(name)
    colours: dict[int, int] = {}
    for number, label, colour in read_colour_table(path):
        index = _index(label, classes, f"{path} (line {number})")
        if colours.setdefault(colour, index) != index:
            raise InputError(f"{path}: line {number} has a colour that another class has too; correct it.")
    return colours


def read_colour_table(path: Path) -> list[tuple[int, str, int]]:
    """The lines of a table of colours, see `read_colours`: their number, the class's name and its colour as a number.

    Raises:
        InputError: the file is missing or broken, or names no colour.
    """
    found = []
    lines = disk.read_text(path, "table of colours", limit=LARGEST_TABLE).split("\n")
    for number, line in enumerate(lines, 1):
        match = _COLOUR.fullmatch(line.strip()) if len(line) < 500 else None
        if not line.strip() or line.startswith("#") or (number == 1 and not match):
            continue
        values = [int(value) for value in match.groups()[1:]] if match else []
        if match is None or max(values) > 255:
            raise InputError(f"{path}: line {number} is not '<class>:<red>,<green>,<blue>', each 0 to 255; correct it.")
        found.append((number, match[1].strip(), _number(values)))
    if not found:
        raise InputError(f"{path}: names no colour; write one class a line, 'cat:128,0,0'.")
    return found


def is_void(label: str) -> bool:
    """Whether a name stands for pixels that are not counted."""
    return label.casefold() in VOID_NAMES or is_unlabelled(label)


def _index(label: str, classes: Classes, where: str) -> int:
    if is_void(label):
        return IGNORE
    return BACKGROUND if label in BACKGROUND_NAMES else classes.index(label, where)


def read_any_mask(path: Path, classes: Classes, colours: Colours | None) -> np.ndarray:
    """Read a mask of class indices, of 8 or 16 bits, or one in colour, palette and grey ones included.

    Args:
        path: The mask.
        classes: The class list.
        colours: What the colours mean; None where there are to be none. They count before the indices, unless none
            of the mask's own but black is among them, or its palette is VOC's (`pictures.is_numbered`).

    Returns:
        (H, W) uint8.

    Raises:
        InputError: as `dsrg.files.pictures.read_mask`, or it has a colour that is none of a class.
    """
    if colours is not None and not pictures.is_numbered(path):
        return _read_colours(path, classes, colours)
    try:
        return _read_indices(path, len(classes))
    except InputError as error:
        if error.kind != "mask in colour":
            raise
        sentence = str(error).rstrip(".")
        raise InputError(
            f"{sentence}; add --palette if its colours are VOC's, or --palette FILE with lines such as "
            "'cat:128,0,0' (CVAT's labelmap.txt).",
            error.kind,
        ) from None


def _read_colours(path: Path, classes: Classes, colours: Colours) -> np.ndarray:
    try:
        codes = pictures.read_colours(path)
    except InputError as error:
        if error.kind != "more than 8 bits":
            raise
        return _read_indices(path, len(classes))
    meaning = {pictures.TRANSPARENT: BACKGROUND, **colours}
    found = codes_in(codes)
    unknown = next((code for code in found if code not in meaning), None)
    if unknown is None:
        return translated(codes, {code: meaning[code] for code in found})
    if not any(code in meaning for code in found if code > 0):  # black is background with and without colours
        try:
            return _read_indices(path, len(classes))
        except InputError as error:
            if error.kind != "mask in colour":
                raise
    red, green, blue = unknown >> 16, unknown >> 8 & 255, unknown & 255
    numbers = "; if its values are class indices, leave --palette out" if red == green == blue else ""
    raise InputError(
        f"{path}: holds the colour {shown(unknown)}, which is no class's; check --palette, and that nothing has "
        f"smoothed the mask{numbers}.",
        "mask in colour",
    )


def codes_in(codes: np.ndarray) -> list[int]:
    """The different values of an (H, W) array of `pictures.read_colours`."""
    end = int(codes.max()) + 1
    present = np.zeros(end + 1, bool)  # the last is TRANSPARENT's, -1
    present[codes] = True  # much faster than to sort the pixels
    return [code if code < end else pictures.TRANSPARENT for code in np.flatnonzero(present).tolist()]


def translated(codes: np.ndarray, indices: Mapping[int, int]) -> np.ndarray:
    """The class indices (H, W) uint8 of values (H, W), each of which has one."""
    table = np.empty(max(indices) + 2, np.uint8)  # the last is TRANSPARENT's, -1
    for code, index in indices.items():
        table[code] = index
    return np.asarray(table[codes])


def shown(code: int) -> str:
    """A colour as people write it."""
    return f"{code >> 16}, {code >> 8 & 255}, {code & 255}"


def _read_indices(path: Path, count: int) -> np.ndarray:
    try:
        return pictures.read_mask(path, count)
    except InputError as error:
        if error.kind != "mask in colour":
            raise
        try:
            wide = pictures.read_labels(path, "mask")
        except InputError:
            raise error from None
    pictures.check_indices(wide, count, path)
    return wide.astype(np.uint8)


def _number(colour: Sequence[int] | np.ndarray) -> int:
    red, green, blue = (int(value) for value in colour)
    return red << 16 | green << 8 | blue


def compare_folders(
    predictions: Path, truth: Path, classes: Classes, names: Sequence[str], threads: int = 2, *, objects: bool = True
) -> ConfusionMatrix:
    """One confusion matrix over all pixels of two folders of masks, <id>.png.

    Args:
        predictions: Folder of predicted masks.
        truth: Folder of ground-truth masks; may hold more.
        classes: The classes.
        names: The ids that must be there.
        threads: Files to decode at a time.
        objects: Refuse a truth that shows no object.

    Raises:
        InputError: a file is missing or broken, the sizes differ, an index is out of range, or no true mask shows an
            object.
    """
    pairs = [Pair(pictures.mask_file(predictions, name), pictures.mask_file(truth, name)) for name in names]
    matrix = compare_masks(pairs, classes, threads=threads)
    if objects:
        require_objects(matrix, truth)
    return matrix


def require_objects(matrix: ConfusionMatrix, truth: Path) -> None:
    """Refuse to measure with a truth in which no pixel is an object's: whatever is predicted, the mean says nothing.

    Raises:
        InputError: the counts of `matrix` have background alone, or nothing.
    """
    if not matrix.counts[BACKGROUND + 1 :].any():
        raise InputError(
            f"{truth}: no counted pixel of the true masks is an object's, they hold {BACKGROUND} and {IGNORE} (void) "
            "alone; write each object's class index, 1 for the first class, in place of 255.",
            "no object",
        )


def compare_masks(
    pairs: Sequence[Pair], classes: Classes, colours: Colours | None = None, *, threads: int = 2
) -> ConfusionMatrix:
    """One confusion matrix over all pixels of pairs of masks.

    Args:
        pairs: The files.
        classes: The classes.
        colours: What the colours of masks in colour mean; None where there are to be none.
        threads: Files to decode at a time.

    Raises:
        InputError: a file is missing or broken, the sizes differ, or an index is out of range.
    """

    def compare(pair: Pair, matrix: ConfusionMatrix) -> None:
        predicted, true = (read_any_mask(path, classes, colours) for path in pair)
        if predicted.shape != true.shape:
            sizes = " but ".join(f"{mask.shape[1]} x {mask.shape[0]} pixels" for mask in (predicted, true))
            raise InputError(f"{pair.predicted}: is {sizes} in {pair.true}; predict at the photograph's size.")
        try:
            matrix.update(predicted, true)
        except ValueError as error:
            raise InputError(f"{pair.predicted}: {error}") from None

    def compare_some(some: Sequence[Pair]) -> ConfusionMatrix:
        matrix = ConfusionMatrix(len(classes))
        for pair in some:
            compare(pair, matrix)
        return matrix

    total = ConfusionMatrix(len(classes))
    # A few at a time: handing over a single one to a thread costs a tenth of decoding it.
    batches = [pairs[start : start + 8] for start in range(0, len(pairs), 8)]
    with ThreadPoolExecutor(max(1, threads)) as pool:
        for matrix in pool.map(compare_some, batches):
            total += matrix
    return total
