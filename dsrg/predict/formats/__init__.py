"""The formats of masks, one file each, with a line each in `dsrg.tables.FORMATS`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Drawn(NamedTuple):
    """One picture and its mask, for a format."""

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
