"""Large photographs, which are segmented as a smaller copy, and their class scores enlarged strip by strip.

A network that sees a photograph at some 400 pixels knows no more of one of 12 million pixels than of its copy, and the
CRF takes seconds for each million: docs/benchmarks.md. All others are left as they are, to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

MOST_PIXELS = 2**20
"""Pixels of the largest photograph that is segmented at its own size, and of the copy of a larger one."""
MOST_SCORES = 2**27
"""Class scores, one a class and pixel, that either may have: half a gigabyte of them."""
_LEAST = 33
"""The network sees no side as shorter, in pixels: a line of a million pixels is 33 million to it."""
_STRIP = 2**22
"""Class scores that are enlarged at a time."""


def sentence(count: int) -> str:
    """What a user should know who has `count` such photographs."""
    photographs = "1 large photograph was" if count == 1 else f"{count} large photographs were"
    most = f"{MOST_PIXELS / 1e6:.0f} million pixels at most"
    return f"{photographs} segmented as a copy of {most}, and the mask enlarged."


def copy_size(shape: Sequence[int], num_classes: int, size: int | None = None) -> tuple[int, int]:
    """Height and width at which a photograph of `shape` (H, W, ...) is segmented: its own, or those of the copy.

    Args:
        shape: Its own height and width, in pixels.
        num_classes: C.
        size: Long side that the network is to see; the copy is no smaller.
    """
    height, width = shape[:2]
    pixels = max(height, _LEAST) * max(width, _LEAST)
    if pixels <= MOST_PIXELS and pixels * num_classes <= MOST_SCORES:
        return height, width
    most = min(MOST_PIXELS, MOST_SCORES / num_classes)
    share = min(math.sqrt(most / pixels), most / _LEAST / max(height, width))
    share = min(1.0, max(share, (size or 0) / max(height, width)))
    return max(1, round(height * share)), max(1, round(width * share))


def copy_of(picture: np.ndarray, num_classes: int, size: int | None = None) -> np.ndarray:
    """A photograph (H, W, 3) uint8 as it is segmented: itself, or its copy, antialiased. See `copy_size`."""
    height, width = copy_size(picture.shape, num_classes, size)
    if (height, width) == picture.shape[:2]:
        return picture
    image = Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR)
    return np.array(image)


def in_strips(decide: Callable[..., Tensor], size: Sequence[int], *scores: Tensor) -> Tensor:
    """`decide` on class scores enlarged to `size`, a strip of rows at a time.

    Args:
        decide: From strips of the scores, (C, n, W) each, to their labels (n, W).
        size: H, W.
        scores: (C, h, w) each; enlarged bilinearly, pixel centres on pixel centres, as the photograph was made smaller.

    Returns:
        Labels (H, W).
    """
    height, width = size
    rows = max(1, _STRIP // (len(scores[0]) * width))
    strips = (range(start, min(start + rows, height)) for start in range(0, height, rows))
    return torch.cat([decide(*(_strip(own, height, width, strip) for own in scores)) for strip in strips])


def _strip(scores: Tensor, height: int, width: int, rows: range) -> Tensor:
    """Rows (C, n, width) of the scores (C, h, w) enlarged to height x width."""
    count = scores.shape[1]
    place = (torch.arange(rows.start, rows.stop, device=scores.device) + 0.5) * (count / height) - 0.5
    place = place.clamp(0, count - 1)
    above = place.floor().long()
    weight = (place - above).to(scores.dtype)[:, None]
    mixed = torch.lerp(scores[:, above], scores[:, (above + 1).clamp(max=count - 1)], weight)
    return functional.interpolate(mixed[None], (len(rows), width), mode="bilinear", align_corners=False)[0]
