"""Measures of weakly supervised localisation: which class, and where.

Every measure is an object that takes in one image at a time, can be pickled and added to another (`+=`), another
process's for example, and gives its figures with `result`: fractions in 0..1, nan before the first image.

- `TopErrors`: classification and localisation error, top 1 and top 5, of ILSVRC (Russakovsky et al., "ImageNet Large
  Scale Visual Recognition Challenge", IJCV 2015), as in the tables of the CAM paper (Zhou et al., CVPR 2016).
- `GtKnown`: localisation accuracy when the class is given.
- `MaxBoxAcc`, `PixelAveragePrecision`: MaxBoxAcc, MaxBoxAccV2 and PxAP of Choe et al., "Evaluating Weakly Supervised
  Object Localization Methods Right", CVPR 2020, and "Evaluation for Weakly Supervised Object Localization: Protocol,
  Metrics, and Datasets", TPAMI 2022.

Boxes are x0, y0, x1, y1 in pixels, half-open, as in `dsrg.boxes`. Classes are indices, whichever, as long as prediction
and truth count alike.
"""

from __future__ import annotations

from typing import ClassVar, TypeVar

import numpy as np
from torch import Tensor

from dsrg.boxes import LabelledBoxes, box_iou, threshold_boxes
from dsrg.labels import IGNORE
from dsrg.shapes import to_numpy

IOU = 0.5
"""The least overlap of a right box."""
TOPS = (1, 5)
"""Numbers of guesses of the top errors."""
Own = TypeVar("Own", bound="Sums")


class Sums:
    """A measure whose counts, the attributes that `sums` names, can be added to another's."""

    sums: ClassVar[tuple[str, ...]]

    def __iadd__(self: Own, other: Own) -> Own:
        """Add the counts of another object, another process's for example."""
        for name in self.sums:
            own, added = getattr(self, name), getattr(other, name)
            if np.shape(own) != np.shape(added):
                raise ValueError(
                    f"measures with counts of the shapes {np.shape(own)} and {np.shape(added)} cannot be added; make "
                    "them alike."
                )
            own += added
            setattr(self, name, own)
        return self


class TopErrors(Sums):
    """Share of the images of which none of the k best guesses is right, as to the class or as to class and box.

    A guess is a class and a box. It is right as to the class when the image shows that class, and right altogether
    when its box also overlaps one of that class's true boxes with an IoU of at least IOU. An image of several classes
    is right when a guess is right for any of them; with one class for each image that is ILSVRC's definition.

    Where there are fewer than k guesses, because the data set has fewer than k classes, all of them count: of four
    classes, top 5 is top 4, whose classification error is 0 for any classifier.
    """

    sums = ("images", "right_class", "right_box")

    def __init__(self) -> None:
        self.images = 0
        self.right_class, self.right_box = np.zeros((2, len(TOPS)), np.int64)

    def update(self, guesses: LabelledBoxes, truth: LabelledBoxes) -> None:
        """Take in one image.

        Args:
            guesses: Classes in descending order of their scores, and a box for each; at least one.
            truth: The true boxes; at least one.

        Raises:
            ValueError: there are none, or the shapes do not fit.
        """
        matches, overlaps = _pairs(guesses, truth)
        right = matches & overlaps
        self.images += 1
        self.right_class += [matches[:k].any() for k in TOPS]
        self.right_box += [right[:k].any() for k in TOPS]

    def result(self) -> dict[str, float]:
        """`top<k>_classification_error` and `top<k>_localization_error` for each k."""
        errors = {}
        for k, named, boxed in zip(TOPS, self.right_class, self.right_box, strict=True):
            errors[f"top{k}_classification_error"] = 1 - _ratio(named, self.images)
            errors[f"top{k}_localization_error"] = 1 - _ratio(boxed, self.images)
        return errors


def five_boxes(classes: np.ndarray, loose: np.ndarray, tight: np.ndarray) -> LabelledBoxes:
    """The heuristic choice of five guesses of Zhou et al. 2016, Sect. 3.2 and Table 3: a loose and a tight box for the
    likeliest class and the next, a loose one for the third.

    It trades classes for boxes: the right class is mostly among the first three, and a second box of another size may
    fit where the first does not. The order is that of the authors' released code.

    Args:
        classes: (N,) likeliest first.
        loose: (N or more, 4) the box of each, cut at a low share of the map's maximum.
        tight: (N, 4) the box of each, cut at a higher one.

    Returns:
        Up to five guesses, fewer of fewer than three classes.
    """
    chosen = [(0, loose), (0, tight), (1, loose), (1, tight), (2, loose)]
    there = [(number, boxes[number]) for number, boxes in chosen if number < len(classes)]
    numbers, boxes = zip(*there, strict=True)
    return LabelledBoxes(classes[list(numbers)], np.stack(boxes))


class GtKnown(Sums):
    """Localisation accuracy with the class given: share of the (image, class) pairs whose box is right.

    A box is right when it overlaps one of the class's true boxes with an IoU of at least IOU. Each class that an
    image shows is a pair of its own; with one class for each image that is the usual GT-known accuracy.
    """

    sums = ("pairs", "right")

    def __init__(self) -> None:
        self.pairs = 0
        self.right = 0

    def update(self, guesses: LabelledBoxes, truth: LabelledBoxes) -> None:
        """Take in one image.

        Args:
            guesses: One box for each of the image's own classes, in any order; other classes' boxes are left out.
            truth: The true boxes; at least one.

        Raises:
            ValueError: a class of the image has no box or two, or the shapes do not fit.
        """
        matches, overlaps = _pairs(guesses, truth)
        unclear = truth.classes[matches.sum(axis=0) != 1]
        if len(unclear):
            raise ValueError(f"guesses must hold one box for each class of the image, also for class {unclear[0]}.")
        self.pairs += len(np.unique(truth.classes))
        self.right += int((matches & overlaps).any(axis=1).sum())

    def result(self) -> dict[str, float]:
        """`gt_known_accuracy`."""
        return {"gt_known_accuracy": _ratio(self.right, self.pairs)}


class MaxBoxAcc(Sums):
    """Box accuracy at the threshold of the score map that is best for it (Choe et al. 2020, Sect. 4.1).

    Each map is brought to 0..1 by its own minimum and maximum. At every threshold t = 0, 1/steps, ... below 1, the
    pixels above t form components, and a box around a component is right when it overlaps one of the true boxes with an
    IoU of at least δ. BoxAcc(t, δ) is the share of the maps with a right box:

    - MaxBoxAcc takes the largest component's box, δ = 0.5, and the best t.
    - MaxBoxAccV2 takes the boxes of all components, any of which may be right, the best t for each δ of 0.3, 0.5 and
      0.7, and the mean of the three.

    So t is chosen on the ground truth that measures: this is what the best threshold would give, not what a threshold
    chosen beforehand gives (`GtKnown`). A constant map points at nothing, has no box and is wrong, as published.

    The authors' code differs in details: it rounds maps and thresholds to 1/255, works at 224 x 224 pixels with boxes
    rounded to it and a pixel larger, takes the largest contour by the area of its polygon, and counts the contours of
    holes as boxes too. Above t, not at t, is as in their code; the paper writes at least t.

    Args:
        steps: Number of thresholds.

    Attributes:
        right_largest: (3, steps) int64, maps whose largest component's box is right, by δ.
        right_any: (3, steps) int64, maps of which any component's box is right.
    """

    ious = (0.3, IOU, 0.7)
    sums = ("maps", "right_largest", "right_any")

    def __init__(self, steps: int = 100) -> None:
        self.thresholds = np.arange(steps) / steps
        self.maps = 0
        self.right_largest, self.right_any = np.zeros((2, len(self.ious), steps), np.int64)

    def update(self, score_map: np.ndarray | Tensor, truth: np.ndarray | Tensor) -> None:
        """Take in the map of one class for one image.

        Args:
            score_map: (H, W) of any range, at the size of the image.
            truth: (G, 4) the true boxes of the class; at least one.

        Raises:
            ValueError: there are none, the map has values that are not finite, or the shapes do not fit.
        """
        if not len(truth):
            raise ValueError("truth holds no box; leave out images without one.")
        found = threshold_boxes(_normalise(score_map), self.thresholds)
        overlap = box_iou(found.boxes, truth).max(axis=1)
        best_any, best_largest = np.zeros((2, len(self.thresholds)))
        np.maximum.at(best_any, found.threshold, overlap)
        there = found.largest >= 0
        best_largest[there] = overlap[found.largest[there]]
        self.maps += 1
        limits = np.array(self.ious)[:, None]
        self.right_largest += best_largest >= limits
        self.right_any += best_any >= limits

    def result(self) -> dict[str, float]:
        """The figures.

        - max_box_acc: the largest component, IoU 0.5.
        - max_box_acc_threshold: the lowest of the thresholds that are best for it.
        - max_box_acc_v2: the mean of the next ones.
        - max_box_acc_v2_<100 δ>: any component, IoU δ.
        """
        if not self.maps:
            best, single, threshold = np.full(len(self.ious), np.nan), float("nan"), float("nan")
        else:
            largest = self.right_largest[self.ious.index(IOU)]
            single, threshold = float(largest.max() / self.maps), float(self.thresholds[largest.argmax()])
            best = self.right_any.max(axis=1) / self.maps
        figures = {
            "max_box_acc": single,
            "max_box_acc_threshold": threshold,
            "max_box_acc_v2": float(best.mean()),
        }
        each = {f"max_box_acc_v2_{100 * iou:.0f}": float(share) for iou, share in zip(self.ious, best, strict=True)}
        return figures | each


class PixelAveragePrecision(Sums):
    """PxAP: average precision of a score map's pixels against masks (Choe et al. 2020, Sect. 4.1).

    Each map is brought to 0..1 by its own minimum and maximum. With τ_l the thresholds from 1 down to 0, and over all
    pixels of all images at once, precision P(τ) is the share of the pixels with a score of at least τ that show the
    class, recall R(τ) the share of the class's pixels that have such a score:

        PxAP = Σ_l P(τ_l) (R(τ_l) - R(τ_{l-1}))

    mPxAP (their TPAMI paper) is the mean of the PxAP of each class's maps, so that classes with many pixels do not
    outweigh the others.

    Args:
        num_classes: C; labels are 0..C-1.
        steps: The thresholds are 0, 1/steps, ..., 1.

    Attributes:
        counts: (C, 2, steps + 1) int64, pixels of each class's maps whose score lies from threshold l to the next: 1
            those that show the class, 0 the others.
    """

    sums = ("counts",)

    def __init__(self, num_classes: int, steps: int = 1000) -> None:
        self.thresholds = np.arange(steps + 1) / steps
        self.counts = np.zeros((num_classes, 2, steps + 1), np.int64)

    def update(self, score_map: np.ndarray | Tensor, mask: np.ndarray | Tensor, label: int) -> None:
        """Take in the map of one class for one image.

        Args:
            score_map: (H, W) of any range.
            mask: (H, W) class indices, at the size of the map; pixels of 255 are left out.
            label: Index of the map's class in the mask.

        Raises:
            ValueError: the shapes differ, the map has values that are not finite, or the label is no class.
        """
        if not 0 <= label < len(self.counts):
            raise ValueError(
                f"label is {label}, but there are {len(self.counts)} classes (0 to {len(self.counts) - 1})."
            )
        scores, truth = _normalise(score_map), to_numpy(mask)
        if scores.shape != truth.shape:
            raise ValueError(f"score_map {scores.shape} and mask {truth.shape} must have the same shape.")
        counted = truth != IGNORE
        level = np.searchsorted(self.thresholds, scores[counted], side="right") - 1
        cell = level + len(self.thresholds) * (truth[counted] == label)
        self.counts[label] += np.bincount(cell, minlength=2 * len(self.thresholds)).reshape(2, -1)

    def result(self) -> dict[str, float]:
        """`pxap` and `mean_pxap`, the mean over the classes of which a pixel was shown; nan where none was."""
        each = [_area(counts) for counts in self.counts if counts[1].any()]
        return {
            "pxap": _area(self.counts.sum(axis=0)),
            "mean_pxap": sum(each) / len(each) if each else float("nan"),
        }


def _area(counts: np.ndarray) -> float:
    """The area under the curve of precision over recall, of counts (2, L) in the order of ascending scores."""
    positives, pixels = counts[1, ::-1], counts[:, ::-1].sum(axis=0).cumsum()
    precision = positives.cumsum() / np.maximum(pixels, 1)
    total = int(positives.sum())
    return float((precision * positives).sum() / total) if total else float("nan")


def _pairs(guesses: LabelledBoxes, truth: LabelledBoxes) -> tuple[np.ndarray, np.ndarray]:
    """Which guesses have the class of which true box, and which overlap it enough, both (P, G) bool; checks them."""
    for name, boxes in (("guesses", guesses), ("truth", truth)):
        if not len(boxes.classes):
            raise ValueError(f"{name} holds no box; leave out images without one.")
        if len(boxes.classes) != len(boxes.boxes):
            raise ValueError(f"{name} must hold as many boxes ({len(boxes.boxes)}) as classes ({len(boxes.classes)}).")
    return guesses.classes[:, None] == truth.classes, box_iou(guesses.boxes, truth.boxes) >= IOU


def _normalise(score_map: np.ndarray | Tensor) -> np.ndarray:
    """The map in 0..1 by its minimum and maximum, float64; a constant map becomes 0."""
    scores = to_numpy(score_map).astype(np.float64)
    if scores.ndim != 2 or not scores.size or not np.isfinite(scores).all():
        raise ValueError(f"score_map must be (H, W) of finite values, not {scores.shape} with nan or infinite ones.")
    scores -= scores.min()
    peak = scores.max()
    return scores / peak if peak > 0 else scores


def _ratio(part: int | np.int64, whole: int) -> float:
    return float(part / whole) if whole else float("nan")
