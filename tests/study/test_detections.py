"""Boxes of detections by hand: what is detected, where, and what it is measured on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import save_photo

from dsrg.boxes import LabelledBoxes
from dsrg.data.voc import Photo
from dsrg.errors import InputError
from dsrg.study.detections import DetectionBoxes, true_boxes

LEFT, RIGHT, HALF = np.array([0, 0, 4, 4]), np.array([4, 0, 8, 4]), np.array([0, 0, 4, 2])
NONE = LabelledBoxes(np.zeros(0, np.int64), np.zeros((0, 4)))


def peak(x: int, y: int) -> np.ndarray:
    """A map (4, 8) that is highest at one pixel."""
    found = np.zeros((4, 8))
    found[y, x] = 1
    return found


def test_figures_by_hand() -> None:
    measure = DetectionBoxes()
    one = LabelledBoxes(np.array([0]), LEFT[None])
    # Label right, and box, by an IoU of exactly a half; the map's peak lies inside.
    measure.update({0: HALF}, [0], {0: peak(3, 3)}, one)
    # Label right, box wrong; peak on the first column behind the box.
    measure.update({0: RIGHT}, [0], {0: peak(4, 0)}, one)
    # Missed; its box would have been right.
    measure.update({0: LEFT}, [], {0: peak(0, 0)}, one)
    # Nothing to find, and something found: label 1.
    measure.update({0: LEFT, 1: LEFT}, [1], {}, NONE)
    # Two labels, one with two boxes, of which the second is meant; label 1 is missed, with a wrong box.
    two = LabelledBoxes(np.array([0, 0, 1]), np.stack([LEFT, RIGHT, RIGHT]))
    measure.update({0: RIGHT, 1: LEFT}, [0], {0: peak(5, 1), 1: peak(5, 1)}, two)
    found = measure.result()
    assert found["pairs"] == 5
    assert found["label_precision"] == 3 / 4
    assert found["box_precision"] == 2 / 4
    assert found["label_recall"] == 3 / 5
    assert found["box_recall"] == 2 / 5
    assert found["pointing"] == 4 / 5
    assert found["gt_known_accuracy"] == 3 / 5
    assert found["around_all"] == 3 / 5  # HALF and LEFT of the first label's, RIGHT, half of what holds both its boxes
    empty = DetectionBoxes().result()
    assert np.isnan([empty[name] for name in ("label_precision", "box_recall", "pointing", "max_box_acc")]).all()


def test_true_boxes_are_those_of_the_photographs_labels(tmp_path: Path) -> None:
    photo = Photo("deep/a.jpg", save_photo(tmp_path / "a.jpg"), np.array([True, True, False]))  # of 10 x 8 pixels
    objects = ""
    for name, (left, top, right, bottom) in (("cat", (1, 1, 4, 4)), ("dog", (2, 2, 3, 3)), ("cup", (1, 1, 9, 8))):
        edges = {"xmin": left, "ymin": top, "xmax": right, "ymax": bottom}
        body = "".join(f"<{key}>{edge}</{key}>" for key, edge in edges.items())
        objects += f"<object><name>{name}</name><bndbox>{body}</bndbox></object>"
    (tmp_path / "a.xml").write_text(f"<annotation>{objects}</annotation>")
    found = true_boxes(tmp_path, photo, ("cat", "dog"), (8, 10))
    assert found.classes.tolist() == [0]  # a dog is there, but is none of its labels; a cup is no label at all
    assert found.boxes.tolist() == [[0, 0, 4, 4]]
    unlabelled = Photo("b.jpg", photo.path, np.array([True, False, False]))
    assert not len(true_boxes(tmp_path, unlabelled, ("cat", "dog"), (8, 10)).classes)
    (tmp_path / "a.xml").unlink()
    with pytest.raises(InputError, match=r"a\.xml: the annotation does not exist; add it, or leave out --annotations"):
        true_boxes(tmp_path, photo, ("cat", "dog"), (8, 10))
