"""What is not read: exports that are known by their files, and files of labels that are none for this project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from dsrg.data import columns
from dsrg.data.photo_index import PhotoIndex
from dsrg.data.photograph import Found
from dsrg.errors import InputError
from dsrg.files import disk

PACKED = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")
_FORMATS = {
    **dict.fromkeys((".parquet", ".arrow"), "Parquet or Arrow, which is not read; save its table as CSV"),
    **dict.fromkeys((".tfrecord", ".record"), "TensorFlow's records, which are not read; export COCO"),
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "a workbook; save its sheet as 'CSV UTF-8'"),
}
"""What files of labels of these endings are, and what to do."""
ENDINGS = (*PACKED, *_FORMATS)
"""Of files that may hold labels, or photographs, and are not read."""
_EXPORTS = {
    "_annotations.createml.json": ("CreateML", None),
    "metadata.parquet": ("Hugging Face's Parquet", None),
    "meta.json": ("Supervisely", "ann"),
}
"""Files by which an export is known that is not read, and the folder that holds others, if that is needed to tell."""
_SOME_ROWS = 200
"""Rows of a table that are looked for among the photographs."""


def check_format(path: Path) -> None:
    """Refuse a file that is packed or of a format that is not read, by its ending.

    Raises:
        InputError: it is one.
    """
    ending = path.suffix.lower()
    if ending in PACKED and path.is_file():
        raise InputError(f"{path}: is packed; unpack it, and give the folder.")
    if ending in _FORMATS and path.is_file():
        raise InputError(f"{path}: is {_FORMATS[ending]}.")


def check_export(named: Mapping[str, Sequence[Path]], read: str) -> None:
    """Refuse a folder that holds a file of an export that is not read.

    Args:
        named: The folder's files by their names, folded.
        read: What is read, for the error.

    Raises:
        InputError: it does.
    """
    folders = {path.parent.name for paths in named.values() for path in paths}
    name = next((name for name, (_, beside) in _EXPORTS.items() if name in named and beside in (None, *folders)), None)
    if name is not None:
        sentence = f"is of an export as {_EXPORTS[name][0]}, which is not read; export COCO"
        raise InputError(f"{named[name][0]}: {sentence}. Read are {read}.")


def names_photographs(table: Path, root: Path, found: Found) -> bool:
    """Whether a table's rows are of the photographs of a folder, most of the first ones at least.

    Args:
        table: A CSV.
        root: The folder.
        found: What lies in it.
    """
    try:
        sheet = columns.read_sheet(disk.read_text(table, "table of labels"), table)
        place = sheet.place(columns.IMAGE)
    except InputError:
        return False
    names = [] if place is None else [name for name in sheet.column(place)[:_SOME_ROWS] if name]
    index = PhotoIndex(root, found.photographs)
    return 2 * sum(bool(index.guess(name)) for name in names) > len(names)
