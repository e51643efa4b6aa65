"""What a saliency map says of a photograph's mask: where anything at all stands out, whatever its class.

Shapes: B images, C classes with background, h x w pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dsrg.labels import BACKGROUND
from dsrg.shapes import check_probs

CLIP = 0.05
"""Saliency is held between this and 1 minus this: no map is so sure that it decides alone."""


def weigh_background(probs: Tensor, saliency: Tensor, weight: float, odds: float = 1.0) -> Tensor:
    """Class probabilities whose odds of background are multiplied by odds * ((1 - s) / s)^weight, s the saliency.

    A product of experts: the network's odds of background against object, and the map's. The objects' classes keep
    their odds against each other, of which the map knows nothing.

    Args:
        probs: (B, C, h, w) floating point, not all zero at any pixel.
        saliency: (B, h, w) in 0..1.
        weight: 0 leaves the map out, 1 counts it as much as the network.
        odds: Below 1 where network and map together miss more of the objects than they add to them.

    Returns:
        (B, C, h, w), which add up to 1.

    Raises:
        ValueError: the shapes do not fit together, the weight is negative, or the odds are not positive.
    """
    check_probs(probs)
    if saliency.shape != probs[:, 0].shape:
        raise ValueError(
            f"saliency {tuple(saliency.shape)} does not fit probs {tuple(probs.shape)}: expected "
            f"{tuple(probs[:, 0].shape)}; resize the map to the grid of probs."
        )
    if weight < 0:
        raise ValueError(f"weight is {weight}; it must be 0 or more.")
    if odds <= 0:
        raise ValueError(f"odds is {odds}; it must be above 0.")
    held = saliency.clamp(CLIP, 1 - CLIP)
    factors = torch.ones_like(probs)
    factors[:, BACKGROUND] = odds * ((1 - held) / held) ** weight
    weighed = probs * factors
    return weighed / weighed.sum(dim=1, keepdim=True)
