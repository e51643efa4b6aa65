"""Boxes: around the largest component of a score map, around the classes of a mask, and the overlap of boxes.

A box is (x0, y0, x1, y1) in pixels, half-open: it holds the columns x0..x1-1 and the rows y0..y1-1, so its width is
x1 - x0, and a whole image is (0, 0, W, H). Files that count from 1 and name the last pixel, as VOC's XML does, are
converted where they are read (`dsrg.data.voc`).

Components are 8-connected, as in `dsrg.grow`, and as OpenCV's contours, which published localisation figures are made
with (Choe et al. 2020): pixels that touch by a corner are one object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from dsrg.labels import BACKGROUND, IGNORE
from dsrg.shapes import to_numpy

if TYPE_CHECKING:
    from torch import Tensor  # not at run time: readers of annotations have boxes, and no maps


class LabelledBoxes(NamedTuple):
    """Boxes and their classes."""

    classes: np.ndarray
    """(N,) int64, class index."""
    boxes: np.ndarray
    """(N, 4) x0, y0, x1, y1 in pixels; integers, or float64 where a file has fractions of pixels."""


@dataclass(frozen=True)
class ThresholdBoxes:
    """The components of one score map at each of T thresholds, M in all, in the order of the thresholds."""

    boxes: np.ndarray
    """(M, 4) int64, the tightest box around each component."""
    threshold: np.ndarray
    """(M,) int64, index of the threshold that the component is of; ascending."""
    largest: np.ndarray
    """(T,) int64, which of the M is the threshold's largest component; -1 where nothing is above the threshold."""


def map_boxes(maps: Tensor, size: Sequence[int], fraction: float = 0.2) -> np.ndarray:
    """The box of each map: around the largest component above a fraction of the map's maximum (Zhou et al., "Learning
    Deep Features for Discriminative Localization", CVPR 2016, Sect. 3.2).

    Maps are enlarged bilinearly, corner on corner as all maps here. The largest component has the most pixels; of equal
    ones, the one that comes first row by row. A map without a positive value points at nothing, and gets the box of the
    whole image: a guess has to be made, and that one holds the object.

    Args:
        maps: (N, h, w) floating point, any range, any device.
        size: (H, W) of the image in pixels.
        fraction: Of the maximum, in [0, 1); what is above it belongs to a component.

    Returns:
        (N, 4) int64 x0, y0, x1, y1 in pixels of the image.

    Raises:
        ValueError: the shape, the fraction or a value (nan, infinite) is out of range.
    """
    from torch.nn import functional

    if maps.ndim != 3 or not maps.is_floating_point() or 0 in maps.shape[1:]:
        raise ValueError(f"maps must be floating point (N, h, w), not {maps.dtype} {tuple(maps.shape)}.")
    if not 0 <= fraction < 1:
        raise ValueError(f"fraction is {fraction}; it must lie in [0, 1).")
    maps = maps.detach().float()
    if not maps.isfinite().all():
        raise ValueError("maps hold nan or infinite values; a box needs finite ones.")
    height, width = size
    if maps.shape[1:] != (height, width) and len(maps):
        maps = functional.interpolate(maps[:, None], (height, width), mode="bilinear", align_corners=True)[:, 0]

    peak = maps.amax(dim=(1, 2), keepdim=True)
    above = ((maps > fraction * peak) & (peak > 0)).byte().cpu().numpy()
    found = np.tile(np.array([0, 0, width, height], np.int64), (len(maps), 1))
    for k, mask in enumerate(above):
        boxes, largest = _components(mask)
        if len(boxes):
            found[k] = boxes[largest]
    return found


def threshold_boxes(score_map: np.ndarray | Tensor, thresholds: np.ndarray) -> ThresholdBoxes:
    """The boxes of all components of one map, at many thresholds at once.

    Each pixel is compared with all thresholds in one search. A component search then costs what the part of the map
    costs that is above its threshold, and is left out where no pixel lies between it and the threshold before.

    Args:
        score_map: (H, W), at the size of the image.
        thresholds: (T,) ascending; a pixel belongs to a component when its score is above, not at, the threshold.

    Returns:
        Boxes in pixels, thresholds with nothing above them having none.

    Raises:
        ValueError: the shapes or values are out of range.
    """
    scores, thresholds = to_numpy(score_map), np.asarray(thresholds, np.float64)
    if scores.ndim != 2 or not scores.size or not np.isfinite(scores).all():
        raise ValueError(f"score_map must be (H, W) of finite values, not {scores.shape} with nan or infinite ones.")
    if thresholds.ndim != 1 or not len(thresholds) or (np.diff(thresholds) < 0).any():
        raise ValueError("thresholds must be (T,) in ascending order.")
    # How many thresholds are below the score: the pixel is above threshold i when that is more than i.
    level = np.searchsorted(thresholds, scores.ravel(), side="left")
    is_new = np.bincount(level, minlength=len(thresholds) + 1) > 0  # does the mask differ from that one threshold lower
    level = level.astype(np.min_scalar_type(len(thresholds))).reshape(scores.shape)
    row_peak, column_peak = level.max(axis=1), level.max(axis=0)

    found: list[np.ndarray] = []
    counts, largest = np.zeros(len(thresholds), np.int64), np.full(len(thresholds), -1)
    total = 0
    for i in range(int(row_peak.max())):  # from there on nothing is above
        if i == 0 or is_new[i]:
            rows, columns = np.flatnonzero(row_peak > i), np.flatnonzero(column_peak > i)
            top, left = rows[0], columns[0]
            window = level[top : rows[-1] + 1, left : columns[-1] + 1]
            boxes, first = _components((window > i).view(np.uint8))
            boxes += np.array([left, top, left, top])
        found.append(boxes)
        counts[i], largest[i] = len(boxes), total + first
        total += len(boxes)
    every = np.concatenate(found) if found else np.zeros((0, 4), np.int64)
    return ThresholdBoxes(every, np.repeat(np.arange(len(thresholds)), counts), largest)


def mask_boxes(mask: np.ndarray | Tensor) -> LabelledBoxes:
    """The tightest box around each foreground class of a mask.

    Masks know classes, not objects: a box of a class holds all of its objects. Pixels of 255 belong to nothing, so
    where a void border surrounds the objects, as in VOC's masks, the boxes are smaller by that border than those of
    VOC's XML.

    Args:
        mask: (H, W) class indices, 255 = void.

    Returns:
        Boxes, int64, ordered by class; none for a mask without foreground.

    Raises:
        ValueError: the mask is not (H, W) of integers.
    """
    from scipy import ndimage  # here, for its import takes a fifth of a second

    labels = to_numpy(mask)
    if labels.ndim != 2 or labels.dtype.kind not in "iu":
        raise ValueError(f"mask must be (H, W) of class indices, not {labels.dtype} {labels.shape}.")
    slices = ndimage.find_objects(np.where(labels == IGNORE, BACKGROUND, labels).astype(np.int32))
    there = [index for index, where in enumerate(slices, start=1) if where is not None]
    edges = [(x.start, y.start, x.stop, y.stop) for y, x in (slices[index - 1] for index in there)]
    return LabelledBoxes(np.array(there, np.int64), np.array(edges, np.int64).reshape(-1, 4))


def object_boxes(mask: np.ndarray | Tensor, smallest: float = 0.0) -> LabelledBoxes:
    """The tightest box around each object of a mask, an object being an 8-connected component of a class.

    Masks know no objects, so two that touch have one box, and one that is hidden in part may have several; somebody who
    draws boxes does better. As for `mask_boxes`, pixels of 255 belong to nothing.

    Args:
        mask: (H, W) class indices, 255 = void.
        smallest: Share of the mask's pixels below which a component is a speck that nobody would box; a class's largest
            component is none.

    Returns:
        Boxes, int64, ordered by class; none for a mask without foreground.

    Raises:
        ValueError: the mask is not (H, W) of integers.
    """
    labels, least = to_numpy(mask), smallest * to_numpy(mask).size
    found: list[np.ndarray] = []
    classes: list[int] = []
    for index in mask_boxes(labels).classes.tolist():
        _, _, statistics, _ = cv2.connectedComponentsWithStats((labels == index).view(np.uint8), connectivity=8)
        left, top, width, height, areas = statistics[1:].astype(np.int64).T
        own = np.stack([left, top, left + width, top + height], axis=1)[areas >= min(least, areas.max())]
        found.append(own)
        classes += [index] * len(own)
    return LabelledBoxes(np.array(classes, np.int64), np.concatenate([np.zeros((0, 4), np.int64), *found]))


def whole_pixels(boxes: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """The pixels that boxes touch: edges moved outwards to whole pixels, and into the image.

    Args:
        boxes: (N, 4) x0, y0, x1, y1 in pixels, half-open, each with a part in the image.
        size: (H, W) of the image.

    Returns:
        (N, 4) int64, each box at least a pixel wide and high.
    """
    height, width = size
    low = np.floor(boxes[:, :2]).clip(0, [width - 1, height - 1])
    high = np.ceil(boxes[:, 2:]).clip(low + 1, [width, height])
    return np.concatenate([low, high], axis=1).astype(np.int64)


def box_iou(first: np.ndarray | Tensor, second: np.ndarray | Tensor) -> np.ndarray:
    """Intersection over union of every pair of boxes.

    Args:
        first: (N, 4) x0, y0, x1, y1 in pixels, half-open.
        second: (M, 4) likewise.

    Returns:
        (N, M) float64; 0 with a box that has no area.

    Raises:
        ValueError: the shapes do not fit, or an edge lies behind its opposite.
    """
    one, other = _checked(first, "first")[:, None], _checked(second, "second")[None]
    sides = np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2])
    shared = sides.clip(min=0).prod(axis=-1)
    first_area, second_area = ((boxes[..., 2:] - boxes[..., :2]).prod(axis=-1) for boxes in (one, other))
    union = first_area + second_area - shared
    overlap: np.ndarray = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return overlap


def _checked(boxes: np.ndarray | Tensor, name: str) -> np.ndarray:
    edges = to_numpy(boxes).astype(np.float64)
    if edges.ndim != 2 or edges.shape[1] != 4:
        raise ValueError(f"{name} must be boxes (N, 4), not {edges.shape}.")
    if not (edges[:, 2:] >= edges[:, :2]).all():
        raise ValueError(f"{name} must hold x0, y0, x1, y1 with x0 <= x1 and y0 <= y1.")
    return edges


def _components(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Boxes of the 8-connected components of a mask of bytes, (n, 4) int64, and which of them is the largest.

    OpenCV finds components and their boxes in one pass, in 0.7 ms for 264 x 352 pixels. It numbers them by blocks of
    pixels, so which of two equally large ones comes first row by row has to be looked up.
    """
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    left, top, width, height, areas = statistics[1:].astype(np.int64).T
    boxes = np.stack([left, top, left + width, top + height], axis=1)
    largest = np.flatnonzero(areas == areas.max(initial=0))
    if len(largest) > 1:
        highest = largest[top[largest] == top[largest].min()]
        row = labels[top[highest[0]]]
        return boxes, int(row[np.isin(row, highest + 1)][0]) - 1  # the leftmost of those
    return boxes, int(largest[0]) if len(largest) else -1
