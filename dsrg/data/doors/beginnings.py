"""What files of labels begin with, by which they are told apart, and their whole content."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dsrg.data import coco, columns
from dsrg.data.doors import label_studio
from dsrg.errors import InputError
from dsrg.files import disk


def sheet_of(path: Path) -> columns.Sheet:
    """Label Studio's CSV, in which brushes may take longer lines than are read."""
    try:
        return columns.read_sheet(disk.read_text(path, "table of labels", limit=label_studio.LARGEST), path)
    except InputError as error:
        raise InputError(f"{error} Label Studio's JSON has no such bounds.", error.kind) from None


def json_of(path: Path) -> Any:
    """The value of a file of annotations."""
    return disk.read_json(path, "annotation file", limit=coco.LARGEST)


def header_of(path: Path) -> list[str]:
    """The names of a CSV's columns."""
    return header_in(begin_of(path))


def begin_of(path: Path) -> str:
    """The first letters of a file."""
    with disk.open_regular(path, "annotation file" if path.suffix.lower() == ".json" else "table of labels") as file:
        return disk.read_at_most(file, 2 * columns.LONGEST_LINE).decode("utf-8-sig", "replace")


def header_in(begin: str) -> list[str]:
    """The names of a CSV's columns, divided by whatever gives the most."""
    head = next((line for line in begin.split("\n", 1000) if line.strip()), "").strip()
    return max((columns.split(head, delimiter) for delimiter in columns.DELIMITERS), key=len)


def is_lines(begin: str) -> bool:
    """Whether a text that begins as JSON is one object a line."""
    first, _, more = begin.lstrip().partition("\n")
    return first.rstrip().endswith("}") and more.lstrip()[:1] == "{"
