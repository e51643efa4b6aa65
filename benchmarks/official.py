"""What the authors' step does, image by image on the CPU, written anew from their paper and the behaviour of their
released layers (Huang et al., CVPR 2018): Python loops over the pixels, one component pass for each of the image's
classes, and two dense CRF passes of ten iterations over all classes, one for the growing and one for the boundary
loss. Their corner cases are not followed: with seeds that do not overlap both give `dsrg.grow`'s answer.
"""

from __future__ import annotations

import itertools

import numpy as np
import pydensecrf.densecrf as densecrf

from dsrg.labels import BACKGROUND, IGNORE


def grow_seeds(
    seeds: np.ndarray, probs: np.ndarray, tags: np.ndarray, theta_fg: float = 0.85, theta_bg: float = 0.99
) -> np.ndarray:
    """Growing of one image: seeds (h, w), probs (C, h, w), tags (C,); returns the grown seeds (h, w)."""
    own = np.flatnonzero(tags)
    classes, height, width = probs.shape
    cues = np.zeros((classes, height, width), np.uint8)
    for (y, x), label in np.ndenumerate(seeds):
        if label != IGNORE:
            cues[label, y, x] = 1
    winner, best = probs[own].argmax(axis=0), probs[own].max(axis=0)

    label_map = np.where(seeds == IGNORE, -1, seeds.astype(np.int64))
    for (y, x), value in np.ndenumerate(best):
        label = own[winner[y, x]]
        if label_map[y, x] == -1 and value > (theta_bg if label == BACKGROUND else theta_fg):
            label_map[y, x] = label

    for label in own:
        member = label_map == label
        components = _components(member)
        seeded = set()
        for (y, x), inside in np.ndenumerate(member):
            if inside and cues[label, y, x] == 1:
                seeded.add(components[y][x])
            elif inside and np.sum(cues[:, y, x]) == 1:
                components[y][x] = -1
        for (y, x), component in np.ndenumerate(np.array(components)):
            if component in seeded:
                cues[label, y, x] = 1
    return np.where(cues.any(axis=0), cues.argmax(axis=0), IGNORE)


def _components(member: np.ndarray) -> list[list[int]]:
    """8-connected regions of equal values by the two-scan algorithm, in Python lists as theirs: every pixel gets a
    label, inside the mask and outside. Theirs also keeps a list of neighbouring regions, which growing never reads.
    """
    height, width = member.shape
    labels = [[0] * width for _ in range(height)]
    parent: list[int] = []
    rank: list[int] = []

    def find(label: int) -> int:
        if parent[label] != label:
            parent[label] = find(parent[label])
        return parent[label]

    def union(first: int, second: int) -> None:
        first, second = find(first), find(second)
        if first == second:
            return
        if rank[first] < rank[second]:
            first, second = second, first
        parent[second] = first
        rank[first] += rank[first] == rank[second]

    for y in range(height):
        for x in range(width):
            value = member[y, x]
            touching = []
            for v, u in ((y, x - 1), (y - 1, x), (y - 1, x - 1), (y - 1, x + 1)):
                if v >= 0 and 0 <= u < width and member[v, u] == value:
                    touching.append(labels[v][u])
            if touching:
                labels[y][x] = min(touching)
                for first, second in itertools.pairwise(touching):
                    union(first, second)
            else:
                labels[y][x] = len(parent)
                parent.append(len(parent))
                rank.append(0)
    for y in range(height):
        for x in range(width):
            labels[y][x] = find(labels[y][x])
    return labels


def dense_crf(probs: np.ndarray, image: np.ndarray, scale: float = 12.0) -> np.ndarray:
    """Dense CRF of one image over all classes: probs (C, h, w), image (h, w, 3) uint8; returns Q (C, h, w)."""
    classes, height, width = probs.shape
    field = densecrf.DenseCRF2D(width, height, classes)
    field.setUnaryEnergy(np.ascontiguousarray(-np.log(np.maximum(probs, 1e-5)).reshape(classes, -1), np.float32))
    field.addPairwiseGaussian(sxy=3 / scale, compat=3)
    field.addPairwiseBilateral(sxy=80 / scale, srgb=13, rgbim=np.ascontiguousarray(image), compat=10)
    return np.array(field.inference(10)).reshape(probs.shape)
