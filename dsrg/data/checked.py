"""Decoding every file before anything is written, and a record of what was decoded, as git's index is one, so that a
run's next stage need not."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import PIL
from tqdm import tqdm

from dsrg import __version__
from dsrg.data.voc import Photo, VocFolder, no_object
from dsrg.errors import InputError
from dsrg.files import disk, pictures
from dsrg.labels import shows_object

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
        self._here = Path.cwd()
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
            place = os.path.join(self._here, path)  # noqa: PTH118 - `/` takes five times as long
            facts += [place, state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]
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


def check_files(
    folder: VocFolder,
    photos: Sequence[Photo],
    *,
    masks: Path | None,
    boxes: bool = False,
    threads: int = 4,
    checked: Checked | None = None,
) -> None:
    """Decode every file once, so that a broken one stops the run before it has written anything.

    Args:
        folder: The data folder.
        photos: What to read.
        masks: Folder of masks to read too and to compare in size with the photographs.
        boxes: Read the XML annotations' boxes too.
        threads: Files to read at a time; decoding leaves Python's lock.
        checked: Files that need no second reading, and where to note those that are read; not asked with boxes.

    Raises:
        InputError: the first file that is broken, of the wrong size, or holds an index out of range; or no mask
            shows an object.
    """
    keys: list[bytes | None] = [None] * len(photos)
    if checked is not None and not boxes:
        files = ((photo.path, masks and pictures.mask_file(masks, photo.id)) for photo in photos)
        keys = [checked.key(*pair, len(folder.classes)) for pair in files]
    shown = [checked.shows(key) if checked else None for key in keys]
    left = [place for place, known in enumerate(shown) if known is None]

    def read(place: int) -> bool:
        _, mask = folder.read(photos[place], masks=masks, boxes=boxes)  # and drop what was read
        return mask is not None and shows_object(mask)

    with ThreadPoolExecutor(threads) as pool:
        # disable=None: on a terminal only, for a log to hold the error alone.
        quiet = True if len(left) < 100 else None
        found = tqdm(pool.map(read, left), "checking files", len(left), leave=False, disable=quiet)
        for place, known in zip(left, found, strict=True):
            shown[place] = known
            if checked is not None:
                checked.remember(keys[place], known)
    if masks is not None and photos and not any(shown):
        raise no_object(masks, len(photos))


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
