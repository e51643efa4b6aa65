"""Segments that vote: a hand-worked case, a naive oracle pixel by pixel, and what holds of any vote."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dsrg.segments import WHOLE, of_labels, vote


def naive(mask: np.ndarray, segments: Sequence[np.ndarray], share: float, region: float | None) -> np.ndarray:
    """The same of segments (H, W) bool, each pixel asking its segments."""
    decided = []
    for inside in segments:
        labels, best = mask[inside].tolist(), 0
        for label in range(1, 255):
            if labels.count(label) > labels.count(best) or (best == 0 and label in labels):
                best = label
        won = labels.count(best) if best else 0
        by_region = region is not None and len(labels) <= WHOLE * mask.size and won >= region * (mask == best).sum()
        if won and (won > share * len(labels) or by_region):
            decided.append(best)
        else:
            decided.append(0 if labels.count(0) > share * len(labels) else None)
    voted = mask.copy()
    for row, column in np.ndindex(*mask.shape):
        own = [number for number, inside in enumerate(segments) if inside[row, column] and decided[number] is not None]
        if own:
            voted[row, column] = decided[min(own, key=lambda number: (segments[number].sum(), -number))]
    return voted


LABELS = st.sampled_from([0, 1, 2, 7, 255])
SIDES = st.tuples(st.integers(1, 6), st.integers(1, 6))
MASKS = SIDES.flatmap(lambda shape: arrays.arrays(np.uint8, shape, elements=LABELS))
SHARES = st.sampled_from([0.0, 0.3, 0.5, 0.6, 1.0])


@st.composite
def overlapping(draw: st.DrawFn) -> tuple[np.ndarray, list[np.ndarray]]:
    mask = draw(MASKS)
    return mask, draw(st.lists(arrays.arrays(bool, mask.shape), max_size=5))


@st.composite
def disjoint(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    mask = draw(MASKS)
    return mask, draw(
        arrays.arrays(draw(st.sampled_from([np.uint8, np.uint16, np.int64])), mask.shape, elements=st.integers(0, 4))
    )


def places(segments: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [np.flatnonzero(inside) for inside in segments]


@settings(max_examples=200, deadline=None)
@given(overlapping(), SHARES, st.sampled_from([None, 0.0, 0.5, 0.85, 1.0]))
def test_the_vote_is_the_naive_one_and_keeps_to_the_masks_labels(
    case: tuple[np.ndarray, list[np.ndarray]], share: float, region: float | None
) -> None:
    mask, segments = case
    before = mask.copy()
    voted = vote(mask, places(segments), share=share, region_share=region)
    assert np.array_equal(voted, naive(mask, segments, share, region))
    assert np.array_equal(mask, before)
    assert voted.dtype == np.uint8
    assert set(voted.ravel().tolist()) <= set(mask.ravel().tolist())


@settings(max_examples=100, deadline=None)
@given(disjoint(), SHARES)
def test_segments_that_do_not_overlap_say_the_same_twice(case: tuple[np.ndarray, np.ndarray], share: float) -> None:
    mask, labels = case
    segments = of_labels(labels)
    assert [labels.ravel()[own].tolist() for own in segments] == [
        [number] * int((labels == number).sum()) for number in np.unique(labels) if number
    ]
    once = vote(mask, segments, share=share)
    assert np.array_equal(vote(once, segments, share=share), once)
    assert np.array_equal(once[labels == 0], mask[labels == 0])


@given(SIDES, LABELS, st.data())
def test_a_mask_of_one_label_stays(shape: tuple[int, int], label: int, data: st.DataObject) -> None:
    segments = data.draw(st.lists(arrays.arrays(bool, shape), max_size=4))
    mask = np.full(shape, label, np.uint8)
    assert np.array_equal(vote(mask, places(segments), region_share=0.85), mask)


def test_worked_by_hand() -> None:
    mask = np.array(
        [
            [1, 1, 1, 0, 0, 0],
            [1, 1, 0, 0, 255, 0],
            [0, 0, 0, 2, 0, 0],
            [2, 0, 0, 0, 0, 0],
        ],
        np.uint8,
    )
    labels = np.array(
        [
            [5, 5, 5, 9, 9, 9],
            [5, 5, 5, 9, 9, 9],
            [3, 3, 3, 7, 7, 7],
            [0, 3, 3, 7, 7, 7],
        ],
        np.uint16,
    )
    # 5 is class 1 by five of six; 9 background by five of six, the unlabelled pixel with it; 3 and 7 background
    majority = np.array([[1, 1, 1, 0, 0, 0]] * 2 + [[0] * 6, [2, 0, 0, 0, 0, 0]], np.uint8)
    assert vote(mask, of_labels(labels)).tolist() == majority.tolist()
    # 7 has one of the two pixels of class 2: half of its region
    region = majority.copy()
    region[2:, 3:] = 2
    assert vote(mask, of_labels(labels), region_share=0.5).tolist() == region.tolist()
    assert vote(mask, of_labels(labels), region_share=0.51).tolist() == majority.tolist()
    # nobody has nine tenths of a segment: all pixels stay
    assert vote(mask, of_labels(labels), share=0.9).tolist() == [
        [1, 1, 1, 0, 0, 0],
        [1, 1, 0, 0, 255, 0],
        [0, 0, 0, 2, 0, 0],
        [2, 0, 0, 0, 0, 0],
    ]


def test_the_smaller_of_two_segments_has_the_pixel_and_of_equal_ones_the_last() -> None:
    mask = np.array([[1, 1, 1, 2, 2, 1]], np.uint8)
    large, small, last = np.arange(6), np.array([2, 3, 4]), np.array([3, 4, 5])
    assert vote(mask, [small, large]).tolist() == [[1, 1, 2, 2, 2, 1]]
    assert vote(mask, [large, small]).tolist() == [[1, 1, 2, 2, 2, 1]]
    assert vote(np.array([[1, 1, 1, 2, 2, 0]], np.uint8), [np.arange(3, 6), np.array([1, 2, 3])]).tolist() == [
        [1, 1, 1, 1, 2, 2]
    ]
    assert vote(mask, [last]).tolist() == [[1, 1, 1, 2, 2, 2]]


def test_a_segment_of_the_whole_photograph_tells_nothing_apart() -> None:
    mask = np.zeros((10, 10), np.uint8)
    mask[:3, :3] = 4
    whole, most = np.arange(100), np.arange(95)
    assert np.array_equal(vote(mask, [whole], region_share=0.85), np.where(mask == 4, 0, mask))
    assert (vote(mask, [most], region_share=0.85).ravel()[:95] == 4).all()


@pytest.mark.parametrize("segments", [[], [np.array([], np.int64)]])
def test_no_segments_leave_the_mask(segments: list[np.ndarray]) -> None:
    mask = np.array([[0, 1], [255, 2]], np.uint8)
    assert np.array_equal(vote(mask, segments, region_share=0.0), mask)
    assert of_labels(np.zeros((2, 2), np.uint8)) == []
