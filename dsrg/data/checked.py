"""What a run has decoded already, so that its next stage need not: a record beside the files, as git's index is one."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import PIL

from dsrg import __version__
from dsrg.errors import InputError
from dsrg.files import disk

VERSION = 1
"""Of the check: raise it where the check refuses more than it did."""
SETTLED = 2.0
"""Seconds for which a file must have lain unchanged to be remembered: within one tick of a file system's clock it may
be replaced by another of its size and time. The coarsest clock, FAT's, ticks every 2 s."""
_HEAD = f"dsrg checked {VERSION}, {__version__}, Pillow {PIL.__version__}\n".encode()
_KEY = 16
_ROW = _KEY + 1
_LIMIT = 256 * disk.MIB  # 15 million photographs


class Checked:
    """The photographs that were found sound, each with its mask.

    A row of the record is a hash and one byte: what the check found. The hash is of all that the finding rests on: the
    paths of the photograph and its mask, their sizes, times and inodes, and the number of classes. A file that is
    touched or replaced so has no row, and is read again.

    Args:
        path: The record. One that is missing, broken, or of another version of the check, of dsrg or of Pillow is as
            good as none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = _read(path)
        self._found: dict[bytes, bool] = {}

    def key(self, photo: Path, mask: Path | None, num_classes: int) -> bytes | None:
        """The hash of two files as they are now; ask for it before they are read, so that what comes later shows.

        Args:
            photo: The photograph; links are followed.
            mask: Its mask; None where it is not read.
            num_classes: C, which bounds the mask's indices.

        Returns:
            None where a file cannot be asked, or has changed so lately that another change might not show.
        """
        now = time.time()
        facts: list[object] = [num_classes]
        for path in (photo, mask):
            if path is None:
                continue
            try:
                state = path.stat()
            except (OSError, ValueError):
                return None
            # A copy may keep its source's mtime; its ctime is its own.
            if max(state.st_mtime, state.st_ctime) > now - SETTLED:
                return None
            facts += [str(Path.cwd() / path), state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]
        return hashlib.blake2b(repr(facts).encode("utf-8", "backslashreplace"), digest_size=_KEY).digest()

    def shows(self, key: bytes | None) -> bool | None:
        """Whether the mask of two files shows an object, False where none was read; None where they must be read."""
        if key is None or (shown := self._known.get(key)) is None:
            return None
        self._found[key] = shown
        return shown

    def remember(self, key: bytes | None, shown: bool) -> None:
        """Note that two files are sound, and whether the mask shows an object."""
        if key is not None:
            self._found[key] = shown

    def write(self) -> None:
        """Write the record of what this process found, if it says more or less than the file does.

        Raises:
            InputError: it cannot be written.
        """
        if self._found and self._found != self._known:
            rows = b"".join(key + bytes([shown]) for key, shown in self._found.items())
            disk.write_bytes(self._path, _HEAD + _sum(rows) + rows)
            self._known = dict(self._found)


def _sum(rows: bytes) -> bytes:
    return hashlib.blake2b(rows, digest_size=_KEY).digest()


def _read(path: Path) -> dict[bytes, bool]:
    """The record's rows; none where it cannot be trusted, for making it anew costs time alone."""
    try:
        content = disk.read_bytes(path, "record of checked files", limit=_LIMIT)
    except InputError:
        return {}
    rows = content[len(_HEAD) + _KEY :]
    if content[: len(_HEAD) + _KEY] != _HEAD + _sum(rows) or len(rows) % _ROW:
        return {}
    return {rows[at : at + _KEY]: bool(rows[at + _KEY]) for at in range(0, len(rows), _ROW)}
