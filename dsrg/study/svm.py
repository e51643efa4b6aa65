"""Linear SVMs on pooled features: labels, and maps, of concepts that a network was never trained on.

Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, Sect. 4: the features behind global
average pooling are generic, and what the linear layer's weights are to the network's own classes, the weights of a
linear SVM are to any other labels.

Features are divided by their Euclidean length before the SVM, which makes one value of C fit networks of any scale.
That is one positive number for each image, and the maps are divided by it too. So they keep their shape, and as with
CAM the mean of a map plus the bias is the SVM's decision value.

Shapes: N images, K labels, D features on a grid of h x w.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from dsrg.metrics import mean_average_precision

CANDIDATES = (0.1, 1.0, 10.0, 100.0)
"""Values of C that cross-validation chooses from."""
FOLDS = 3
"""Parts of the training photographs in cross-validation; a label with fewer photographs than that leaves C at 1."""


@dataclass(frozen=True)
class Svm:
    """One linear SVM for each label, on features of length 1."""

    weight: np.ndarray
    """(K, D) float64."""
    bias: np.ndarray
    """(K,) float64."""
    c: float
    """Weight of the training errors against the weights' squared length."""

    def decide(self, pooled: np.ndarray) -> np.ndarray:
        """Decision values (N, K) of pooled features (N, D), not yet of length 1."""
        values: np.ndarray = unit_length(pooled) @ self.weight.T + self.bias
        return values

    def maps(self, features: Tensor) -> Tensor:
        """Maps (B, K, h, w) of features (B, D, h, w): sum_k w_k^c f_k / |pooled f|; mean + bias = `decide`."""
        length = features.mean(dim=(2, 3), keepdim=True).norm(dim=1, keepdim=True).clamp(min=1e-12)
        weight = torch.as_tensor(self.weight, dtype=features.dtype, device=features.device)
        return functional.conv2d(features / length, weight[:, :, None, None])


def unit_length(pooled: np.ndarray) -> np.ndarray:
    """Features (N, D) divided by their Euclidean length, float64; those of length 0 stay so."""
    values = np.asarray(pooled, np.float64)
    scaled: np.ndarray = values / np.linalg.norm(values, axis=1, keepdims=True).clip(1e-12)
    return scaled


def hold_out(tags: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Divide images into those to learn from and those to measure on, each label in the same proportion.

    An image of several labels is divided with those of the same rarest label. Of every two images or more one at
    least goes to either side.

    Args:
        tags: (N, K) bool.
        share: To measure on, in (0, 1).
        seed: Of the random choice.

    Returns:
        The numbers of the images to learn from and to measure on, ascending.
    """
    held = np.zeros(len(tags), bool)
    for members in _strata(tags, seed):
        count = min(max(round(share * len(members)), 1), len(members) - 1)
        held[members[:count]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


def fit(pooled: np.ndarray, tags: np.ndarray, *, c: float | None = None, seed: int = 0, threads: int = 1) -> Svm:
    """Train one SVM for each label against all others.

    scikit-learn's LinearSVC (LIBLINEAR): squared hinge loss, squared length of the weights, the bias counted among
    them.

    Args:
        pooled: (N, D) features, globally averaged, not yet of length 1.
        tags: (N, K) bool; every label has an image with it and one without.
        c: Weight of the errors; None for the one of CANDIDATES with the best `figures` in cross-validation over FOLDS
            parts (accuracy where each image has one label, mean average precision otherwise; of equal ones the
            smallest), or 1 where a label has fewer images than parts.
        seed: Of the parts and of the solver.
        threads: SVMs to train at a time.

    Raises:
        ValueError: the shapes do not fit, or a label has no image with it or without it.
    """
    if pooled.ndim != 2 or tags.ndim != 2 or len(pooled) != len(tags) or tags.dtype != bool:
        raise ValueError(f"pooled {pooled.shape} must be (N, D), and tags {tags.dtype} {tags.shape} bool (N, K).")
    if not (tags.any(axis=0) & ~tags.all(axis=0)).all():
        raise ValueError("every label needs an image with it and one without it.")
    features = unit_length(pooled)
    if c is None:
        c = choose_c(features, tags, seed, threads)
    return Svm(*_train(features, tags, c, seed, threads), c)


def choose_c(features: np.ndarray, tags: np.ndarray, seed: int, threads: int) -> float:
    """The C that `fit` takes where none is given, of features that have the length 1."""
    if tags.sum(axis=0).min() < FOLDS:
        return 1.0
    candidates = tqdm(CANDIDATES, "cross-validating C")
    parts = _parts(tags, seed)
    # max keeps the first of equal ones
    return max(candidates, key=lambda value: _cross_validate(features, tags, parts, value, seed, threads))


def figures(decisions: np.ndarray, tags: np.ndarray) -> dict[str, float]:
    """How good decision values (N, K) are for tags (N, K) bool.

    - accuracy: share of the images with a label whose highest value belongs to one of their labels.
    - mean_average_precision: over the labels that an image has.
    """
    right = np.take_along_axis(tags, decisions.argmax(axis=1)[:, None], axis=1)[tags.any(axis=1)]
    return {
        "accuracy": float(right.mean()) if len(right) else float("nan"),
        "mean_average_precision": mean_average_precision(decisions, tags),
    }


def has_one_label_each(tags: np.ndarray) -> bool:
    """Whether every image has exactly one label; tags (N, K) bool."""
    return bool((tags.sum(axis=1) == 1).all())


def _cross_validate(
    features: np.ndarray, tags: np.ndarray, parts: np.ndarray, c: float, seed: int, threads: int
) -> float:
    decisions = np.zeros(tags.shape)
    for part in range(FOLDS):
        held = parts == part
        weight, bias = _train(features[~held], tags[~held], c, seed, threads)
        decisions[held] = features[held] @ weight.T + bias
    return figures(decisions, tags)["accuracy" if has_one_label_each(tags) else "mean_average_precision"]


def _train(features: np.ndarray, tags: np.ndarray, c: float, seed: int, threads: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights (K, D) and biases (K,) of features that have the length 1."""
    with ThreadPoolExecutor(max(1, threads)) as pool:  # LIBLINEAR leaves Python's lock
        weights, biases = zip(*pool.map(lambda own: train_one(features, own, c, seed), tags.T), strict=True)
    return np.stack(weights), np.array(biases)


def train_one(features: np.ndarray, own: np.ndarray, c: float, seed: int) -> tuple[np.ndarray, float]:
    """Weight (D,) and bias of the SVM of one label.

    Args:
        features: (N, D) of length 1.
        own: (N,) bool, which images have the label.
        c, seed: As in `fit`.
    """
    from sklearn.svm import LinearSVC  # here, for its import takes about a second

    if own.all() or not own.any():  # in a part of cross-validation: nothing to tell apart
        return np.zeros(features.shape[1]), 1.0 if own.all() else -1.0
    svm = LinearSVC(C=c, dual="auto", max_iter=10_000, random_state=seed).fit(features, own)
    return svm.coef_[0], float(svm.intercept_[0])


def _parts(tags: np.ndarray, seed: int) -> np.ndarray:
    """The part of cross-validation of each image, (N,), each label in the same proportion."""
    order = np.concatenate(_strata(tags, seed))
    parts = np.zeros(len(tags), np.int64)
    parts[order] = np.arange(len(order)) % FOLDS
    return parts


def _strata(tags: np.ndarray, seed: int) -> list[np.ndarray]:
    """The images by their rarest label, and those without any, each group in random order."""
    counts = tags.sum(axis=0)
    rarest = np.where(tags.any(axis=1), np.where(tags, counts, len(tags) + 1).argmin(axis=1), -1)
    random = np.random.default_rng(seed)
    return [random.permutation(np.flatnonzero(rarest == label)) for label in np.unique(rarest)]
