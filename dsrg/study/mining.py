"""Hard-negative mining: an SVM for each label that learns from the negatives which it gets wrong, and from no more.

Dalal and Triggs, "Histograms of Oriented Gradients for Human Detection", CVPR 2005; Felzenszwalb et al., "Object
Detection with Discriminatively Trained Part-Based Models", TPAMI 2010, Sect. 4.4. A label has far more images without
it than with it. A round trains on all positives and the negatives so far, scores the other negatives, and adds the
hardest, those of the highest decision value. A negative at or below -1 has no loss, and so no part in the SVM: where
none is above any more, nothing changes, and the SVM is that of all negatives.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from dsrg.study.svm import Svm, train_one, unit_length


@dataclass(frozen=True)
class Mined:
    """What the rounds came to."""

    first: Svm
    """Of the first round: each label's positives and a random choice of its negatives."""
    last: Svm
    negatives: tuple[tuple[int, ...], ...]
    """For each label, the number of negatives in each round."""


def mine(pooled: np.ndarray, tags: np.ndarray, *, c: float, add: int, seed: int = 0, threads: int = 1) -> Mined:
    """Train one SVM for each label in rounds.

    Args:
        pooled: (N, D) features, globally averaged, not yet of length 1.
        tags: (N, K) bool; every label has an image with it and one without.
        c: As in `dsrg.study.svm.Svm`.
        add: Negatives to begin with, and the most to add in a round; at least 1.
        seed: Of the first choice, and of the solver.
        threads: Labels at a time.

    Raises:
        ValueError: the shapes do not fit, a label has no image with it or without it, or `add` is not above 0.
    """
    if pooled.ndim != 2 or tags.ndim != 2 or len(pooled) != len(tags) or tags.dtype != bool or add < 1:
        raise ValueError(f"pooled {pooled.shape} must be (N, D), tags {tags.dtype} {tags.shape} bool (N, K), add > 0.")
    if not (tags.any(axis=0) & ~tags.all(axis=0)).all():
        raise ValueError("every label needs an image with it and one without it.")
    features = unit_length(pooled)
    order = np.random.default_rng(seed).permutation(len(tags))

    def work(own: np.ndarray) -> tuple[list[tuple[np.ndarray, float]], tuple[int, ...]]:
        return _rounds(features, own, order, c, add, seed)

    with ThreadPoolExecutor(max(1, threads)) as pool:  # LIBLINEAR leaves Python's lock
        found, counts = zip(*pool.map(work, tags.T), strict=True)
    return Mined(_gather([label[0] for label in found], c), _gather([label[1] for label in found], c), counts)


def _rounds(
    features: np.ndarray, own: np.ndarray, order: np.ndarray, c: float, add: int, seed: int
) -> tuple[list[tuple[np.ndarray, float]], tuple[int, ...]]:
    """The first and the last SVM of one label, and the number of negatives in each round."""
    used = own.copy()
    used[order[~own[order]][:add]] = True
    first = last = train_one(features[used], own[used], c, seed)
    counts = [int((used & ~own).sum())]
    while True:
        values = features @ last[0] + last[1]
        hard = np.flatnonzero(~used & (values > -1))
        if not len(hard):
            return [first, last], tuple(counts)
        used[hard[np.argsort(-values[hard], kind="stable")[:add]]] = True
        last = train_one(features[used], own[used], c, seed)
        counts.append(int((used & ~own).sum()))


def _gather(svms: Sequence[tuple[np.ndarray, float]], c: float) -> Svm:
    weights, biases = zip(*svms, strict=True)
    return Svm(np.stack(weights), np.array(biases), c)
