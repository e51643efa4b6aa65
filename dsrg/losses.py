"""The losses of DSRG training (Huang et al., CVPR 2018): the balanced seed loss and the boundary loss.

Shapes: B images, C classes with background, h x w pixels. Losses are in nats.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dsrg.labels import BACKGROUND, IGNORE

_RATIO_MIN, _RATIO_MAX = 0.05, 20.0


def floor_probs(probs: Tensor, minimum: float = 1e-4) -> Tensor:
    """Add `minimum` to probabilities (B, C, ...) and renormalise them over the classes, as the authors' layer does.

    The floor bounds the logarithms that follow (-log 1e-4 = 9.2). It is added, for values cut off at it would pass no
    gradient: the class's own logit gets -p (1 - p) / (p + minimum) from -log p, -0.33 where p is half the minimum. So a
    network that is sure of the wrong class still learns.
    """
    floored = probs + minimum
    return floored / floored.sum(dim=1, keepdim=True)


def floored_softmax(logits: Tensor, minimum: float = 1e-4) -> Tensor:
    """Softmax of logits (B, C, ...) over the classes, floored; at least float32, under autocast too."""
    return floor_probs(_at_least_float32(logits).softmax(dim=1), minimum)


def seed_loss(probs: Tensor, seeds: Tensor) -> Tensor:
    """Balanced seed loss (Eq. 1): each image's -mean log p over its background seeds plus that over its
    foreground seeds, 0 where it has none; then the mean over the batch.

    Args:
        probs: (B, C, h, w) probabilities, best floored (`floored_softmax`); gradient flows through them.
        seeds: (B, h, w) uint8 or int64, class index below C or 255 = unlabelled.

    Returns:
        () tensor, float32 or, for float64 probabilities, float64.

    Raises:
        ValueError: the shapes do not fit together.
    """
    _check_probs(probs)
    batch, _, height, width = probs.shape
    if seeds.shape != (batch, height, width):
        raise ValueError(
            f"seeds {tuple(seeds.shape)} do not fit probs {tuple(probs.shape)}: expected {(batch, height, width)}; "
            "resize the seeds to the output grid, nearest neighbour."
        )
    background = seeds == BACKGROUND
    foreground = (seeds != IGNORE) & ~background
    # Unlabelled pixels read class 0 to keep the index in range; no mask below counts them.
    index = torch.where(foreground, seeds.long(), BACKGROUND)
    surprise = -_finite_log(probs.gather(1, index[:, None])[:, 0])
    return (_mean_where(surprise, background) + _mean_where(surprise, foreground)).mean()


def boundary_loss(probs: Tensor, refined: Tensor) -> Tensor:
    """Boundary loss KL(Q || p): sum over classes of Q log(clip(Q / p, 0.05, 20)), mean over pixels and images.

    Args:
        probs: (B, C, h, w) the network's probabilities p; gradient flows through them.
        refined: (B, C, h, w) the CRF's output Q; no gradient flows through it. Classes with Q = 0 add nothing.

    Returns:
        () tensor, float32 or, for float64 probabilities, float64.

    Raises:
        ValueError: the shapes differ.
    """
    _check_probs(probs)
    if refined.shape != probs.shape:
        raise ValueError(
            f"refined {tuple(refined.shape)} must have the shape of probs {tuple(probs.shape)}; "
            "run the CRF on the output grid."
        )
    refined = _at_least_float32(refined.detach())
    log_ratio = _finite_log(refined) - _finite_log(probs)
    divergence = refined * log_ratio.clamp(math.log(_RATIO_MIN), math.log(_RATIO_MAX))
    return divergence.sum(dim=1).mean()


def _mean_where(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of values (B, h, w) over each image's mask, (B,); 0 where the mask is empty."""
    total = torch.where(mask, values, 0).sum(dim=(1, 2))
    return total / mask.sum(dim=(1, 2)).clamp(min=1)


def _finite_log(probs: Tensor) -> Tensor:
    """Logarithm in at least float32 that stays finite, gradient included, where a probability is 0."""
    probs = _at_least_float32(probs)
    return probs.clamp(min=torch.finfo(probs.dtype).tiny).log()


def _at_least_float32(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _check_probs(probs: Tensor) -> None:
    if probs.ndim != 4 or not probs.is_floating_point():
        raise ValueError(f"probs must be floating point (B, C, h, w), not {probs.dtype} {tuple(probs.shape)}.")
