"""What a command wrote into its folder, and from what: how the next call tells its own files, and those out of date.

Dates do not tell. A photograph may be replaced by an older file, and one that is dated ahead is newer than every
correction that somebody has made to its outputs since. So each file is noted with the identity of what it was made
from, and with its own: a file that is not as it was written is the user's, and no call writes over it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dsrg.errors import InputError
from dsrg.files import disk

FILE = "manifest.jsonl"
"""In the folder: one JSON list a line."""
FILES = "manifest*.jsonl"
"""All of a folder, where several machines wrote into it, or into folders that were put together since."""
State = Literal["missing", "fresh", "stale", "changed"]
"""Of a file: not there; written by us from the same; written by us from something else; not, or no more, ours."""


def identity(path: Path) -> list[int]:
    """A file's size in bytes and its time of change in nanoseconds, which tell it from any other that takes its place.

    Raises:
        InputError: there is no such file.
    """
    try:
        state = path.stat()
    except (OSError, ValueError) as error:
        raise disk.unreadable(path, "file", error) from None
    return [state.st_size, state.st_mtime_ns]


def digest(path: Path) -> str:
    """The SHA-256 of a file's bytes, as hexadecimal digits.

    Raises:
        InputError: it cannot be read.
    """
    found = hashlib.sha256()
    with disk.open_regular(path) as file:
        while chunk := file.read(disk.MIB):
            found.update(chunk)
    return found.hexdigest()


@dataclass(frozen=True)
class Recorder:
    """Writes files below a folder and notes them; several processes may do so at a time."""

    folder: Path
    file: str = FILE
    """Its manifest, one of FILES."""

    def write(self, path: Path, content: bytes, made_from: Any) -> str:
        """Note a file, then write it, atomically; its digest.

        In this order, so that a call that is killed between the two does not take its own file for the user's.

        Args:
            path: The file, below the folder.
            content: Its bytes.
            made_from: What it is made from, as plain values of JSON.

        Raises:
            InputError: it cannot be written.
        """
        found = hashlib.sha256(content).hexdigest()
        stamp = time.time_ns()
        self._append(path, len(content), stamp, found, made_from)
        disk.write_bytes(path, content)
        with contextlib.suppress(OSError):  # where the file system keeps coarser times, or none, the digest tells
            os.utime(path, ns=(stamp, stamp))
        return found

    def note(self, path: Path, made_from: Any, there: Path, found: str = "") -> None:
        """Note a file as it is, which may be a link to the user's.

        Args:
            path: The file, below the folder.
            made_from: What it is made from, as plain values of JSON.
            there: The same, or its temporary name, from which it is to be renamed.
            found: Its digest; without it a copy of the file, which has another date, is not known for ours.
        """
        self._append(path, *identity(there), found, made_from)

    def _append(self, path: Path, *entry: Any) -> None:
        # A line begins with its break: one that was torn by a kill so spoils no other.
        line = "\n" + json.dumps([path.relative_to(self.folder).as_posix(), *entry])
        with disk.told_of(self.folder / self.file):
            handle = os.open(self.folder / self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(handle, line.encode())  # whole, or after the others' lines: O_APPEND
            finally:
                os.close(handle)


class Manifest:
    """What is noted of the files in a folder.

    Args:
        folder: The folder; without a manifest none of its files is ours.

    Raises:
        InputError: the manifest cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._entries: dict[str, list[tuple[int, int, str, Any]]] = {}
        for file in sorted(folder.glob(FILES)):
            for name, size, changed, found, made_from in _entries(file):
                self._entries.setdefault(name, []).append((size, changed, found, made_from))

    def state(self, path: Path, made_from: Any) -> State:
        """What has become of a file, see `State`.

        Args:
            path: The file, below the folder.
            made_from: What it would be made from now.
        """
        try:
            size, changed = identity(path)
        except InputError:
            return "missing"
        known = [entry for entry in self._own(path) if entry[0] == size]
        ours = [entry for entry in known if entry[1] == changed]
        if not ours and any(entry[2] for entry in known):  # a copy of the folder has other dates
            found = digest(path)
            ours = [entry for entry in known if entry[2] == found]
        if not ours:
            return "changed"
        return "fresh" if any(entry[3] == made_from for entry in ours) else "stale"

    def digest(self, path: Path) -> str:
        """The digest of a file that is there, without reading it where it is as it was written."""
        size, changed = identity(path)
        noted = [entry[2] for entry in self._own(path) if entry[:2] == (size, changed)]
        return noted[-1] if noted else digest(path)

    def _own(self, path: Path) -> list[tuple[int, int, str, Any]]:
        return self._entries.get(path.relative_to(self.folder).as_posix(), [])


def _entries(path: Path) -> Iterator[tuple[str, int, int, str, Any]]:
    """The manifest's lines; of one that was torn, and whose file so passes for the user's, nothing."""
    with disk.open_regular(path, "manifest") as file:
        for line in file:
            with contextlib.suppress(ValueError, RecursionError):
                entry = json.loads(line)
                if isinstance(entry, list) and [type(value) for value in entry[:4]] == [str, int, int, str]:
                    name, size, changed, found, *rest = entry
                    yield name, size, changed, found, rest[0] if rest else None
