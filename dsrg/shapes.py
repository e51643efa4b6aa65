"""The shapes that the maths takes, each refused in one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor  # of those who give tensors: masks in numpy need no PyTorch


def to_numpy(values: np.ndarray | Tensor) -> np.ndarray:
    """The values on the CPU, without their gradient."""
    return values.detach().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)


def check_probs(probs: Tensor) -> None:
    """Refuse probabilities that are not floating point (B, C, h, w); raises ValueError."""
    if probs.ndim != 4 or not probs.is_floating_point():
        raise ValueError(f"probs must be floating point (B, C, h, w), not {probs.dtype} {tuple(probs.shape)}.")


def check_seeds(seeds: Tensor, probs: Tensor) -> None:
    """Refuse seeds that are not (B, h, w), as probs (B, C, h, w) want them; raises ValueError."""
    expected = (probs.shape[0], *probs.shape[2:])
    if seeds.shape != expected:
        raise ValueError(
            f"seeds {tuple(seeds.shape)} do not fit probs {tuple(probs.shape)}: expected {expected}; resize the seeds "
            "to the output grid, nearest neighbour."
        )


def check_tags(tags: Tensor, probs: Tensor) -> None:
    """Refuse tags that are not bool (B, C), as probs (B, C, h, w) want them; raises ValueError."""
    import torch

    expected = tuple(probs.shape[:2])
    if tags.dtype != torch.bool or tags.shape != expected:
        raise ValueError(
            f"tags must be bool {expected} to fit probs {tuple(probs.shape)}, not {tags.dtype} {tuple(tags.shape)}; "
            "one column a class, background first."
        )
