"""The grid that a network's output lies on, in whole numbers: which sizes of the input fit it, and which come nearest.

A network of output stride s gives (H - 1) // s + 1 cells for H pixels, and cell i sits on pixel s i. Maps are enlarged
corner on corner, the last cell onto the last pixel, and that is its own place where H = s n + 1 alone. Elsewhere every
map would be stretched, by up to s - 1 pixels at the far edge.
"""

from __future__ import annotations

COARSEST = 32
"""The largest output stride. Its sizes, 32 n + 1, fit the finer grids too."""
SMALLEST = COARSEST + 1
"""Least side of a network's input, in pixels: two cells on the coarsest grid. It is on every grid."""


def fits(side: int, stride: int) -> bool:
    """Whether the last cell of an input of `side` pixels sits on its last pixel."""
    return (side - 1) % stride == 0


def nearest(side: float, stride: int) -> int:
    """The side, stride n + 1, that comes nearest to `side` pixels; at least SMALLEST."""
    return max(SMALLEST, stride * round(side / stride) + 1)


def nearest_of_whole(side: int, stride: int) -> int:
    """`nearest` of a whole number of at least SMALLEST - 1 pixels, in whole numbers, which a graph of unknown size
    needs.

    Python rounds a half to the even neighbour, and so must this. Nothing may become negative on the way, not even in
    another order: ONNX divides towards zero.
    """
    return stride * ((side + stride // 2 - 1 + side // stride % 2) // stride) + 1


def nearest_of_share(side: int, longest: int, size: int, stride: int) -> int:
    """The side, stride n + 1, that comes nearest to `side` where `longest` is brought to `size`, as `nearest_of_whole`
    finds it; SMALLEST is not looked at."""
    pixels, whole = side * size, longest * stride
    return stride * ((2 * pixels + whole - 1 + pixels // whole % 2) // (2 * whole)) + 1


def neighbours(side: int, stride: int) -> tuple[int, int]:
    """The next smaller and the next larger side that fit, for one above SMALLEST that does not."""
    below = (side - 1) // stride * stride + 1
    return below, below + stride
