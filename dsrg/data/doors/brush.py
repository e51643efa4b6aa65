"""Label Studio's code for what is painted with a brush, which it takes from the library rle-pack of thi.ng/umbrella.

Bits, the highest first: 32 for the number n of values, 5 for the bits w of a value less one, four times 4 for the bits
of a count less one. Then, until there are n values: one that is 1 for a run and 0 for single values, two that choose
among the four, so many for the count less one, and w for the run's value, or w for each of the single ones. The values
are those of an RGBA picture row by row; an object is where its fourth channel is not 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SIZES = (3, 4, 8, 16)
"""Bits of a count, to choose among, as Label Studio's own writer has them."""


def pack(part: np.ndarray) -> bytes:
    """The code of a binary mask, (H, W) bool: white and opaque on black, as Label Studio's own writer has it."""
    values = part.ravel()
    starts = np.flatnonzero(np.diff(values, prepend=~values[:1]))
    lengths = 4 * np.diff(starts, append=len(values))  # of the four channels
    bits = [f"{4 * len(values):032b}{8 - 1:05b}", *(f"{size - 1:04b}" for size in SIZES)]
    for length, value in zip(lengths.tolist(), values[starts].tolist(), strict=True):
        while length > 0:
            count = min(length, 2 ** SIZES[-1])
            choice, size = next((number, size) for number, size in enumerate(SIZES) if count <= 2**size)
            bits.append(f"1{choice:02b}{count - 1:0{size}b}{255 * value:08b}")
            length -= count
    joined = "".join(bits)
    filled = len(joined) // 8 + 1  # one byte too many where the last is full, as theirs
    return int(joined.ljust(8 * filled, "0"), 2).to_bytes(filled, "big")


def unpack(code: Sequence[int], pixels: int) -> np.ndarray:
    """The lengths of the runs of pixels that are not the object's and that are, in turn, row by row.

    The picture itself is never made, so a few bytes cannot ask for much memory.

    Args:
        code: The bytes, 0..255.
        pixels: Of the picture, width times height.

    Returns:
        (n,) int64 that add up to `pixels`.

    Raises:
        ValueError: these are no bytes, they end early, or they hold another number of pixels.
    """
    bits = _Bits(bytes(code))
    if bits.read(32) != 4 * pixels:
        raise ValueError("its brush is of another size than its photograph")
    width = bits.read(5) + 1
    sizes = [bits.read(4) + 1 for _ in range(4)]
    values: list[int] = []
    counts: list[int] = []
    filled = 0
    while filled < 4 * pixels:
        is_run = bits.read(1)
        count = bits.read(sizes[bits.read(2)]) + 1
        filled += count
        if is_run:
            values.append(bits.read(width))
            counts.append(count)
        else:
            values += [bits.read(width) for _ in range(count)]
            counts += [1] * count
    if filled != 4 * pixels:
        raise ValueError("its brush holds more than its photograph")
    ends = np.cumsum(np.array(counts, np.int64)) // 4  # pixels whose fourth value has come by then
    lengths = np.diff(ends, prepend=0)
    is_object = np.array(values, np.int64) > 0
    return _merge(lengths[lengths > 0], is_object[lengths > 0])


def _merge(lengths: np.ndarray, is_object: np.ndarray) -> np.ndarray:
    """Runs in turn, beginning with one that is not the object's, which may be empty."""
    starts = np.flatnonzero(np.diff(is_object, prepend=~is_object[:1]))
    merged = np.add.reduceat(lengths, starts)
    return np.concatenate([[0], merged]) if is_object[0] else merged


class _Bits:
    """Bytes read bit by bit, the highest first."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._place = 0

    def read(self, count: int) -> int:
        """The next bits, 32 at most, as a number; raises ValueError where there are too few."""
        start, end = self._place, self._place + count
        if end > 8 * len(self._content):
            raise ValueError("its brush ends early")
        self._place = end
        last = (end + 7) // 8
        word = int.from_bytes(self._content[start // 8 : last], "big")
        return (word >> (8 * last - end)) & ((1 << count) - 1)
