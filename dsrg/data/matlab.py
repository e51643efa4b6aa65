"""MATLAB's files, as SBD and ImageNet's development kit have them, read within bounds."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Literal

import numpy as np

from dsrg.errors import InputError
from dsrg.files import disk

LARGEST_MAT = 8 * disk.MIB
"""Bytes of a file; the largest annotation of SBD has 50 KB, ImageNet's list of synsets 0.3 MB."""
LARGEST_UNPACKED = 64 * disk.MIB
"""Bytes of one of its parts when unpacked; a mask of 500 x 500 has 0.25 million."""


def read_mat(path: Path, name: str, what: str) -> np.ndarray:
    """Read one variable of a MATLAB file.

    Args:
        path: The file.
        name: The variable's name.
        what: What the file is, for the error.

    Raises:
        InputError: the file is broken or too large, or has no such array.
    """
    import scipy.io  # here, for it takes longer than all else that prepare-data imports

    content = disk.read_bytes(path, what, limit=LARGEST_MAT)
    try:
        _check_unpacked(content)
        found = scipy.io.loadmat(io.BytesIO(content), variable_names=[name])[name]
    except Exception as error:  # MatReadError, zlib.error, KeyError, ValueError, OSError: every way to be broken
        raise InputError(f"{path}: not a readable {what} ({error}); unpack the archive anew.") from None
    if not isinstance(found, np.ndarray):
        raise InputError(f"{path}: not a readable {what} ({name} is no array); unpack the archive anew.")
    return found


def _check_unpacked(content: bytes) -> None:
    """Refuse a MATLAB file that unpacks to more than any of ours: scipy asks for what it says before it looks.

    Behind a head of 128 bytes each element has its kind (15: packed with zlib) and length in four bytes each.
    """
    order: Literal["little", "big"] = "big" if content[126:128] == b"MI" else "little"
    place = 128
    while place + 8 <= len(content):
        kind, length = (int.from_bytes(content[start : start + 4], order) for start in (place, place + 4))
        place += 8
        if kind == 15:
            unpacked = zlib.decompressobj().decompress(content[place : place + length], LARGEST_UNPACKED + 1)
            if len(unpacked) > LARGEST_UNPACKED:
                raise ValueError(f"it unpacks to more than {LARGEST_UNPACKED:,} bytes")
        place += length
