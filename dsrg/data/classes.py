"""The class list of a data set: a file with one name a line, or a preset."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from dsrg.errors import InputError
from dsrg.files import disk
from dsrg.labels import BACKGROUND_NAMES, MOST_CLASSES, PRESETS, Classes, fault_of_name

LARGEST_LIST = disk.MIB
"""Bytes of a class list; 21,841 names of 30 letters have six tenths."""


def read_classes(path: str | Path) -> Classes:
    """Read a class list: a preset's name ('voc', 'coco') or a file with one name a line, background first.

    Raises:
        InputError: the file is missing, empty, does not start with 'background', repeats a name, is too long, or
            has a name that cannot be a class's.
    """
    if str(path) in PRESETS:
        return Classes(PRESETS[str(path)], f"the preset '{path}'")
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: the class list does not exist; write one class name a line, 'background' first.")
    text = disk.read_text(path, "class list", limit=LARGEST_LIST)
    names = tuple(line.strip() for line in text.split("\n") if line.strip())
    if len(names) > MOST_CLASSES:
        raise InputError(f"{path}: {len(names):,} classes are listed, and {MOST_CLASSES:,} are the most; check it.")
    if len(names) < 2 or names[0] not in BACKGROUND_NAMES:
        raise InputError(f"{path}: the first line must be 'background' and at least one class must follow.")
    for name in names:
        if fault_of_name(name):
            raise InputError(f"{path}: the class {name[:60]!a} {fault_of_name(name)}; rename it.")
    names = (BACKGROUND_NAMES[0], *names[1:])
    repeated = next((name for name, count in Counter(names).items() if count > 1), None)
    if repeated is not None:
        raise InputError(f"{path}: the class '{repeated}' is listed twice; remove one of the lines.")
    return Classes(names, str(path))
