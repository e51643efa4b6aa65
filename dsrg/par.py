"""Pixel-adaptive refinement: maps spread to the neighbours that have a pixel's own colour, a cheap kin of the CRF.

Ru et al., "Learning Affinity from Attention: End-to-End Weakly-Supervised Semantic Segmentation with Transformers",
CVPR 2022, Sect. 3.3, with the constants of their code; after Araslanov and Roth's PAMR (CVPR 2020).

Shapes: B images, K maps, N neighbours, h x w pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

DILATIONS = (1, 2, 4, 8, 12, 24)
"""Distances of the neighbours in pixels; each has eight of them."""
_COLOUR_DEVIATIONS = 0.3
"""w_1: the share of the neighbours' own deviation at which a difference counts."""
_POSITION_WEIGHT = 0.01
"""w_3: weight of the nearness beside the likeness."""
_NONE = 1e-8
"""Keeps a patch of a single colour from dividing by zero."""


def refine(maps: Tensor, images: Tensor, iterations: int = 10, dilations: Sequence[int] = DILATIONS) -> Tensor:
    """Replace each pixel's values by a weighted mean of its neighbours', `iterations` times.

    The weight of a neighbour is a softmax over all neighbours of -(difference / (w_1 deviation))^2, averaged over the
    colours, and of the same of its distance, times w_3. Beyond the image's edge its last pixels repeat.

    The weights are divided by their sum, 1 + w_3, which the authors' code leaves in: a constant map stays as it is.

    Args:
        maps: (B, K, h, w) floating point.
        images: (B, 3, h, w), of any range.
        iterations: 0 leaves the maps as they are.
        dilations: Distances of the neighbours.

    Returns:
        (B, K, h, w), between each map's least and largest value.

    Raises:
        ValueError: the shapes do not fit together, or there is no positive dilation.
    """
    if maps.ndim != 4 or images.shape != (maps.shape[0], 3, *maps.shape[2:]):
        raise ValueError(
            f"images {tuple(images.shape)} do not fit maps {tuple(maps.shape)}: expected (B, 3, h, w) for (B, K, h, w)."
        )
    if iterations < 0 or not dilations or min(dilations) < 1:
        raise ValueError(f"iterations ({iterations}) must be 0 or more, and dilations {tuple(dilations)} 1 or more.")
    if iterations == 0:
        return maps
    weights = _weights(images.to(maps.dtype), dilations)
    for _ in range(iterations):
        mixed = torch.zeros_like(maps)
        for moved, weight in zip(_neighbours(maps, dilations), weights.unbind(dim=1), strict=True):
            mixed.addcmul_(moved, weight[:, None])
        maps = mixed
    return maps


def _weights(images: Tensor, dilations: Sequence[int]) -> Tensor:
    """(B, N, h, w), which add up to 1."""
    around = torch.stack(list(_neighbours(images, dilations)), dim=1)  # (B, N, 3, h, w)
    deviation = around.std(dim=1, keepdim=True) + _NONE
    likeness = -((around - images[:, None]) / deviation / _COLOUR_DEVIATIONS).square().mean(dim=2)
    distance = images.new_tensor([d * (2**0.5 if row and column else 1) for d in dilations for row, column in _AROUND])
    nearness = -(distance / (distance.std() + _NONE) / _COLOUR_DEVIATIONS).square()
    both = likeness.softmax(dim=1) + _POSITION_WEIGHT * nearness.softmax(dim=0)[:, None, None]
    return both / (1 + _POSITION_WEIGHT)


_AROUND = [(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1) if row or column]


def _neighbours(maps: Tensor, dilations: Sequence[int]) -> list[Tensor]:
    """The maps moved by each step, (B, K, h, w) each: a view of the padded maps."""
    height, width = maps.shape[2:]
    found = []
    for far in dilations:
        padded = functional.pad(maps, (far,) * 4, mode="replicate")
        found += [
            padded[:, :, far * (1 + row) : far * (1 + row) + height, far * (1 + column) : far * (1 + column) + width]
            for row, column in _AROUND
        ]
    return found
