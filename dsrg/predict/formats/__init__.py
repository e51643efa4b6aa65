"""The formats of masks, one file each, with a line each in `dsrg.tables.FORMATS`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dsrg.files import disk
from dsrg.files.pictures import jpeg


class Drawn(NamedTuple):
    """One picture and its mask, for a format with a file for each."""

    picture: np.ndarray
    """(H, W, 3) uint8."""
    mask: np.ndarray
    """(H, W) uint8 class indices."""
    classes: tuple[str, ...]
    """The C names, background first."""
    image: str
    """The picture's path from the folder of the format's file."""
    tolerance: float
    """How far a polygon may leave the mask's outline, in pixels."""
    photo: Path | None
    """The photograph's file; None of a video's frame."""


class Named(NamedTuple):
    """The mask of one of many pictures."""

    name: str
    """What the picture's own files are called, without ending; '/' between folders."""
    file_name: str
    """The picture's path from the folder that the user named."""
    mask: np.ndarray
    """(H, W) uint8 class indices."""


class Album(NamedTuple):
    """All pictures together, for a format of one file."""

    classes: tuple[str, ...]
    """The C names, background first."""
    pictures: Iterable[Named]
    """To be gone through once; none where a format is to say whether it can hold the classes."""
    tolerance: float = 0.0
    """As `Drawn` has it."""
    image_url: str = ""
    """What the names of pictures begin with in a tool that fetches them."""


def photograph(drawn: Drawn) -> bytes:
    """A format's own copy of the photograph: its file, byte for byte; a frame as a JPEG."""
    return jpeg(drawn.picture) if drawn.photo is None else disk.read_bytes(drawn.photo, "photograph", limit=None)
