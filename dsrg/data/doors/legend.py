"""What the values of masks mean: CVAT's labelmap.txt, labelme's class_names.txt, Roboflow's _classes.csv."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dsrg.data.mask_folders import LARGEST_TABLE, codes_in, is_void, read_colour_table, shown, translated
from dsrg.errors import InputError
from dsrg.files import disk, pictures
from dsrg.labels import BACKGROUND, BACKGROUND_NAMES, IGNORE, palette

LABELMAP = "labelmap.txt"
CLASS_NAMES = "class_names.txt"
PIXEL_VALUES = "_classes.csv"
FILES = {LABELMAP: "CVAT", CLASS_NAMES: "labelme", PIXEL_VALUES: "Roboflow"}
"""Files that are a legend, and the tool that writes each."""
_BARE = re.compile(r"([^:]+):\s*:[^:]*:[^:]*")
VOID = "void"
"""The name here of pixels that are not counted."""


class Legend(NamedTuple):
    """The names that values and colours of masks stand for: background, void, and those of classes."""

    path: Path
    values: Mapping[int, str]
    colours: Mapping[int, str]
    """By red * 65536 + green * 256 + blue; empty where masks have none."""

    @property
    def classes(self) -> list[str]:
        """The names of classes, in the order of their values."""
        return [name for _, name in sorted(self.values.items()) if name not in (VOID, BACKGROUND_NAMES[0])]


def read_legend(path: Path) -> Legend:
    """Read one of FILES.

    Raises:
        InputError: it is missing or broken, or names no class.
    """
    colours: dict[int, str] = {}
    if path.name == LABELMAP:
        table = _labelmap(path)
        values = {index: _plain(name) for index, (name, _) in enumerate(table)}
        colours = {colour: _plain(name) for name, colour in table}
        if len(colours) < len(table):
            raise InputError(f"{path}: gives two classes the same colour; correct it.")
        colours.setdefault(_voc_colour(IGNORE), VOID)  # of the border of VOC's objects
    elif path.name == PIXEL_VALUES:
        values = _pixel_values(path)
    else:
        names = [line.strip() for line in disk.read_text(path, "class list", limit=LARGEST_TABLE).split("\n")]
        values = {index: _plain(name) for index, name in enumerate(filter(None, names))}
        if BACKGROUND_NAMES[0] not in values.values():
            raise InputError(
                f"{path}: lists no background; the values of masks count its lines from 0, so add 'background' as the "
                "line that stands for it, usually the first."
            )
    legend = Legend(path, values, colours)
    if not legend.classes:
        raise InputError(f"{path}: names no class; list background and one at least.")
    twice = next((name for name in legend.classes if legend.classes.count(name) > 1), None)
    if twice is not None or len(legend.classes) >= IGNORE:
        what = f"lists '{twice}' twice" if twice else f"lists {len(legend.classes)} classes, more than masks hold"
        raise InputError(f"{path}: {what}; correct it.")
    return legend


def is_pixel_values(path: Path) -> bool:
    """Whether a _classes.csv is of masks, and not of labels."""
    with disk.open_regular(path, "table of labels") as file:
        return disk.read_at_most(file, 100).decode("utf-8", "replace").lstrip("\ufeff").casefold().startswith("pixel")


def read_mask(path: Path, legend: Legend, index_of: Callable[[str], int]) -> np.ndarray:
    """Read a mask of values or colours.

    Args:
        path: A palette, grey or colour PNG.
        legend: What they mean.
        index_of: The class's index of a name of the legend's classes; raises InputError where there is none.

    Returns:
        (H, W) uint8 class indices, 255 for void.

    Raises:
        InputError: as `pictures.read_mask`, or a value or colour has no meaning or no class.
    """
    codes, names, of_colours = _codes(path, legend)
    indices = {}
    for code in codes_in(codes):
        name = names.get(code)
        if name is None:
            what = f"colour {shown(code)}" if of_colours else f"value {code}"
            raise InputError(f"{path}: holds the {what}, which {legend.path} does not list; add it there.")
        indices[code] = BACKGROUND if name == BACKGROUND_NAMES[0] else IGNORE if name == VOID else index_of(name)
    return translated(codes, indices)


def _codes(path: Path, legend: Legend) -> tuple[np.ndarray, Mapping[int, str], bool]:
    """The mask's values or colours, (H, W), what they stand for, and whether they are colours: those of a palette if
    all have a meaning."""
    values: np.ndarray | None = None
    try:
        values = pictures.read_mask(path)
    except InputError as error:
        if error.kind != "mask in colour" or not legend.colours:
            raise
    if legend.colours:
        codes, names = pictures.read_colours(path), {pictures.TRANSPARENT: BACKGROUND_NAMES[0], **legend.colours}
        if values is None or names.keys() >= {*codes_in(codes)}:
            return codes, names, True
    assert values is not None  # else it was in colour
    return values, {IGNORE: VOID, **legend.values}, False


def _labelmap(path: Path) -> list[tuple[str, int]]:
    """The names and colours of a labelmap.txt; where it leaves the colour out, Datumaro has painted in VOC's."""
    text = disk.read_text(path, "table of colours", limit=LARGEST_TABLE)
    lines = [line.strip() for line in text.split("\n") if line.strip() and not line.startswith("#")]
    bare = [_BARE.fullmatch(line) for line in lines[: IGNORE + 1]]
    if not lines or len(lines) > IGNORE or not all(bare):
        return [(name, colour) for _, name, colour in read_colour_table(path)]
    return [(match[1].strip(), _voc_colour(index)) for index, match in enumerate(bare) if match]


def _voc_colour(index: int) -> int:
    red, green, blue = map(int, palette()[index])
    return red << 16 | green << 8 | blue


def _plain(name: str) -> str:
    if is_void(name):
        return VOID
    return BACKGROUND_NAMES[0] if name in BACKGROUND_NAMES else name


def _pixel_values(path: Path) -> dict[int, str]:
    lines = disk.read_text(path, "table of classes", limit=LARGEST_TABLE).split("\n")
    values: dict[int, str] = {}
    try:
        for row in csv.reader(lines[1:], strict=True):
            if row and any(map(str.strip, row)):
                number, name = int(row[0]), row[1].strip()
                if not 0 <= number <= IGNORE or values.setdefault(number, _plain(name)) != _plain(name):
                    raise ValueError
    except (csv.Error, ValueError, IndexError):
        raise InputError(f"{path}: is no table of 'Pixel Value, Class'; export it anew.") from None
    return values
