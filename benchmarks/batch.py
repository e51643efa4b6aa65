"""A batch as DSRG training meets it: made, not loaded, so that the benchmarks run in any clone."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from dsrg.labels import IGNORE


class Batch(NamedTuple):
    """B images, C classes with background, h x w pixels."""

    images: Tensor
    """(B, 3, h, w) uint8, RGB."""
    tags: Tensor
    """(B, C) bool: background and one to three classes, 1.4 on average."""
    seeds: Tensor
    """(B, h, w) int64: a quarter of the pixels has a label."""
    probs: Tensor
    """(B, C, h, w) float32, the network's; what is grown on is `dense_crf` of them."""


def voc_like(batch: int = 20, classes: int = 21, size: int = 41, device: str = "cpu") -> Batch:
    """Smooth random scenes: each pixel's class is that of the strongest of a few blurred fields of noise, photographs
    and, with doubts, probabilities follow the classes, and the seeds lie where the field is highest."""
    generator = torch.Generator().manual_seed(0)

    def noise(channels: int, cells: int) -> Tensor:
        coarse = torch.randn(batch, channels, cells, cells, generator=generator)
        return functional.interpolate(coarse, (size, size), mode="bicubic", align_corners=True)

    tags = torch.zeros(batch, classes, dtype=torch.bool)
    tags[:, 0] = True
    for image in range(batch):
        count = min((1, 1, 1, 2, 1, 1, 3, 1, 2, 1, 1)[image % 11], classes - 1)
        tags[image, 1 + torch.randperm(classes - 1, generator=generator)[:count]] = True
    scene = noise(classes, 7)
    logits = 2 * scene + noise(classes, 21) + 2 * tags[:, :, None, None]
    best, label = scene.masked_fill(~tags[:, :, None, None], -torch.inf).max(dim=1)
    sure = best > best.flatten(1).quantile(0.75, dim=1)[:, None, None]
    colours = torch.randint(40, 215, (classes, 3), generator=generator)
    images = colours[label].permute(0, 3, 1, 2) + 18 * noise(3, 5) + 6 * noise(3, size)
    made = Batch(images.clamp(0, 255).byte(), tags, torch.where(sure, label, IGNORE), logits.softmax(dim=1))
    return Batch(*(tensor.to(device) for tensor in made))
