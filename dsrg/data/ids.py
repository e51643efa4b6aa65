"""Names of photographs that come from outside: from lists, tables, annotations, cues, file and folder names.

A photograph's id becomes a part of paths, those of the files that are written for it among them. So every one goes
through one check, whichever door it comes in by.
"""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path

from dsrg.errors import InputError
from dsrg.files import disk
from dsrg.files.pictures import IMAGE_EXTENSIONS

LONGEST = 255 - len("..jpeg.tmp")
"""Bytes of an id: while `<id>.jpeg` is written it has the name `.<id>.jpeg.tmp`, and file systems take 255."""
LONGEST_PATH = 1000
"""Letters of a path to a photograph, as a table or annotations name it."""
LARGEST_LIST = 32 * disk.MIB
"""Bytes of a list; a million ids have some 15 MiB."""
MOST = 2_000_000
"""Photographs that a list or table may name; Open Images has 1.9 million."""
RESERVED = frozenset(("con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))))
"""Names of devices on Windows, whatever the ending."""


def check_id(name: str, where: str | Path) -> str:
    """The name, if it can be a file's on every system and in every folder that is written to.

    Args:
        name: The id, without an ending.
        where: The file that holds it, for the error.

    Raises:
        InputError: it can be no file's name, or would lead out of its folder.
    """
    fault = _fault(name)
    if fault:
        raise InputError(f"{where}: the name {shown(name)} {fault}; rename the photograph.", "name unusable")
    return name


def check_below(name: str, where: str, folder: Path) -> None:
    """Refuse a path to a photograph that leads out of the folder that it is looked for in.

    Args:
        name: The path, with slashes of either kind.
        where: What holds it, for the error.
        folder: The folder.

    Raises:
        InputError: it is empty or absolute, names a folder above, or holds what no path holds.
    """
    parts = name.replace("\\", "/").split("/")
    if not is_text(name) or ".." in parts or not parts[0] or re.match("[A-Za-z]:", name):
        raise InputError(
            f"{where}: the photograph {shown(name)} does not lie in {folder}; name it by its path in there."
        )


def id_of(photo: str) -> str:
    """The id of what a list or table calls a photograph: an id, which may hold points, or a file's name or path."""
    path = Path(photo)
    return path.stem if path.suffix.lower() in IMAGE_EXTENSIONS else path.name


def plain(text: str) -> str:
    """A stem as an id has it: without blanks, and without what a table would take for a file's ending."""
    name = "_".join(text.split()) or "_"
    # 'a.jpg.png' has the stem 'a.jpg', which a table of labels would take for a file's name.
    ending = Path(name).suffix
    return f"{name.removesuffix(ending)}_{ending[1:]}" if ending.lower() in IMAGE_EXTENSIONS else name


def is_text(name: str) -> bool:
    """Whether a name or path from outside can be looked for, and shown as it is."""
    odd = any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in name)
    return bool(name.strip()) and len(name) <= LONGEST_PATH and not odd


def read_ids(path: Path, what: str) -> list[str]:
    """The words of a list of photographs, one id a line, as they are; `check_id` has not seen them yet.

    Args:
        path: The file.
        what: What it is, for the error.

    Raises:
        InputError: as `dsrg.files.disk.read_text`, or it names more photographs than any data set has.
    """
    ids = disk.read_text(path, what, limit=LARGEST_LIST).split()
    if len(ids) > MOST:
        raise InputError(f"{path}: names {len(ids):,} photographs, and {MOST:,} are the most; check the file.")
    return ids


def shown(text: str, most: int = 60) -> str:
    """Text from outside for an error: in quotes, cut, with nothing in it that a terminal would obey."""
    short = text if len(text) <= most else f"{text[:most]}…"
    return "'" + "".join(c if c.isprintable() else ascii(c)[1:-1] for c in short) + "'"


def _fault(name: str) -> str:
    """What is wrong with the name; '' where nothing is."""
    if not name:
        return "is empty"
    if "/" in name or "\\" in name:
        return "holds a slash, and an id names no folder"
    if name.startswith("."):
        return "begins with a point, as names of folders above and of hidden files do"
    if re.match("[A-Za-z]:", name):
        return "begins as a drive's does"
    odd = next((c for c in name if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")), None)
    if odd is not None:
        return f"holds the character U+{ord(odd):04X}, which is none of a file's name"
    if name.partition(".")[0].strip().casefold() in RESERVED:
        return "is one that Windows keeps for a device"
    length = len(os.fsencode(name))
    return f"has {length} bytes, and files can be written for {LONGEST} at most" if length > LONGEST else ""
