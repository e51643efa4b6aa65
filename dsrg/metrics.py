"""Measures: confusion matrix to IoU, average precision of the classifier, quality of the seeds.

Shapes: C classes with background, K foreground classes. All results are fractions in 0..1, nan where undefined.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from dsrg.labels import BACKGROUND, IGNORE
from dsrg.shapes import to_numpy

if TYPE_CHECKING:
    from torch import Tensor


class ConfusionMatrix:
    """Counts of (true class, predicted class) over all pixels of a split.

    Attributes:
        counts: (C, C) int64, row = truth, column = prediction.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.counts = np.zeros((num_classes, num_classes), np.int64)

    def update(self, prediction: np.ndarray | Tensor, truth: np.ndarray | Tensor) -> None:
        """Count the pixels of one or more masks.

        Args:
            prediction: Class indices, any shape.
            truth: Class indices or 255 = void, same shape. Void pixels are left out, whatever their prediction.

        Raises:
            ValueError: the shapes differ, or a counted pixel's index is no class (a prediction of 255 neither).
        """
        predicted, true, pixels = _tally(*_same_shape(prediction, truth, "prediction"))
        counted = true != IGNORE
        predicted, true, pixels = predicted[counted], true[counted], pixels[counted]
        _check_range(predicted, self.num_classes, "prediction", "a prediction must name a class for every pixel")
        _check_range(true, self.num_classes, "truth", f"only {IGNORE} may mark void pixels")
        self.counts += _joint_counts(true, predicted, pixels, self.counts.shape)

    def __iadd__(self, other: ConfusionMatrix) -> ConfusionMatrix:
        """Add the counts of another matrix, another rank's for example."""
        _check_mergeable(self.num_classes, other.num_classes)
        self.counts += other.counts
        return self

    def iou(self) -> np.ndarray:
        """Intersection over union of each class, (C,) float64; nan where neither truth nor prediction has it."""
        union = self.counts.sum(axis=0) + self.counts.sum(axis=1) - self.counts.diagonal()
        return _ratio(self.counts.diagonal(), union)

    def mean_iou(self) -> float:
        """Mean IoU over the classes that occur in truth or prediction; nan where nothing was counted."""
        return _nan_mean(self.iou())

    def missed(self) -> float:
        """Share of the objects' pixels, of whatever class, that are called background; nan where there are none."""
        objects = self.counts[BACKGROUND + 1 :]
        return float(_ratio(objects[:, BACKGROUND].sum(), objects.sum()))

    def added(self) -> float:
        """Background's pixels that are called an object, as a share of the objects' pixels, so that it compares with
        `missed`; nan where there are none."""
        return float(_ratio(self.counts[BACKGROUND, BACKGROUND + 1 :].sum(), self.counts[BACKGROUND + 1 :].sum()))

    def pixel_accuracy(self) -> float:
        """Share of the counted pixels that are right; nan where nothing was counted."""
        return float(_ratio(self.counts.trace(), self.counts.sum()))


class SeedQuality:
    """How many pixels seeds label and how many of those labels are right; void pixels are left out of it all.

    Attributes:
        counts: (C, C + 1) int64, row = truth, column = seed, the last column for unlabelled pixels.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.counts = np.zeros((num_classes, num_classes + 1), np.int64)

    def update(self, seeds: np.ndarray | Tensor, truth: np.ndarray | Tensor) -> None:
        """Count the pixels of one or more images.

        Args:
            seeds: Class indices or 255 = unlabelled, any shape.
            truth: Class indices or 255 = void, same shape; resize the seeds to the truth, nearest neighbour.

        Raises:
            ValueError: the shapes differ, or an index is no class.
        """
        labels, true, pixels = _tally(*_same_shape(seeds, truth, "seeds"))
        counted = true != IGNORE
        labels, true, pixels = labels[counted], true[counted], pixels[counted]
        _check_range(labels[labels != IGNORE], self.num_classes, "seeds", f"only {IGNORE} may mark unlabelled pixels")
        _check_range(true, self.num_classes, "truth", f"only {IGNORE} may mark void pixels")
        column = np.where(labels == IGNORE, self.num_classes, labels)
        self.counts += _joint_counts(true, column, pixels, self.counts.shape)

    def __iadd__(self, other: SeedQuality) -> SeedQuality:
        """Add the counts of another object, another rank's for example."""
        _check_mergeable(self.num_classes, other.num_classes)
        self.counts += other.counts
        return self

    def result(self) -> dict[str, float]:
        """The figures, each nan where there are no such pixels.

        - coverage: share of the pixels that have a label.
        - foreground_precision: share of the foreground seeds that name the true class.
        - background_precision: share of the background seeds that are background.
        """
        labelled = self.counts[:, :-1]
        right, given = labelled.diagonal(), labelled.sum(axis=0)
        foreground = np.arange(self.num_classes) != BACKGROUND
        return {
            "coverage": float(_ratio(labelled.sum(), self.counts.sum())),
            "foreground_precision": float(_ratio(right[foreground].sum(), given[foreground].sum())),
            "background_precision": float(_ratio(right[BACKGROUND], given[BACKGROUND])),
        }

    def precision(self) -> np.ndarray:
        """Share of each class's seeds that name the true class, (C,) float64; nan where a class has none."""
        labelled = self.counts[:, :-1]
        return _ratio(labelled.diagonal(), labelled.sum(axis=0))


def average_precision(scores: np.ndarray | Tensor, tags: np.ndarray | Tensor) -> np.ndarray:
    """Average precision of each class, without interpolation (scikit-learn's definition).

    Args:
        scores: (N, K) any monotone score of "image n shows class k".
        tags: (N, K) bool, whether it does.

    Returns:
        (K,) float64; nan for classes without a positive image.

    Raises:
        ValueError: the shapes differ or are not (N, K).
    """
    from sklearn.metrics import average_precision_score  # here, for its import takes about a second

    scores, tags = _same_shape(scores, tags, "scores", "tags")
    if scores.ndim != 2:
        raise ValueError(f"scores and tags must be (N, K), not {scores.shape}.")
    tags = tags.astype(bool)
    return np.array(
        [
            average_precision_score(tags[:, k], scores[:, k]) if tags[:, k].any() else np.nan
            for k in range(scores.shape[1])
        ],
        np.float64,
    )


def mean_average_precision(scores: np.ndarray | Tensor, tags: np.ndarray | Tensor) -> float:
    """Mean of `average_precision` over the classes that have a positive image; nan where none has."""
    return _nan_mean(average_precision(scores, tags))


def _same_shape(
    values: np.ndarray | Tensor, reference: np.ndarray | Tensor, name: str, reference_name: str = "truth"
) -> tuple[np.ndarray, np.ndarray]:
    first, second = to_numpy(values), to_numpy(reference)
    if first.shape != second.shape:
        raise ValueError(
            f"{name} {first.shape} and {reference_name} {second.shape} must have the same shape; "
            f"bring {name} to the size of {reference_name} first."
        )
    return first, second


def _check_range(indices: np.ndarray, num_classes: int, name: str, rule: str) -> None:
    for extreme in (indices.min(initial=0), indices.max(initial=0)):
        if not 0 <= extreme < num_classes:
            raise ValueError(
                f"{name} holds the index {extreme}, but there are {num_classes} classes "
                f"(0 to {num_classes - 1}); {rule}."
            )


def _tally(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which pairs of indices two masks hold, and at how many pixels.

    One call of OpenCV counts masks of bytes in the time of decoding one of them; all that is left to check and to add
    are the few pairs that occur. Run lengths in numpy take less time on one thread and more on two: each of their
    dozen calls over all pixels gives the interpreter away and has to wait for it again. What does not suit OpenCV
    comes back pixel by pixel.

    Args:
        first: Class indices, any shape.
        second: Class indices, same shape.

    Returns:
        The first mask's index, the second's and the number of pixels, three arrays (pairs,); pairs may repeat.
    """
    first, second = first.ravel(), second.ravel()
    # The table is float32, which holds every whole number up to 2^24.
    if 0 < first.size < 1 << 24 and _fits_bytes(first) and _fits_bytes(second):
        images = [values.astype(np.uint8, copy=False)[np.newaxis] for values in (first, second)]
        table = cv2.calcHist(images, [0, 1], None, [256, 256], [0, 256, 0, 256])
        firsts, seconds = np.divmod(np.flatnonzero(table != 0), 256)
        return firsts, seconds, table[firsts, seconds]
    return first, second, np.ones(first.size)


def _fits_bytes(values: np.ndarray) -> bool:
    if values.dtype == np.uint8:
        return True
    return values.dtype.kind in "iu" and bool(values.min() >= 0 and values.max() <= 255)


def _joint_counts(rows: np.ndarray, columns: np.ndarray, pixels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Sum of the pixels of each (row, column), int64 of that shape; exact, for float64 holds it up to 2^53."""
    height, width = shape
    pairs = rows.astype(np.int64) * width + columns
    counts = np.bincount(pairs, weights=pixels, minlength=height * width)
    return counts.astype(np.int64).reshape(height, width)


def _check_mergeable(own: int, other: int) -> None:
    if own != other:
        raise ValueError(f"counts of {own} and of {other} classes cannot be added; use the same class list.")


def _ratio(part: np.ndarray | np.int64, whole: np.ndarray | np.int64) -> np.ndarray:
    """part / whole in float64, nan where the whole is 0."""
    below = np.asarray(whole, np.float64)
    ratio = np.full(below.shape, np.nan)
    np.divide(np.asarray(part, np.float64), below, out=ratio, where=below > 0)
    return ratio


def _nan_mean(values: np.ndarray) -> float:
    """Mean of the values that are numbers; nan, without numpy's warning, where none is."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float("nan")
