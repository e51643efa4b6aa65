"""Boxes of detected labels: what each of a photograph's labels covers, and how good that is.

A label is detected where its decision value is above 0. Its box is around the largest component of its map, as
everywhere (`dsrg.boxes.map_boxes`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from dsrg.boxes import LabelledBoxes, box_iou
from dsrg.data.annotations import read_boxes_for, read_label_names
from dsrg.data.voc import Photo
from dsrg.errors import InputError
from dsrg.labels import Classes
from dsrg.study.localization import IOU, GtKnown, MaxBoxAcc, Sums


def true_boxes(directory: Path, photo: Photo, names: Collection[str], size: tuple[int, int]) -> LabelledBoxes:
    """The true boxes of a photograph's labels.

    Args:
        directory: Folder of XML annotations in VOC's form, <stem of the photograph>.xml.
        photo: The photograph, its tags as `dsrg.data.labelled.Labelled` has them.
        names: The K labels; objects of other names are none of them.
        size: Height and width of the photograph.

    Returns:
        Labels, 0 to K - 1, and boxes; none of a photograph without a label, whose annotation is not read.

    Raises:
        InputError: the annotation is missing or broken.
    """
    path = directory / f"{Path(photo.id).stem}.xml"
    if not photo.tags[1:].any():
        return LabelledBoxes(np.zeros(0, np.int64), np.zeros((0, 4)))
    if not path.is_file():
        raise InputError(f"{path}: the annotation does not exist; add it, or leave out --annotations.")
    others = sorted({*read_label_names(path, "add it")} - {*names})
    found = read_boxes_for(path, size[::-1], Classes(("", *names, *others)), photo.path)
    own = photo.tags[1:][np.minimum(found.classes - 1, len(names) - 1)] & (found.classes <= len(names))
    return LabelledBoxes(found.classes[own] - 1, found.boxes[own])


class DetectionBoxes(Sums):
    """Measures of the boxes of detected labels.

    - box_precision: share of the detections whose label is right and whose box overlaps one of the label's true boxes
      with an IoU of at least IOU; label_precision minds the label alone.
    - box_recall: share of the pairs of photograph and label that are detected with such a box; label_recall likewise.
    - pointing: share of the pairs whose map has its highest value in a true box (Zhang et al., "Top-down Neural
      Attention by Excitation Backprop", ECCV 2016), whether detected or not.
    - around_all: share of the pairs whose box overlaps the box around all of the label's true ones so: a map gives one
      box, however many objects it covers.
    - and of all pairs, `GtKnown` and `MaxBoxAcc`.
    """

    sums = ("pairs", "hits", "around", "detected", "labels", "boxes", "known", "best")

    def __init__(self) -> None:
        self.pairs = self.hits = self.around = self.detected = self.labels = self.boxes = 0
        self.known, self.best = GtKnown(), MaxBoxAcc()

    def update(
        self,
        boxes: Mapping[int, np.ndarray],
        detected: Collection[int],
        maps: Mapping[int, np.ndarray],
        truth: LabelledBoxes,
    ) -> None:
        """Take in one photograph.

        Args:
            boxes: The box (4,) of each label that is detected or true.
            detected: The labels that are detected.
            maps: The map (H, W) of each true label, at the photograph's size.
            truth: The true boxes; none of a photograph without a label.
        """
        true = np.unique(truth.classes).tolist()
        overlaps = {
            label: bool((box_iou(boxes[label][None], truth.boxes[truth.classes == label]) >= IOU).any())
            for label in true
        }
        self.pairs += len(true)
        self.detected += len(detected)
        self.labels += sum(label in overlaps for label in detected)
        self.boxes += sum(overlaps.get(label, False) for label in detected)
        for label in true:
            y, x = np.unravel_index(maps[label].argmax(), maps[label].shape)
            left, top, right, bottom = truth.boxes[truth.classes == label].T
            self.hits += bool(((left <= x) & (x < right) & (top <= y) & (y < bottom)).any())
            whole = np.array([[left.min(), top.min(), right.max(), bottom.max()]])
            self.around += bool((box_iou(boxes[label][None], whole) >= IOU).any())
            self.best.update(maps[label], truth.boxes[truth.classes == label])
        if true:
            own = LabelledBoxes(np.array(true), np.stack([boxes[label] for label in true]))
            self.known.update(own, truth)

    def result(self) -> dict[str, float]:
        """The figures, and `pairs`; nan where there is nothing to count."""

        def share(part: int, whole: int) -> float:
            return part / whole if whole else float("nan")

        return {
            "pairs": self.pairs,
            "label_precision": share(self.labels, self.detected),
            "label_recall": share(self.labels, self.pairs),
            "box_precision": share(self.boxes, self.detected),
            "box_recall": share(self.boxes, self.pairs),
            "pointing": share(self.hits, self.pairs),
            "around_all": share(self.around, self.pairs),
            **self.known.result(),
            **self.best.result(),
        }
