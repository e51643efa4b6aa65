"""The gate: how far a class may enter a photograph's mask, by what the classifier says of the photograph as a whole.

A segmentation network judges each pixel by what surrounds it, and may take a part of a cow for a horse; the classifier
judges the photograph.

Shapes: B images, C classes with background, K = C - 1 foreground classes (class c is column c - 1), h x w pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dsrg.shapes import check_probs

SURE = 0.5
"""Probability from which the classifier lets a class through as it is."""


def gate(probs: Tensor, class_probs: Tensor) -> Tensor:
    """Dense probabilities of each foreground class c times min(1, q_c / 0.5), q_c the classifier's; background stays.

    The products are not renormalised. Dividing by their sum would round, and two classes that differ could tie; as
    they are, argmax is that of the gated values to the last bit. The CRF needs no sum of 1 either: it divides by the
    sum itself (`dsrg.crf.dense_crf`), which leaves every pixel the order of its classes.

    Args:
        probs: (B, C, h, w) floating point.
        class_probs: (B, K) floating point, in 0..1.

    Returns:
        (B, C, h, w), which add up to 1 or less. Where no q_c is below 0.5 they are the bits of `probs`.

    Raises:
        ValueError: the shapes do not fit together.
    """
    check_probs(probs)
    expected = (probs.shape[0], probs.shape[1] - 1)
    if class_probs.shape != expected:
        raise ValueError(
            f"class_probs {tuple(class_probs.shape)} do not fit probs {tuple(probs.shape)}: expected {expected}; one "
            "column a class, background has none."
        )
    factors = (class_probs.to(probs) / SURE).clamp(max=1)
    return probs * torch.cat([torch.ones_like(factors[:, :1]), factors], dim=1)[:, :, None, None]
