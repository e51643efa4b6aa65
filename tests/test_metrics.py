"""Measures against scikit-learn and plain counting."""

import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score

from dsrg.metrics import ConfusionMatrix, SeedQuality, average_precision, mean_average_precision


def masks(seed=0, classes=6, shape=(3, 17, 19)):
    rng = np.random.default_rng(seed)
    prediction = rng.integers(0, classes, shape).astype(np.uint8)
    truth = np.where(rng.random(shape) < 0.6, prediction, rng.integers(0, classes, shape)).astype(np.uint8)
    truth[rng.random(shape) < 0.1] = 255
    return prediction, truth


def test_iou_equals_scikit_learn():
    prediction, truth = masks()
    matrix = ConfusionMatrix(6)
    for pair in zip(prediction, truth, strict=True):
        matrix.update(*pair)
    counted = truth != 255
    expected = jaccard_score(truth[counted], prediction[counted], average=None)
    np.testing.assert_allclose(matrix.iou(), expected)
    assert matrix.mean_iou() == pytest.approx(expected.mean())
    assert matrix.pixel_accuracy() == pytest.approx((prediction == truth)[counted].mean())


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int64])
@pytest.mark.parametrize("void", [0, 255, 99, -1])
def test_counts_equal_the_per_pixel_loop(kind, void):
    prediction, truth = (mask.astype(kind) for mask in masks())
    confused = [[0] * 6 for _ in range(6)]
    seeded = [[0] * 7 for _ in range(6)]
    seeds = np.where(np.roll(truth, 3) == 255, 255, prediction)
    for k, t, seed in zip(prediction.flat, truth.flat, seeds.flat, strict=True):
        if t != 255:
            confused[t][k] += 1
            seeded[t][6 if seed == 255 else seed] += 1
    # Void pixels count for nothing, whatever the prediction, which need not even be a class.
    matrix, quality = ConfusionMatrix(6), SeedQuality(6)
    matrix.update(np.where(truth == 255, void, prediction).astype(kind), truth)
    quality.update(np.where(truth == 255, void, seeds).astype(kind), truth)
    assert matrix.counts.dtype == quality.counts.dtype == np.int64
    assert matrix.counts.tolist() == confused
    assert quality.counts.tolist() == seeded


def test_masks_of_void_or_without_pixels_count_nothing():
    for truth in (np.full((3, 4), 255, np.uint8), np.zeros((0, 4), np.uint8)):
        matrix, quality = ConfusionMatrix(3), SeedQuality(3)
        matrix.update(truth, truth)
        quality.update(truth, truth)
        assert not matrix.counts.any() and not quality.counts.any()


def test_every_orientation_in_memory_counts_the_same():
    prediction, truth = (mask[0] for mask in masks())
    straight, turned = ConfusionMatrix(6), ConfusionMatrix(6)
    straight.update(prediction, truth)
    turned.update(np.asfortranarray(prediction)[::-1], truth[::-1])
    np.testing.assert_array_equal(straight.counts, turned.counts)


def test_classes_in_neither_are_nan_and_wrong_ones_count_as_zero():
    matrix = ConfusionMatrix(4)
    matrix.update(np.array([0, 0, 2]), np.array([0, 1, 0]))
    np.testing.assert_array_equal(matrix.iou(), [1 / 3, 0, 0, np.nan])
    assert matrix.mean_iou() == pytest.approx(1 / 9)


def test_missed_and_added_are_shares_of_the_objects_pixels():
    matrix = ConfusionMatrix(3)
    #  objects: 5 pixels, 2 of them called background, 1 another object; 1 of 4 background pixels called an object
    matrix.update(np.array([0, 0, 1, 2, 2, 0, 0, 0, 1]), np.array([1, 2, 2, 2, 2, 0, 0, 0, 0]))
    assert (matrix.missed(), matrix.added()) == (2 / 5, 1 / 5)
    assert np.isnan(ConfusionMatrix(3).missed()) and np.isnan(ConfusionMatrix(3).added())


def test_truth_measured_against_itself_is_perfect_void_included():
    _, truth = masks()
    matrix = ConfusionMatrix(6)
    matrix.update(truth, truth)
    assert matrix.mean_iou() == matrix.pixel_accuracy() == 1


def test_nothing_counted_is_nan():
    matrix = ConfusionMatrix(3)
    assert np.isnan(matrix.iou()).all() and np.isnan(matrix.mean_iou()) and np.isnan(matrix.pixel_accuracy())


def test_accepts_tensors_and_merges():
    prediction, truth = masks()
    whole, first, second = ConfusionMatrix(6), ConfusionMatrix(6), ConfusionMatrix(6)
    whole.update(prediction, truth)
    first.update(torch.from_numpy(prediction[:1]).long(), torch.from_numpy(truth[:1]))
    second.update(prediction[1:], truth[1:])
    first += second
    np.testing.assert_array_equal(first.counts, whole.counts)
    with pytest.raises(ValueError, match="of 6 and of 5 classes"):
        first += ConfusionMatrix(5)


@pytest.mark.parametrize(
    ("prediction", "truth", "message"),
    [
        ([0, 3], [0, 0], "prediction holds the index 3, but there are 3 classes"),
        ([0, 255], [0, 0], "prediction holds the index 255.*must name a class for every pixel"),
        ([0, -1], [0, 0], "prediction holds the index -1"),
        ([0, 300], [0, 0], "prediction holds the index 300"),
        ([0, 0], [0, 7], "truth holds the index 7.*only 255 may mark void"),
        ([0, 0], [0, -1], "truth holds the index -1"),
        ([0, 0], [0], r"prediction \(2,\) and truth \(1,\) must have the same shape"),
    ],
)
def test_refuses_bad_indices_and_shapes(prediction, truth, message):
    with pytest.raises(ValueError, match=message):
        ConfusionMatrix(3).update(np.array(prediction), np.array(truth))
    if min(prediction + truth) >= 0 and max(prediction + truth) <= 255:
        with pytest.raises(ValueError, match=message):
            ConfusionMatrix(3).update(np.array(prediction, np.uint8), np.array(truth, np.uint8))


def test_seed_quality():
    #        right     wrong  unlabelled  void      right and wrong background
    seeds = [1, 2, 2,  1, 1,  255, 255,   1, 255,   0, 0, 0]  # fmt: skip
    truth = [1, 2, 2,  0, 2,  0,   1,     255, 255, 0, 0, 1]  # fmt: skip
    quality = SeedQuality(3)
    quality.update(np.array(seeds[:6]), np.array(truth[:6]))
    rest = SeedQuality(3)
    rest.update(torch.tensor(seeds[6:]), torch.tensor(truth[6:]))
    quality += rest
    assert quality.result() == pytest.approx(
        {"coverage": 8 / 10, "foreground_precision": 3 / 5, "background_precision": 2 / 3}
    )
    assert quality.precision() == pytest.approx([2 / 3, 1 / 3, 2 / 2])


def test_seed_quality_without_seeds():
    quality = SeedQuality(3)
    quality.update(np.full((2, 2), 255, np.uint8), np.zeros((2, 2), np.uint8))
    result = quality.result()
    assert result["coverage"] == 0
    assert np.isnan(result["foreground_precision"]) and np.isnan(result["background_precision"])
    with pytest.raises(ValueError, match="seeds holds the index 3"):
        quality.update(np.array([3]), np.array([0]))


def test_average_precision():
    scores = torch.tensor([[0.9, 0.1, 0.5], [0.8, 0.2, 0.4], [0.7, 0.3, 0.3]])
    tags = torch.tensor([[True, False, False], [False, False, True], [True, False, True]])
    result = average_precision(scores, tags)
    # Hits at ranks 1 and 3; no positive; hits at ranks 2 and 3.
    np.testing.assert_allclose(result, [(1 + 2 / 3) / 2, np.nan, (1 / 2 + 2 / 3) / 2])
    assert mean_average_precision(scores, tags) == pytest.approx(np.nanmean(result))
    assert np.isnan(mean_average_precision(scores[:, 1:2], tags[:, 1:2]))


def test_average_precision_refuses_shapes():
    with pytest.raises(ValueError, match=r"scores \(2, 3\) and tags \(2, 4\)"):
        average_precision(np.zeros((2, 3)), np.zeros((2, 4)))
    with pytest.raises(ValueError, match=r"must be \(N, K\)"):
        average_precision(np.zeros(3), np.zeros(3))
