"""Photographs from strangers: read within bounds, upright, without transparency, and no larger than is of use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from dsrg.errors import InputError
from dsrg.files import pictures

FORMATS = ("JPEG", "PNG", "WebP")
"""Those of `pictures.FORMATS` that are taken."""
ENDINGS = (*pictures.JPEG_EXTENSIONS, ".png", ".webp")
"""File name endings of these formats."""
MAX_PIXELS = 50_000_000
"""Largest upload, refused before it is decoded: smaller than `pictures.MAX_PIXELS`, for many may come at a time."""
MAX_BYTES = 25_000_000
"""Largest file, in bytes."""
LARGEST_UPLOAD = 4 * MAX_BYTES
"""Largest file that is received, in bytes. Gradio says no more than 'Error' of a larger one; up to there `read_upload`
says what is wrong."""


@dataclass(frozen=True, eq=False)
class Upload:
    """A photograph as the networks get it."""

    name: str
    """The file's name without folder and ending."""
    picture: np.ndarray
    """(H, W, 3) uint8, RGB."""
    full_size: tuple[int, int]
    """Height and width, upright, of the file, which may be larger than the picture."""


def read_upload(path: str | Path, *, long_side: int) -> Upload:
    """Read a photograph that anybody may have made.

    It is read as any photograph (`pictures.read_upright`): its EXIF orientation is applied, transparency is laid over
    white, and grey becomes RGB. What is larger than `long_side` is made smaller (bicubic, antialiased); a smaller one
    stays.

    Args:
        path: The file.
        long_side: Largest side of the picture, in pixels.

    Raises:
        InputError: the file is missing, is no JPEG, PNG or WebP, is broken or too large, has more than 8 bits a channel
            or several pictures. The sentence has the file's name alone, not its folder, for it is shown to the
            stranger.
    """
    path = Path(path)
    if path.is_file() and path.stat().st_size > MAX_BYTES:
        size = f"{path.stat().st_size / 1e6:.1f} MB"
        raise InputError(
            f"{path.name}: is {size} large, but at most {MAX_BYTES / 1e6:g} MB are taken; make it smaller."
        )
    try:
        upright = pictures.read_upright(path, formats=FORMATS, max_pixels=MAX_PIXELS, max_bytes=MAX_BYTES)
    except InputError as error:
        sentence = str(error).replace(str(path), path.name)
        if error.kind == "photograph missing":
            sentence = f"{path.name}: the photograph does not exist; choose another."
        elif error.kind == "photograph unreadable":
            sentence = f"{path.name}: is not a photograph that can be read; choose a JPEG, PNG or WebP file."
        raise InputError(sentence, error.kind) from None
    full_size = (upright.height, upright.width)
    share = long_side / max(full_size)
    if share < 1:
        upright = upright.resize([max(1, round(side * share)) for side in upright.size], Image.Resampling.BICUBIC)
    return Upload(path.stem, np.array(upright), full_size)


def enlarge_labels(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Labels at the size of the file that the picture came from.

    Each label's own picture of ones and zeros is enlarged bilinearly (pixel centres on pixel centres, as photographs
    are), and each pixel takes the largest, the lowest of equal ones: edges become straight where repeating pixels
    would make stairs.

    Args:
        labels: (h, w) uint8.
        size: (H, W).

    Returns:
        (H, W) uint8; the same labels where the size is the same.
    """
    if labels.shape == size:
        return labels
    result, largest = np.zeros(size, np.uint8), np.full(size, -1, np.float32)
    for label in np.unique(labels):
        weight = torch.from_numpy((labels == label).astype(np.float32))[None, None]
        share = functional.interpolate(weight, size, mode="bilinear", align_corners=False)[0, 0].numpy()
        wins = share > largest
        result[wins], largest[wins] = label, share[wins]
    return result
