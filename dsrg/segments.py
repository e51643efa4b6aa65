"""Segments of any segmenter vote a class each, so that a mask takes over their edges.

Chen et al., "Segment Anything Model (SAM) Enhanced Pseudo Labels for Weakly Supervised Semantic Segmentation" (SEPL,
2023), give each of SAM's masks the class whose pseudo-label it overlaps most, and keep it where enough of the mask, or
of that pseudo-label, lies in the overlap. Here background has a vote too, so that segments correct a mask both ways,
and what no segment decides on stays as it was.

Shapes: a mask is (H, W) uint8, class index or 255; a segment is the (n,) places of its pixels in the mask's rows, one
after another, each once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dsrg.labels import BACKGROUND, IGNORE

WHOLE = 0.95
"""A segment of more than this share of the photograph tells nothing apart; SAM's own data set leaves such out (Kirillov
et al., "Segment Anything", ICCV 2023, appendix B)."""


def vote(
    mask: np.ndarray, segments: Sequence[np.ndarray], *, share: float = 0.5, region_share: float | None = None
) -> np.ndarray:
    """The mask after a vote in each segment.

    With n_c the pixels of class c in a segment of n pixels, N_c those in the mask, and c the foreground class of which
    the segment has most (of equal ones the lowest), the segment takes

    - c, where n_c > share n, or where n_c >= region_share N_c and the segment is at most `WHOLE` of the photograph;
    - else background, where n_0 > share n;
    - else nothing: its pixels keep their labels.

    Unlabelled pixels count in n alone. All votes are on the mask as it was. Where segments that have decided overlap,
    the smallest has the pixel, and of equal ones the last.

    Args:
        mask: (H, W) uint8.
        segments: Each (n,) integers in 0..H W - 1; n may be 0. They may overlap, and need not cover the mask. Each is
            asked for twice, so that they may be decoded when they are.
        share: In 0..1; below 0.5 a class can win against more background.
        region_share: In 0..1; None counts shares of the segment alone.

    Returns:
        (H, W) uint8, of labels that the mask has.
    """
    regions = np.bincount(mask.ravel(), minlength=IGNORE + 1)
    taken = np.full(len(segments), IGNORE, np.uint8)
    areas = np.zeros(len(segments), np.int64)
    flat = mask.ravel()
    for number, places in enumerate(segments):
        counts = np.bincount(flat[places], minlength=IGNORE + 1)
        areas[number] = places.size
        taken[number] = _winner(counts, regions, share, region_share)
    voted = flat.copy()
    for number in np.argsort(-areas, kind="stable"):
        if taken[number] != IGNORE:
            voted[segments[number]] = taken[number]
    return voted.reshape(mask.shape)


def of_labels(labels: np.ndarray) -> list[np.ndarray]:
    """The segments of a label map, in the order of their labels.

    Args:
        labels: (H, W) of a whole-number type, not negative; 0 is no segment.
    """
    flat = labels.ravel()
    order = np.argsort(flat, kind="stable")
    starts = np.flatnonzero(np.diff(flat[order], prepend=0))
    return np.split(order, starts)[1:]


def _winner(counts: np.ndarray, regions: np.ndarray, share: float, region_share: float | None) -> int:
    """The label that a segment takes, 255 for none, of (256,) pixels by label in it and in the whole mask."""
    area, most = int(counts.sum()), BACKGROUND + 1 + int(counts[BACKGROUND + 1 : IGNORE].argmax())
    count = int(counts[most])
    if count and count > share * area:
        return most
    apart = count and area <= WHOLE * int(regions.sum())
    if region_share is not None and apart and count >= region_share * int(regions[most]):
        return most
    return BACKGROUND if counts[BACKGROUND] > share * area else IGNORE
