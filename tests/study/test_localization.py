"""Measures of localisation against hand-worked cases, plain loops with scipy, and scikit-learn."""

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from sklearn.metrics import average_precision_score

from dsrg.boxes import LabelledBoxes
from dsrg.study.localization import GtKnown, MaxBoxAcc, PixelAveragePrecision, TopErrors, five_boxes

LEFT, RIGHT, HALF, THIRD, FAR = (0, 0, 4, 4), (4, 0, 8, 4), (0, 0, 4, 2), (0, 1, 4, 3), (20, 20, 24, 24)
"""IoU with LEFT: 1, 0, exactly 0.5, exactly 0.5, 0; HALF and THIRD have 1/3 in common."""


def labelled(*pairs: tuple[int, tuple[int, int, int, int]]) -> LabelledBoxes:
    return LabelledBoxes(np.array([k for k, _ in pairs]), np.array([box for _, box in pairs]).reshape(-1, 4))


def iou(one: Any, other: Any) -> float:
    width, height = (min(one[i + 2], other[i + 2]) - max(one[i], other[i]) for i in (0, 1))
    shared = max(width, 0) * max(height, 0)
    areas = [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (one, other)]
    return shared / (sum(areas) - shared) if sum(areas) > shared else 0.0


def test_top_errors_by_hand() -> None:
    measure = TopErrors()
    truth = labelled((3, LEFT))
    one, two, four = (1, LEFT), (2, LEFT), (4, LEFT)
    #                                                          class right at   class and box right at
    measure.update(labelled((3, HALF), one, two), truth)  #    1                1, for an IoU of 0.5 is enough
    measure.update(labelled((3, RIGHT), one, two), truth)  #   1                never: the right box has a wrong class
    measure.update(labelled(one, two, (3, LEFT)), truth)  #    3                3
    measure.update(labelled(one, two, four, (5, LEFT), (6, LEFT), (3, LEFT)), truth)  # sixth, which is too late
    # Two classes: the first guess has the second class, in the place of the first; the second has class and box.
    measure.update(labelled((2, LEFT), (3, FAR), (3, LEFT)), labelled((3, LEFT), (2, RIGHT), (3, RIGHT)))
    assert measure.images == 5
    assert measure.result() == pytest.approx(
        {
            "top1_classification_error": 2 / 5,
            "top1_localization_error": 4 / 5,
            "top5_classification_error": 1 / 5,
            "top5_localization_error": 2 / 5,
        }
    )


def test_the_heuristics_five_boxes_by_hand() -> None:
    """Loose boxes alone are wrong for classes 7 and 3; the second class's tight one is right, and no fifth class is."""
    loose = np.array([FAR, RIGHT, LEFT, LEFT, LEFT])
    tight = np.array([RIGHT, LEFT, FAR, FAR, FAR])
    found = five_boxes(np.array([7, 3, 5, 4, 6]), loose, tight)
    assert found.classes.tolist() == [7, 7, 3, 3, 5]
    assert found.boxes.tolist() == [list(box) for box in (FAR, RIGHT, RIGHT, LEFT, LEFT)]
    for label, error in ((7, 1), (3, 0), (5, 0), (4, 1), (6, 1)):  # 4 and 6 have a right loose box, and no place
        measure = TopErrors()
        measure.update(found, labelled((label, LEFT)))
        assert measure.result()["top5_localization_error"] == error
    two = five_boxes(np.array([2, 1]), loose[:2], tight[:2])
    assert two.classes.tolist() == [2, 2, 1, 1]
    assert two.boxes.tolist() == [list(box) for box in (FAR, RIGHT, RIGHT, LEFT)]


def test_top_five_of_fewer_classes_takes_all_of_them() -> None:
    measure = TopErrors()
    measure.update(labelled((1, LEFT), (2, FAR)), labelled((2, LEFT)))
    assert measure.result()["top5_classification_error"] == 0
    assert measure.result()["top5_localization_error"] == measure.result()["top1_localization_error"] == 1


PLACES = st.sampled_from([LEFT, RIGHT, HALF, THIRD, FAR])
GUESSES = st.lists(st.tuples(st.integers(1, 7), PLACES), min_size=1, max_size=7, unique_by=lambda pair: pair[0])
TRUTHS = st.lists(st.tuples(st.integers(1, 7), PLACES), min_size=1, max_size=4)


@settings(deadline=None)
@given(st.lists(st.tuples(GUESSES, TRUTHS), min_size=1, max_size=6))
def test_top_errors_are_ilsvrcs(images: Any) -> None:
    measure = TopErrors()
    wrong = {(k, kind): 0 for k in (1, 5) for kind in ("classification", "localization")}
    for guesses, truth in images:
        measure.update(labelled(*guesses), labelled(*truth))
        for k in (1, 5):
            # The least over the guesses and true boxes of: is the class wrong; is class or box wrong.
            pairs = [(c != t, c != t or iou(b, g) < 0.5) for c, b in guesses[:k] for t, g in truth]
            wrong[k, "classification"] += min(named for named, _ in pairs)
            wrong[k, "localization"] += min(boxed for _, boxed in pairs)
    expected = {f"top{k}_{kind}_error": count / len(images) for (k, kind), count in wrong.items()}
    assert measure.result() == pytest.approx(expected)


def test_gt_known_by_hand() -> None:
    measure = GtKnown()
    measure.update(labelled((3, HALF)), labelled((3, FAR), (3, LEFT)))  # any of the class's boxes
    measure.update(labelled((2, THIRD), (3, LEFT), (7, LEFT)), labelled((3, LEFT), (2, HALF)))  # 2 is wrong, 3 right
    assert (measure.right, measure.pairs) == (2, 3)
    assert measure.result() == {"gt_known_accuracy": 2 / 3}


@pytest.mark.parametrize("guesses", [labelled((2, LEFT)), labelled((3, LEFT), (3, FAR))])
def test_gt_known_needs_one_box_a_class(guesses: LabelledBoxes) -> None:
    with pytest.raises(ValueError, match="one box for each class of the image, also for class 3"):
        GtKnown().update(guesses, labelled((3, LEFT), (3, RIGHT)))


def test_refuses_images_without_boxes() -> None:
    for measure in (TopErrors(), GtKnown()):
        with pytest.raises(ValueError, match="truth holds no box; leave out"):
            measure.update(labelled((1, LEFT)), labelled())
        with pytest.raises(ValueError, match="guesses holds no box"):
            measure.update(labelled(), labelled((1, LEFT)))
        with pytest.raises(ValueError, match=r"as many boxes \(1\) as classes \(2\)"):
            measure.update(LabelledBoxes(np.array([1, 2]), np.array([LEFT])), labelled((1, LEFT)))
    with pytest.raises(ValueError, match="truth holds no box; leave out"):
        MaxBoxAcc().update(np.eye(3), np.zeros((0, 4)))


def test_max_box_acc_by_hand() -> None:
    # One row of ten pixels, already in 0..1, in quarters: thresholds 0, 0.25, 0.5, 0.75.
    row = np.array([[0, 1, 1, 0.5, 0.25, 0, 0.75, 0.75, 0.75, 0]])
    measure = MaxBoxAcc(steps=4)
    # Above 0: pixels 1-4 and 6-8; above 0.25: 1-3 and 6-8; above 0.5: 1-2 and 6-8; above 0.75: 1-2.
    measure.update(3 * row - 7, np.array([[1, 0, 5, 1]]))
    # IoU with pixels 1-4: 1, 3/4 (the first of two of three pixels), 2/4 for any and 0 for the largest, 2/4.
    assert measure.right_any.tolist() == [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 0, 0]]
    assert measure.right_largest.tolist() == [[1, 1, 0, 1], [1, 1, 0, 1], [1, 1, 0, 0]]
    measure.update(torch.from_numpy(row), torch.tensor([[6, 0, 9, 1], [9, 0, 10, 1]]))
    # IoU with pixels 6-8: any 1, 1, 1, 0; the largest 0, 0 (the first of equals), 1, 0.
    assert (measure.right_any - [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 0, 0]]).tolist() == [[1, 1, 1, 0]] * 3
    assert measure.right_largest[1].tolist() == [1, 1, 1, 1]
    measure.update(row, np.array([[0, 0, 10, 1]]))  # at best 4/10
    measure.update(np.full((1, 10), 5.0), np.array([[0, 0, 10, 1]]))  # a constant map has no box
    assert measure.maps == 4
    assert measure.result() == pytest.approx(
        {
            "max_box_acc": 1 / 4,
            "max_box_acc_threshold": 0,
            "max_box_acc_v2_30": 3 / 4,  # at threshold 0
            "max_box_acc_v2_50": 2 / 4,
            "max_box_acc_v2_70": 2 / 4,
            "max_box_acc_v2": (3 / 4 + 2 / 4 + 2 / 4) / 3,
        }
    )


def naive_max_box_acc(images: Any, thresholds: Any) -> tuple[float, float]:
    """MaxBoxAcc and MaxBoxAccV2, one threshold, image, component and box at a time."""
    first, second = {}, {}
    for t in thresholds:
        for limit in (0.3, 0.5, 0.7):
            right = [0, 0]
            for scores, truth in images:
                span = scores.max() - scores.min()
                mask = (scores - scores.min()) / span > t if span else np.zeros(scores.shape, bool)
                labels, count = ndimage.label(mask, np.ones((3, 3)))
                places = [(x.start, y.start, x.stop, y.stop) for y, x in ndimage.find_objects(labels)]
                hits = [any(iou(place, box) >= limit for box in truth) for place in places]
                sizes = [(labels == i + 1).sum() for i in range(count)]
                right[0] += hits[int(np.argmax(sizes))] if count else False
                right[1] += any(hits)
            first[t, limit], second[t, limit] = (number / len(images) for number in right)
    best = [max(second[t, limit] for t in thresholds) for limit in (0.3, 0.5, 0.7)]
    return max(first[t, 0.5] for t in thresholds), sum(best) / 3


@pytest.mark.parametrize("smooth", [0, 1, 3])
def test_max_box_acc_equals_plain_loops(smooth: float) -> None:
    rng = np.random.default_rng(7)
    measure, images = MaxBoxAcc(steps=20), []
    for _ in range(12):
        scores = ndimage.gaussian_filter(rng.normal(size=(16, 20)), smooth).astype(np.float32)
        # True boxes around pixels with high scores, so that some are found.
        x, y = rng.integers(0, 10, 2)
        truth = [(int(x), int(y), int(x + rng.integers(4, 10)), int(y + rng.integers(3, 6))) for _ in range(2)]
        scores[truth[0][1] : truth[0][3], truth[0][0] : truth[0][2]] += rng.random()
        images.append((scores.astype(np.float64), truth))
        measure.update(scores, np.array(truth))
    single, second = naive_max_box_acc(images, np.arange(20) / 20)
    assert 0 < second < 1  # a case that could fail
    result = measure.result()
    assert (result["max_box_acc"], result["max_box_acc_v2"]) == pytest.approx((single, second))


def test_max_box_acc_refuses_what_is_not_finite() -> None:
    with pytest.raises(ValueError, match="finite"):
        MaxBoxAcc().update(np.array([[0, np.nan]]), np.array([LEFT]))


def test_pxap_by_hand() -> None:
    measure = PixelAveragePrecision(3, steps=4)
    #  scores 0..1 are           0  0.25 0.5 0.75 1; the void pixel, at the minimum, still sets the range
    measure.update(np.array([[-4, -3, -2, -2, -1, 0.0]]), np.array([[255, 1, 0, 1, 2, 1]]), 1)
    # From the top: 1 yes (P 1, R 1/3); 0.75 no; 0.5 one of two (P 2/4, R 2/3); 0.25 yes (P 3/5, R 1).
    assert measure.result()["pxap"] == pytest.approx((1 + 2 / 4 + 3 / 5) / 3)
    assert measure.counts[1].tolist() == [[0, 0, 1, 1, 0], [0, 1, 1, 0, 1]]
    # A map of class 2 whose score is constant: all at 0, P 1/4. Over all pixels: 1/1 + 2/4 + 3/5, then 4/9.
    measure.update(torch.full((2, 2), 3.0), torch.tensor([[2, 0], [1, 0]]), 2)
    assert measure.result()["pxap"] == pytest.approx((1 + 2 / 4 + 3 / 5 + 4 / 9) / 4)
    assert measure.result()["mean_pxap"] == pytest.approx(((1 + 2 / 4 + 3 / 5) / 3 + 1 / 4) / 2)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(
            arrays(np.float64, (5, 6), elements=st.floats(-3, 3, width=32)),
            arrays(np.uint8, (5, 6), elements=st.sampled_from([0, 1, 2, 255])),
            st.sampled_from([1, 2]),
        ),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from([1, 7, 100, 1000]),
)
def test_pxap_is_scikit_learns_of_quantised_scores(images: Any, steps: int) -> None:
    measure = PixelAveragePrecision(3, steps)
    pooled: dict[int, list[np.ndarray]] = {0: [], 1: [], 2: []}
    for scores, mask, label in images:
        measure.update(scores, mask, label)
        scaled = scores - scores.min()
        scaled = scaled / scaled.max() if scaled.max() > 0 else scaled
        # The last threshold that the score reaches, one comparison each.
        level = (scaled.ravel()[:, None] >= np.arange(steps + 1) / steps).sum(axis=1)
        pixels = np.stack([level, mask.ravel() == label])[:, mask.ravel() != 255]
        pooled[0].append(pixels)
        pooled[label].append(pixels)
    together = {k: np.concatenate(parts, axis=1) for k, parts in pooled.items() if parts}
    expected = {k: average_precision_score(yes, level) for k, (level, yes) in together.items() if yes.any()}
    result = measure.result()
    if expected:
        assert result["pxap"] == pytest.approx(expected.pop(0))
        assert result["mean_pxap"] == pytest.approx(np.mean(list(expected.values())))
    else:
        assert np.isnan([result["pxap"], result["mean_pxap"]]).all()


def test_pxap_refuses_what_does_not_fit() -> None:
    measure = PixelAveragePrecision(3)
    with pytest.raises(ValueError, match=r"score_map \(2, 2\) and mask \(2, 3\) must have the same shape"):
        measure.update(np.eye(2), np.zeros((2, 3), np.uint8), 1)
    with pytest.raises(ValueError, match=r"label is 3, but there are 3 classes \(0 to 2\)"):
        measure.update(np.eye(2), np.zeros((2, 2), np.uint8), 3)
    with pytest.raises(ValueError, match="finite"):
        measure.update(np.array([[np.inf]]), np.zeros((1, 1), np.uint8), 1)


def test_nothing_counted_is_nan() -> None:
    for measure in (TopErrors(), GtKnown(), MaxBoxAcc(), PixelAveragePrecision(2)):
        assert np.isnan(list(measure.result().values())).all()


def fed(measure: Any, images: range) -> Any:
    """The measure after some of a few random images."""
    for i in images:
        rng = np.random.default_rng(i)
        truth = labelled(*((int(k), LEFT if rng.random() < 0.5 else RIGHT) for k in rng.permutation(3)[:2]))
        scores = rng.random((4, 8)) * 0.2 + (np.arange(8) < 4)
        if isinstance(measure, MaxBoxAcc):
            measure.update(scores, truth.boxes)
        elif isinstance(measure, PixelAveragePrecision):
            measure.update(scores, rng.integers(0, 3, (4, 8)), 1)
        else:
            measure.update(labelled(*((int(k), LEFT) for k in rng.permutation(3))), truth)
    return measure


@pytest.mark.parametrize("make", [TopErrors, GtKnown, MaxBoxAcc, lambda: PixelAveragePrecision(3)])
def test_processes_can_be_merged(make: Any) -> None:
    whole = fed(make(), range(9))
    first, second = (pickle.loads(pickle.dumps(fed(make(), part))) for part in (range(4), range(4, 9)))
    assert first.result() != whole.result()
    first += second
    assert first.result() == whole.result()


@pytest.mark.parametrize(
    ("one", "other"),
    [(MaxBoxAcc(), MaxBoxAcc(steps=5)), (PixelAveragePrecision(3), PixelAveragePrecision(4))],
)
def test_counts_of_other_settings_cannot_be_added(one: Any, other: Any) -> None:
    with pytest.raises(ValueError, match="cannot be added; make them alike"):
        one += other
