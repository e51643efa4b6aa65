"""Regions of annotations painted into masks, with pycocotools: polygons and run-length encodings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as rle_masks

from dsrg.errors import InputError
from dsrg.files.pictures import MAX_PIXELS, MAX_SIDE
from dsrg.labels import BACKGROUND


class Runs(NamedTuple):
    """A mask as run lengths row by row, as annotation tools write what is painted; COCO's go column by column."""

    lengths: np.ndarray
    """(n,) int64 pixels that are not the object's and that are, in turn."""
    box: tuple[int, int, int, int]
    """Left, top, width and height of what they fill, in pixels."""


Segmentation = list[np.ndarray] | dict[str, Any] | Runs
"""Polygons, each (2n,) float64 x, y, x, y, ... in pixels; a run-length encoding as pycocotools takes it; or runs."""


class Region(NamedTuple):
    """What one annotation paints."""

    class_index: int
    """255 for void."""
    segmentation: Segmentation
    is_behind: bool = False
    """It lies behind all others, and so covers background alone."""


def paint(
    regions: Sequence[Region], size: tuple[int, int], where: str = "the annotation", *, in_order: bool = False
) -> np.ndarray:
    """Paint the regions of a photograph into one mask.

    What lies behind (crowds) comes first, so it covers background alone; then the objects in falling order of their
    area in pixels: where two overlap, the pixel is the smaller one's, which in a photograph mostly is the one in front.

    Args:
        regions: What to paint.
        size: Width and height of the photograph in pixels.
        where: The file and photograph, for the error.
        in_order: Paint the objects in the order of the regions instead, the last on top.

    Returns:
        (H, W) uint8: class index, 0 for background, 255 for void.

    Raises:
        InputError: a run-length encoding is broken or of another size, or the photograph is larger than any.
    """
    width, height = size
    if max(size) > MAX_SIDE or width * height > MAX_PIXELS:
        raise InputError(
            f"{where}: is {width} x {height} pixels, more than a photograph may have; correct the annotation."
        )
    canvas = np.full((height, width), BACKGROUND, np.uint8)
    encoded = [encode(region.segmentation, size, where) for region in regions]
    areas = np.array([0 if in_order else int(rle_masks.area(one)) for one in encoded])
    is_behind = np.array([region.is_behind for region in regions], bool)
    for position in np.lexsort((-areas, ~is_behind)):
        canvas[decode(encoded[position])] = regions[position].class_index
    return canvas


def encode(segmentation: Segmentation, size: tuple[int, int], where: str) -> dict[str, Any]:
    """A segmentation as pycocotools' compressed run-length encoding, checked, so that `decode` cannot fail.

    Args:
        segmentation: Polygons, run lengths, or such an encoding.
        size: Width and height of the photograph in pixels.
        where: The file and photograph, for the error.

    Raises:
        InputError: it is broken or of another size.
    """
    try:
        return _encode(segmentation, *size)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise InputError(f"{where}: a segmentation cannot be decoded ({error}); correct the annotation.") from None


def decode(encoded: dict[str, Any]) -> np.ndarray:
    """The pixels of what `encode` gives, (H, W) bool."""
    flags: np.ndarray = rle_masks.decode(encoded).view(bool)
    return flags


def _encode(segmentation: Segmentation, width: int, height: int) -> dict[str, Any]:
    if isinstance(segmentation, Runs):
        filled: dict[str, Any] = rle_masks.encode(_fill(segmentation, width, height))
        return filled
    if isinstance(segmentation, list):
        merged: dict[str, Any] = rle_masks.merge(rle_masks.frPyObjects(segmentation, height, width))
        return merged
    if list(segmentation["size"]) != [height, width]:
        raise ValueError(f"its size is {segmentation['size']}, not [{height}, {width}]")
    counts = segmentation["counts"]
    lengths = np.array(counts, np.float64) if isinstance(counts, list) else unpack_runs(counts)
    # pycocotools leaves what the runs do not reach as it happens to be in memory.
    if lengths.sum() != height * width or lengths.min() < 0 or (lengths != np.floor(lengths)).any():
        raise ValueError("its counts do not add up to the photograph's pixels")
    if not isinstance(counts, list):
        return segmentation
    encoded: dict[str, Any] = rle_masks.frPyObjects(segmentation, height, width)
    return encoded


def _fill(runs: Runs, width: int, height: int) -> np.ndarray:
    """(H, W) uint8 in columns, 1 where the runs are."""
    left, top, across, down = runs.box
    if min(left, top) < 0 or min(across, down) < 1 or left + across > width or top + down > height:
        raise ValueError(f"its box {list(runs.box)} does not lie in {width} x {height} pixels")
    if runs.lengths.size == 0 or runs.lengths.min() < 0 or int(runs.lengths.sum()) != across * down:
        raise ValueError("its runs do not add up to its box")
    canvas = np.zeros((height, width), np.uint8, order="F")
    flags = (np.arange(runs.lengths.size) % 2).astype(np.uint8)
    canvas[top : top + down, left : left + across] = np.repeat(flags, runs.lengths).reshape(down, across)
    return canvas


def unpack_runs(counts: str | bytes) -> np.ndarray:
    """The lengths of the runs in a compressed run-length encoding.

    Each is five bits a character, the lowest first, in characters from '0' on, where 32 says that more follow; from the
    fourth on it is the difference from the length before the last (rleToString in pycocotools' maskApi.c).
    """
    codes = np.frombuffer(counts.encode() if isinstance(counts, str) else counts, np.uint8).astype(np.int64) - 48
    last = codes & 32 == 0
    if not codes.size or codes.min() < 0 or codes.max() > 63 or not last[-1]:
        raise ValueError("its counts are no run-length encoding")
    starts = np.concatenate([[0], np.flatnonzero(last)[:-1] + 1])
    widths = np.diff(np.append(starts, codes.size))
    if widths.max() > 12:
        raise ValueError("its counts are too long")
    places = 5 * (np.arange(codes.size) - np.repeat(starts, widths))
    lengths = np.add.reduceat((codes & 31) << places, starts)
    lengths -= np.where(codes[last] & 16, np.int64(1) << (5 * widths), 0)  # two's complement
    for first in (1, 2):
        lengths[first::2] = np.cumsum(lengths[first::2])
    return lengths
