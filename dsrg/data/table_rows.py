"""What a row of a table says of its photograph, be it a line of a CSV or an object of JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from dsrg.data.class_folders import SPLITS
from dsrg.data.columns import OFF, ON, fault
from dsrg.data.ids import is_text, shown
from dsrg.data.photograph import fold
from dsrg.errors import InputError


class Raw(NamedTuple):
    """What a row says of its photograph, not divided yet."""

    image: str
    labels: str | list[str] | InputError
    line: int
    split: str = ""
    holds: bool = True
    """Whether the photograph shows the labels, or is said to show none of them."""


def named(
    name: str, labels: str | list[str] | InputError, number: int, path: Path, split: str = "", *, holds: bool = True
) -> Raw:
    """The row, if what it calls its photograph can be a name."""
    if not name:
        labels = fault(path, f"line {number} names no photograph; add its name or remove it")
    elif not is_text(name):
        labels = fault(path, f"line {number} calls its photograph {shown(name)}, which is no file's name; correct it")
        name = shown(name)
    return Raw(name, labels, number, split, holds)


def read_holds(cell: str, what: str, name: str, number: int, path: Path) -> bool | InputError:
    """Whether the labels of a row hold, or what is wrong with the cell that says so.

    Args:
        cell: What the row holds there.
        what: What it is called by, 'column' or 'key'.
        name: Its name.
        number: The row's line.
        path: The table.
    """
    if cell.casefold() not in ON | OFF:
        sentence = f"line {number} has {shown(cell)} in the {what} {shown(name)}, which must be 0 or 1"
        return fault(path, f"{sentence}; correct it, or remove the {what}")
    return cell.casefold() in ON


def follow(cells: Sequence[str], numbers: Sequence[int], what: str, path: Path) -> tuple[list[str], list[str]]:
    """The split of each row, '' where not all cells are names of splits; and a sentence if some are others.

    Args:
        cells: What each row holds.
        numbers: The rows' lines.
        what: What the cells are called by, such as "column 'split'".
        path: The table.
    """
    none = [""] * len(cells)
    if not any(cells):
        return none, []
    splits = [SPLITS.get(fold(cell), "") for cell in cells]
    if all(splits):
        return splits, []
    row = splits.index("")
    sentence = (
        f"the {what} was not followed, since line {numbers[row]} has {shown(cells[row])} in it, which is no split"
    )
    return none, [f"{path}: {sentence}; write train, val or test in every line."]
