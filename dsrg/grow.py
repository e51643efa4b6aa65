"""Seeded region growing (Huang et al., "Weakly-Supervised Semantic Segmentation Network with Deep Seeded
Region Growing", CVPR 2018, Sect. 3.2).

The paper describes a loop: each class's seeds take in their unlabelled 8-neighbours that are candidates of that
class, until nothing changes. The same answer without a loop: give every pixel one label, its seed's class or
else its candidate class; wherever an 8-connected component of equal labels holds a seed, all of it is reached.

Shapes: B images, C classes with background, h x w pixels, N = B * h * w.
"""

from __future__ import annotations

import cc3d
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dsrg.labels import BACKGROUND, IGNORE
from dsrg.shapes import check_probs, check_seeds, check_tags
from dsrg.tags import own_classes

_NEIGHBOURS = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0))


@torch.no_grad()
def grow_seeds(seeds: Tensor, probs: Tensor, tags: Tensor, theta_fg: float = 0.85, theta_bg: float = 0.99) -> Tensor:
    """Grow each class's seeds through the unlabelled pixels that are candidates of that class.

    A pixel is a candidate of class c when c is the most probable of the image's own classes there (the lowest
    index wins a tie) and its probability is above the class's threshold. Seeds never change.

    Args:
        seeds: (B, h, w) uint8 or int64, class index or 255 = unlabelled.
        probs: (B, C, h, w) floating point, class probabilities; float16 and bfloat16 are compared in float32.
        tags: (B, C) bool, the image's own classes; background takes part where its column says so.
        theta_fg: Threshold of the foreground classes, in 0..1.
        theta_bg: Threshold of background, in 0..1.

    Returns:
        The grown seeds, of the shape, dtype and device of `seeds`.

    Raises:
        ValueError: shapes or dtypes do not fit together.
    """
    _check(seeds, probs, tags)
    seeded = seeds != IGNORE
    label_map = torch.where(seeded, seeds.long(), _candidates(probs, tags, theta_fg, theta_bg))
    find = _seeded_components_cpu if seeds.device.type == "cpu" else _seeded_components_device
    reached = find(label_map, seeded)
    return torch.where(reached, label_map, IGNORE).to(seeds.dtype)


def _candidates(probs: Tensor, tags: Tensor, theta_fg: float, theta_bg: float) -> Tensor:
    """The class that each pixel is a candidate of, (B, h, w) int64, 255 for none."""
    classes, present = own_classes(tags)
    own = probs[torch.arange(len(probs), device=probs.device)[:, None], classes]
    # Half precision would round the thresholds: 0.99 becomes 0.9902.
    own = own.to(torch.promote_types(own.dtype, torch.float32))
    best, index = own.masked_fill_(~present[:, :, None, None], -torch.inf).max(dim=1)
    winner = classes.gather(1, index.flatten(1)).view_as(index)
    confident = best > torch.where(winner == BACKGROUND, theta_bg, theta_fg)
    return torch.where(confident, winner, IGNORE)


def _seeded_components_cpu(label_map: Tensor, seeded: Tensor) -> Tensor:
    """Which pixels lie in an 8-connected component of equal labels that holds a seed.

    One pass of cc3d labels the whole batch: the images stand on top of each other, a blank row after each, so
    that no component crosses from one to the next.

    Args:
        label_map: (B, h, w) int64, class index or 255 for none.
        seeded: (B, h, w) bool.

    Returns:
        (B, h, w) bool.
    """
    batch, height, width = label_map.shape
    stacked = np.zeros((batch, height + 1, width), np.uint8)
    stacked[:, :height] = label_map.numpy().astype(np.uint8) + np.uint8(1)  # 255 becomes 0, cc3d's own "no label"
    components = cc3d.connected_components(stacked.reshape(-1, width), connectivity=8)
    components = components.reshape(batch, height + 1, width)[:, :height]

    holds_seed = np.zeros(int(components.max(initial=0)) + 1, bool)
    holds_seed[components[seeded.numpy()]] = True
    return torch.from_numpy(holds_seed[components])


def _seeded_components_device(label_map: Tensor, seeded: Tensor) -> Tensor:
    """As `_seeded_components_cpu`, in tensor operations that run on any device.

    Every pixel points at a pixel of its own component with an index no larger than its own, at first itself.
    A round hands each pixel, and the pixel it points at, the smallest pointer among its equal neighbours, and
    then shortens chains of pointers (after Zhang, Azad and Hu, "FastSV", 2020). The longest chain shrinks by a
    factor each round, so spirals take a few rounds rather than one for each pixel of their length. When a round
    changes nothing, all pixels of a component point at the same one.
    """
    neighbours = _equal_neighbours(label_map)
    pointer = torch.arange(label_map.numel(), device=label_map.device)
    while True:
        before = pointer
        # Comparing makes the host wait for the device, so several rounds pass between two comparisons.
        for _ in range(4):
            smallest = pointer[neighbours].amin(dim=0)
            pointer = pointer.scatter_reduce(0, pointer, smallest, "amin")
            pointer = torch.minimum(pointer, smallest)
            pointer = pointer[pointer]
            pointer = pointer[pointer]
        if torch.equal(before, pointer):
            break
    seeds_in_component = torch.zeros_like(pointer).scatter_add_(0, pointer, seeded.flatten().long())
    return (seeds_in_component[pointer] > 0).view_as(seeded)


def _equal_neighbours(label_map: Tensor) -> Tensor:
    """Indices of each pixel's 8 neighbours, (8, N) int64; the pixel's own index where the labels differ."""
    height, width = label_map.shape[1:]
    index = torch.arange(label_map.numel(), device=label_map.device).view_as(label_map)
    # A border of a label that occurs nowhere keeps the edge of an image from having neighbours outside it.
    padded_labels = functional.pad(label_map, (1, 1, 1, 1), value=-1)
    padded_index = functional.pad(index, (1, 1, 1, 1))
    neighbours = []
    for dy, dx in _NEIGHBOURS:
        window = (slice(None), slice(1 + dy, 1 + dy + height), slice(1 + dx, 1 + dx + width))
        neighbours.append(torch.where(padded_labels[window] == label_map, padded_index[window], index).flatten())
    return torch.stack(neighbours)


def _check(seeds: Tensor, probs: Tensor, tags: Tensor) -> None:
    check_probs(probs)
    if probs.shape[1] > IGNORE:
        raise ValueError(f"probs has {probs.shape[1]} classes; at most {IGNORE} fit, since {IGNORE} means unlabelled.")
    if seeds.dtype not in (torch.uint8, torch.int64):
        raise ValueError(f"seeds must be uint8 or int64, not {seeds.dtype}; convert them with seeds.long().")
    check_seeds(seeds, probs)
    check_tags(tags, probs)
