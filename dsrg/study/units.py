"""Class-specific units: which features speak for a class, and which part of which image drives each most.

Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, Sect. 5, "Visualizing Class-Specific
Units": behind global pooling the weight w_k^c of the linear layer says how much unit k counts for class c, and the
images in which the unit's feature map is highest say what it looks for.

Shapes: N images, D units (the features that are pooled), U of them asked for, M images kept for each, h x w cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def class_units(weight: Tensor, label: int, count: int) -> tuple[Tensor, Tensor]:
    """The units with the largest weights for a class, the largest first; of equal ones the lowest number.

    Args:
        weight: (K, D) of the linear layer.
        label: Row of the class.
        count: Number of units, at most D.

    Returns:
        Units (count,) int64 and their weights (count,).

    Raises:
        ValueError: the label or the count is out of range.
    """
    if not (0 <= label < weight.shape[0] and 1 <= count <= weight.shape[1]):
        raise ValueError(f"label {label} and count {count} must fit weights of the shape {tuple(weight.shape)}.")
    weights, units = weight[label].detach().sort(descending=True, stable=True)
    return units[:count], weights[:count]


class TopImages:
    """For each of U units, the M images whose feature map reaches the highest value.

    Of equal ones the image comes first whose map has the larger mean, then the earlier. That matters: ReLU6, which
    ends MobileNetV2, cuts a unit's map off at 6 in a good part of all photographs.

    Takes images in batch by batch and keeps U x M feature maps, however many images there are.

    Args:
        units: (U,) int64, which of the D features.
        keep: M.

    Attributes:
        values: (U, M) float32, the maximum of each kept map, descending; -inf where there were fewer than M images.
        means: (U, M) float32, the mean of each kept map.
        images: (U, M) int64, the image's number in the order in which they came; -1 where there were fewer.
        maps: (U, M, h, w) float32, the maps themselves; None before the first batch.
    """

    def __init__(self, units: Tensor, keep: int) -> None:
        self.units = units
        self.values = torch.full((len(units), keep), -torch.inf)
        self.means = torch.full((len(units), keep), -torch.inf)
        self.images = torch.full((len(units), keep), -1)
        self.maps: Tensor | None = None
        self.seen = 0

    def update(self, features: Tensor) -> None:
        """Take in the features (B, D, h, w) of the next B images; h and w are the same in every batch."""
        maps = features.detach()[:, self.units.to(features.device)].float().cpu().transpose(0, 1)
        numbers = torch.arange(self.seen, self.seen + maps.shape[1]).expand(len(self.units), -1)
        self.seen += maps.shape[1]
        kept = maps.new_zeros(*self.values.shape, *maps.shape[2:]) if self.maps is None else self.maps
        values = torch.cat([self.values, maps.amax(dim=(2, 3))], dim=1)
        means = torch.cat([self.means, maps.mean(dim=(2, 3))], dim=1)
        # By the lesser key first. The images that came first stand first, and a stable order leaves them there.
        order = means.argsort(dim=1, descending=True, stable=True)
        order = order.gather(1, values.gather(1, order).argsort(dim=1, descending=True, stable=True))
        order = order[:, : self.values.shape[1]]
        self.values, self.means = values.gather(1, order), means.gather(1, order)
        self.images = torch.cat([self.images, numbers], dim=1).gather(1, order)
        cells = order[..., None, None].expand(-1, -1, *maps.shape[2:])
        self.maps = torch.cat([kept, maps], dim=1).gather(1, cells)


class Region(NamedTuple):
    """The part of an image that drives a unit."""

    mask: np.ndarray
    """(H, W) bool."""
    box: tuple[int, int, int, int]
    """The tightest box around it, x0, y0, x1, y1 in pixels, half-open."""


def driving_region(unit_map: Tensor, size: Sequence[int], fraction: float = 0.5) -> Region | None:
    """The region around the peak of a unit's feature map, on the image.

    The map is enlarged to the image, bilinearly, corner on corner; the region is the 8-connected component of what is
    above a fraction of the maximum that holds the maximum itself, the largest one where several hold it. The paper
    shows the peak's receptive field; that of a deep layer's unit is larger than the whole image, where this is the
    part of it that the unit answers to.

    Args:
        unit_map: (h, w).
        size: (H, W) of the image in pixels.
        fraction: Of the maximum, in [0, 1).

    Returns:
        The region; None where the map has no positive value: the unit does not fire.

    Raises:
        ValueError: the shape or the fraction is out of range.
    """
    if unit_map.ndim != 2 or not 0 <= fraction < 1:
        raise ValueError(f"unit_map {tuple(unit_map.shape)} must be (h, w), and fraction {fraction} in [0, 1).")
    maps = functional.interpolate(unit_map[None, None].double(), tuple(size), mode="bilinear", align_corners=True)
    enlarged = maps[0, 0].numpy()
    peak = enlarged.max()
    if peak <= 0:
        return None
    mask = enlarged > fraction * peak
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    at_peak = np.unique(labels[mask & (enlarged >= peak * (1 - 1e-9))])  # enlarging rounds: a plateau is not quite even
    own = at_peak[statistics[at_peak, cv2.CC_STAT_AREA].argmax()]
    left, top, width, height, _ = statistics[own].tolist()
    return Region(labels == own, (left, top, left + width, top + height))
