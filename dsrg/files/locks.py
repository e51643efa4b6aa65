"""Who is writing: temporary files and folders are locked for as long as a process works on them.

The locks are the kernel's (flock), which lets go of them when a process dies, however it dies. So what is not locked
was left behind, and may be removed at any age; no clock has to be trusted.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import socket
import sys
import tempfile
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

from dsrg.errors import InputError

if sys.platform != "win32":
    import fcntl

HAS_LOCKS = sys.platform != "win32"
"""Whether this system has flock. Without it an open file cannot be removed or renamed, which is a lock of a kind."""
LOCK_FILE = ".lock"
"""In a locked folder: says which process works there. It stays, for a file that is removed locks nothing."""
DAY = 86_400
"""Seconds after which a temporary file counts as left behind where the file system knows no locks (some NFS)."""
_TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}\.tmp")


def lock(handle: int, *, shared: bool = False) -> bool | None:
    """Lock an open file or folder until it is closed: True; False where another process has; None without locks.

    Args:
        handle: The open file or folder.
        shared: Admit others that lock it so.
    """
    if sys.platform == "win32":
        return None
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def open_temporary(path: Path) -> tuple[int, str]:
    """A new file beside `path`, open and locked: its handle and its name, which `remove_leftovers` knows.

    Raises:
        OSError: the folder cannot be written to.
    """
    while True:
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:40]}.", suffix=".tmp", dir=path.parent)
        # Another process that tidies up may have come between the two lines, and removes the file.
        if lock(handle) is not False and os.fstat(handle).st_nlink:
            return handle, name
        os.close(handle)


def temporary_name(name: str) -> str:
    """A temporary name for the link `name`, which has no lock; `remove_leftovers` knows it."""
    return f".{name[:40]}.{secrets.token_hex(4)}.tmp"


def temporary_folder(path: Path) -> contextlib.AbstractContextManager[Path]:
    """A new folder beside `path`, locked and known as `open_temporary`'s files are; see `locked_folder`."""
    return locked_folder(path.parent, f".{path.name[:40]}.", ".tmp")


@contextlib.contextmanager
def locked_folder(place: Path, prefix: str, suffix: str = "") -> Iterator[Path]:
    """A new folder in `place`, locked; it is removed at the end.

    Raises:
        OSError: `place` cannot be written to.
    """
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, suffix=suffix, dir=place))
        if not HAS_LOCKS:
            break
        with contextlib.suppress(FileNotFoundError):  # as in `open_temporary`
            handle = os.open(folder, os.O_RDONLY)
            if lock(handle) is not False and folder.is_dir():
                break
            os.close(handle)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if HAS_LOCKS:
            os.close(handle)


def is_leftover(name: str) -> bool:
    """Whether a file's name is one that `open_temporary` gives."""
    return _TEMPORARY.fullmatch(name) is not None


def remove_leftovers(folder: Path, *, deep: bool = False) -> None:
    """Remove temporary files (and folders named so) that no process is writing any more.

    Args:
        folder: Where they lie; may be missing.
        deep: Look into its folders too.
    """
    for place, folders, files in os.walk(folder):
        for name in filter(is_leftover, (*folders, *files)):
            _remove_dead(Path(place, name))
        folders[:] = [name for name in folders if deep and not is_leftover(name)]


def _remove_dead(path: Path) -> None:
    try:
        if path.is_symlink():
            path.unlink()
            return
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError:  # gone meanwhile, or another user's
        return
    try:
        held = lock(handle)
        old = time.time() - os.fstat(handle).st_mtime > DAY
        if held or (held is None and old and HAS_LOCKS):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    except OSError:
        pass
    finally:
        os.close(handle)


class FolderLock:
    """A folder that this process alone writes to, until this object is let go or the process ends.

    Args:
        folder: The folder.
        shared: Others that lock it so write there too: the shards of one command.

    Raises:
        InputError: another process works there, or the folder cannot be written to.
    """

    def __init__(self, folder: Path, *, shared: bool = False) -> None:
        self._handle = -1
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise InputError(
                f"{folder / LOCK_FILE}: cannot be written ({reason}); check the folder and its permissions."
            ) from None
        if lock(handle, shared=shared) is False:
            with os.fdopen(handle, "rb") as file:
                owner = file.read(200).decode("ascii", "replace").strip()
            raise InputError(
                f"{folder}: is being written by {owner or 'another process'}; wait for it to end, or choose another "
                "folder."
            )
        os.ftruncate(handle, 0)
        os.write(handle, f"process {os.getpid()} on {ascii(socket.gethostname())[1:-1]}\n".encode())
        self._handle = handle
        _held.add(self)

    def release(self) -> None:
        """Let other processes write to the folder."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    __del__ = release


_held: weakref.WeakSet[FolderLock] = weakref.WeakSet()
_by_folder: weakref.WeakValueDictionary[Path, FolderLock] = weakref.WeakValueDictionary()


def lock_folder(folder: Path, *, shared: bool = False) -> FolderLock:
    """The lock of a folder, one for all who ask for it in this process; keep it for as long as you write.

    Args:
        folder, shared: As in `FolderLock`.

    Raises:
        InputError: another process works there, or the folder cannot be written to.
    """
    key = folder.resolve()
    held = _by_folder.get(key)
    if held is None:
        held = _by_folder[key] = FolderLock(folder, shared=shared)
    return held


def _let_go_in_child() -> None:
    """A forked child (a worker of the data loader) would hold its parent's locks beyond the parent's death."""
    for held in list(_held):
        held.release()
    _by_folder.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_in_child)
