"""Seeds from boxes: outside of every box is background; inside, some way has to tell the object from what is around it.

The ways are lines of `tables.BOXES`: the whole rectangle, its core, or GrabCut, cut several times (Khoreva et al.,
"Simple Does It: Weakly Supervised Instance and Semantic Segmentation", CVPR 2017, whose Box, Box^i and GrabCut+^i they
are; Dai et al., "BoxSup", ICCV 2015). Where boxes overlap the smaller one has the pixel: it is more often in front.

A way sees one box at a time, in a crop around it, and says of each pixel the share of its attempts in which that is the
object. Two thresholds make of this an object, background, or neither (255), as in the seeds of a photograph.

Shapes: a box is x0, y0, x1, y1 in whole pixels, half-open (see `dsrg.boxes`); crops are (h, w, 3) uint8.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from dsrg.labels import BACKGROUND, IGNORE

OBJECT = 1
"""In the states of one box's pixels, beside BACKGROUND and IGNORE."""
MARGIN = 0.4
"""What a crop shows beyond each edge of its box, of the box's side: the background that GrabCut learns."""
JITTER = 0.05
"""How far GrabCut's attempts move each edge of the box outwards at most, of its side."""
_CORES = (1.0, 0.5, 0.25)
"""The attempts' cores, in turn, of the core's area."""
_ITERATIONS = 2
"""Of GrabCut: five give objects of the same IoU."""
_NO_BOX = (0, 0, 0, 0)
"""What GrabCut does not read where a mask tells it where to begin."""
_LEAST = 20
"""Pixels of background, and of the box, below which GrabCut's colour models (five Gaussians each) mean nothing."""


def rectangle(pixels: np.ndarray, box: np.ndarray, *, core: float, cuts: int) -> np.ndarray:
    """Every pixel of the box is the object: (h, w) float32 of 1 in the box, 0 outside."""
    share = np.zeros(pixels.shape[:2], np.float32)
    share[_window(box)] = 1
    return share


def inner(pixels: np.ndarray, box: np.ndarray, *, core: float, cuts: int) -> None:
    """Nothing is known of the box but its core: as where GrabCut fails."""


def grabcut(pixels: np.ndarray, box: np.ndarray, *, core: float, cuts: int) -> np.ndarray | None:
    """The share of `cuts` GrabCuts (Rother et al. 2004) in which each pixel is the object.

    What is outside the box is background, the core of the box is object, and the rest may be either. (Without a core
    four boxes of ten came back empty on voc6, whose animals stand in grass.) Each cut but the first moves the box's
    edges outwards by up to 5 % of its sides, and the cores have all, half and a quarter of `core` in turn: the share
    says how much depends on them.

    The same input gives the same bits: OpenCV's random numbers are set before each cut, ours are the same for each box.

    Args:
        pixels: (h, w, 3) uint8, the box with some background around it.
        box: (4,) in the crop.
        core: Share of the box's area that surely is the object, see `core_of`.
        cuts: Number of GrabCuts.

    Returns:
        (h, w) float32 in [0, 1], 0 outside the box; None where there is too little of the box or around it: a box that
        fills the photograph has no background to learn from.
    """
    height, width = pixels.shape[:2]
    total, count = np.zeros((height, width), np.float32), 0
    generator = np.random.default_rng(0)
    # Outwards alone: of an object that fills its box, a strip inside the box would teach the background its colours.
    farthest = JITTER * np.tile(box[2:] - box[:2], 2) * [-1, -1, 1, 1]
    for attempt in range(cuts):
        moved = box + (generator.uniform(0, 1, 4) * farthest if attempt else 0)
        mask = np.full((height, width), cv2.GC_BGD, np.uint8)
        mask[_window(np.rint(moved).astype(np.int64).clip(0))] = cv2.GC_PR_FGD
        mask[_window(core_of(box, core * _CORES[attempt % len(_CORES)]))] = cv2.GC_FGD
        if min(np.count_nonzero(mask == cv2.GC_BGD), np.count_nonzero(mask != cv2.GC_BGD)) < _LEAST:
            continue
        cv2.setRNGSeed(0)  # k-means starts the colour models with random numbers
        models = np.zeros((1, 65)), np.zeros((1, 65))
        cv2.grabCut(np.ascontiguousarray(pixels), mask, _NO_BOX, *models, _ITERATIONS, cv2.GC_INIT_WITH_MASK)
        total += mask & 1  # GC_FGD and GC_PR_FGD
        count += 1
    if not count:
        return None
    share = np.zeros_like(total)
    share[_window(box)] = total[_window(box)] / count
    return share


def core_of(box: np.ndarray, share: float) -> np.ndarray:
    """The rectangle in the middle of a box that has this share of its area, of the same form; at least one pixel.

    Args:
        box: (4,).
        share: In 0..1.

    Returns:
        (4,) int64.
    """
    middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * math.sqrt(share)
    low = np.minimum(np.rint(middle - half), box[2:] - 1)
    return np.concatenate([low, np.maximum(np.rint(middle + half), low + 1)]).astype(np.int64)


def crop_of(box: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """The part of an image (H, W) in which a box is cut: the box with MARGIN and two pixels around it, (4,) int64."""
    height, width = size
    around = np.ceil((box[2:] - box[:2]) * MARGIN).astype(np.int64) + 2
    return np.concatenate([(box[:2] - around).clip(0), np.minimum(box[2:] + around, [width, height])])


def states(
    share: np.ndarray,
    *,
    foreground: float,
    background: float,
    object_kept: np.ndarray | None = None,
    background_kept: np.ndarray | None = None,
) -> np.ndarray:
    """What each pixel of a crop is: OBJECT above one threshold, BACKGROUND below the other, else IGNORE.

    Args:
        share: (h, w) of the attempts.
        foreground, background: In 0..1, the second at most the first.
        object_kept, background_kept: (h, w) bool of a second witness, who has to agree: where the CRF, given what is
            above `foreground`, says object; and where, given what is not below `background`, it says background.

    Returns:
        (h, w) uint8.

    Raises:
        ValueError: the thresholds are out of order.
    """
    if not 0 <= background <= foreground <= 1:
        raise ValueError(f"background ({background}) must not be above foreground ({foreground}), both in 0..1.")
    is_object, is_background = share > foreground, share < background
    if object_kept is not None:
        is_object &= object_kept
    if background_kept is not None:
        is_background &= background_kept
    found = np.where(is_object, OBJECT, np.where(is_background, BACKGROUND, IGNORE))
    return found.astype(np.uint8)


def checked(found: np.ndarray | None, size: Sequence[int], *, fill: float, core: float) -> np.ndarray:
    """The states of a box's own pixels; those that the core alone gives where what was found cannot be right.

    That is where it leaves no object, or less than `fill` of the box that is not background: whoever draws a box puts
    its edges on the object (Khoreva et al.).

    Args:
        found: (h, w) states; None where nothing could be said.
        size: Height and width of the box, h and w.
        fill: In 0..1.
        core: Share of the box's area that is then the object; the rest is IGNORE.

    Returns:
        (h, w) uint8.
    """
    if found is not None and (found == OBJECT).any() and np.mean(found != BACKGROUND) >= fill:
        return found
    reset = np.full(tuple(size), IGNORE, np.uint8)
    reset[_window(core_of(np.array([0, 0, size[1], size[0]]), core))] = OBJECT
    return reset


def paint(parts: Sequence[np.ndarray], classes: np.ndarray, boxes: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """The seeds of a photograph from the states of its boxes: smaller boxes over larger ones, background around them.

    What a box calls background is left to the larger ones.

    Args:
        parts: For each box, the states of its own pixels.
        classes: (N,) class indices.
        boxes: (N, 4) in the photograph; of equal ones the last counts as the smallest.
        size: (H, W) of the photograph.

    Returns:
        (H, W) uint8, class index or 255 = unlabelled.
    """
    seeds = np.full(tuple(size), BACKGROUND, np.uint8)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    for number in np.argsort(-areas, kind="stable"):
        under, part = seeds[_window(boxes[number])], parts[number]
        under[part == OBJECT] = classes[number]
        under[part == IGNORE] = IGNORE
    return seeds


def allowed(classes: np.ndarray, boxes: np.ndarray, num_classes: int, size: Sequence[int]) -> np.ndarray:
    """Where each class may be: inside of its boxes, background everywhere.

    Args:
        classes: (N,) class indices.
        boxes: (N, 4) whole pixels of the photograph.
        num_classes: C.
        size: (H, W) of the photograph.

    Returns:
        (C, H, W) bool.
    """
    inside = np.zeros((num_classes, *size), bool)
    inside[BACKGROUND] = True
    for index, box in zip(classes, boxes, strict=True):
        inside[index][_window(box)] = True
    return inside


def clip(mask: np.ndarray, classes: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """A mask in which what lies outside of its class's boxes is background; 255 stays.

    Args:
        mask: (H, W) uint8 class indices, 255 = unlabelled.
        classes, boxes: As in `allowed`.

    Returns:
        (H, W) uint8, a new one.
    """
    clipped = np.where(mask == IGNORE, mask, BACKGROUND).astype(np.uint8)
    for index, box in zip(classes, boxes, strict=True):
        own = mask[_window(box)] == index
        clipped[_window(box)][own] = index
    return clipped


def _window(box: np.ndarray) -> tuple[slice, slice]:
    """The rows and columns of a box."""
    return slice(int(box[1]), int(box[3])), slice(int(box[0]), int(box[2]))
