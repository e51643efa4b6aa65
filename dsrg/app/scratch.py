"""A folder for what visitors of the page send: of one process, gone with it, and bounded."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

from dsrg.files import locks

PREFIX = "dsrg-app-"
"""Begins the folders' names."""


@contextlib.contextmanager
def scratch(base: Path) -> Iterator[Path]:
    """A new folder below `base`, locked by this process and deleted with the `with` block.

    A process that is killed deletes nothing, but its lock is gone: the next one deletes its folder.
    """
    remove_orphans(base)
    with locks.locked_folder(base, PREFIX) as folder:
        yield folder


def remove_orphans(base: Path) -> None:
    """Delete the folders below `base` that no living process of this user has locked."""
    for folder in base.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            state = folder.lstat()
            if not locks.HAS_LOCKS or not stat.S_ISDIR(state.st_mode) or state.st_uid != os.getuid():
                continue
            handle = os.open(folder, os.O_RDONLY)
            try:
                if locks.lock(handle):
                    shutil.rmtree(folder)
            finally:
                os.close(handle)


class Room:
    """Keeps a folder within bounds: the oldest files go first.

    What is read is forgotten soon, so an old file is one that nobody waits for; refusing new ones would let a single
    visitor close the page to all others.
    """

    most_bytes = 2**30
    """Bytes that the folder may hold."""
    most_files = 1000
    """Files that it may hold."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._reserved: list[int] = []
        self._lock = threading.Lock()

    def tidy(self) -> None:
        """Delete the oldest files until the folder is within its bounds."""
        with self._lock:
            self._make_room()

    @contextlib.contextmanager
    def reserved(self, size: int) -> Iterator[bool]:
        """Room for `size` bytes, within the `with` block, which writes one file or more.

        Yields:
            Whether there is room, beside what others have reserved.
        """
        with self._lock:
            self._reserved.append(size)
            there = sum(self._reserved) <= self.most_bytes and len(self._reserved) <= self.most_files
            if there:
                self._make_room()
        try:
            yield there
        finally:
            with self._lock:
                self._reserved.remove(size)
                self._make_room()

    def _make_room(self) -> None:
        files = sorted(_files(self.folder))
        size, count = sum(file[1] for file in files), len(files)
        for _, own, path in files:
            if size + sum(self._reserved) <= self.most_bytes and count + len(self._reserved) <= self.most_files:
                return
            with contextlib.suppress(OSError):
                path.unlink()
                path.parent.rmdir()  # fails where other files are in it
            size, count = size - own, count - 1


def _files(folder: Path) -> Iterator[tuple[int, int, Path]]:
    """Time of change, size and path of every file below a folder; those that go meanwhile are left out."""
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent) / name
            with contextlib.suppress(OSError):
                state = path.lstat()
                yield state.st_mtime_ns, state.st_size, path
