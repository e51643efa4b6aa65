"""Seeds from boxes: hand-worked fills and cores, naive painting, and what must hold of any box in any photograph."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsrg import box_seeds
from dsrg.box_seeds import OBJECT
from dsrg.labels import BACKGROUND, IGNORE

HEIGHT, WIDTH = 24, 30


@st.composite
def box_in(draw: st.DrawFn, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    return np.array([left, top, draw(st.integers(left + 1, width)), draw(st.integers(top + 1, height))])


def inside(box: np.ndarray, size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    """Where a box is, pixel by pixel."""
    rows, columns = np.indices(size)
    return (rows >= box[1]) & (rows < box[3]) & (columns >= box[0]) & (columns < box[2])


@pytest.mark.parametrize(
    ("box", "share", "expected"),
    [
        ([0, 0, 10, 10], 0.2, [3, 3, 7, 7]),  # the root of 0.2 is 0.447: 5 - 2.24 and 5 + 2.24
        ([10, 20, 20, 60], 0.25, [12, 30, 18, 50]),  # half of each side; 12.5 is rounded to the even 12, 17.5 to 18
        ([4, 7, 5, 8], 0.2, [4, 7, 5, 8]),  # a single pixel is its own core
        ([0, 0, 2, 1], 0.01, [1, 0, 2, 1]),
        ([3, 3, 9, 9], 1.0, [3, 3, 9, 9]),
        ([3, 3, 9, 9], 0.0, [6, 6, 7, 7]),
    ],
)
def test_cores_worked_by_hand(box: list[int], share: float, expected: list[int]) -> None:
    assert box_seeds.core_of(np.array(box), share).tolist() == expected


@settings(deadline=None)
@given(box=box_in(), share=st.floats(0, 1))
def test_a_core_lies_in_its_box_and_is_never_empty(box: np.ndarray, share: float) -> None:
    core = box_seeds.core_of(box, share)
    assert (core[:2] >= box[:2]).all()
    assert (core[2:] <= box[2:]).all()
    assert (core[2:] > core[:2]).all()


def states_of(text: str) -> np.ndarray:
    """Rows divided by blanks: 'o' object, '.' background, '?' neither."""
    return np.array(
        [[{"o": OBJECT, ".": BACKGROUND, "?": IGNORE}[one] for one in row] for row in text.split()], np.uint8
    )


@pytest.mark.parametrize(
    ("found", "fill", "stays"),
    [
        ("oooo oooo .... ....", 0.5, True),  # 8 of 16, the half that is wanted
        ("oooo ooo. .... ....", 0.5, False),  # 7 of 16
        ("o??? o??? .... ....", 0.5, True),  # what may be the object counts too
        ("???? ???? ???? ????", 0.5, False),  # but some has to be it surely
        ("???? ???? ???? ????", 0.0, False),
        ("o... .... .... ....", 0.0625, True),
        ("o... .... .... ....", 0.07, False),
        ("oooo oooo oooo oooo", 1.0, True),  # an object that fills its box
        ("oooo oooo oooo ooo.", 1.0, False),
    ],
)
def test_fills_worked_by_hand(found: str, fill: float, stays: bool) -> None:
    core = states_of("???? ?oo? ?oo? ????")  # the root of 0.2 times 4 is 1.79: 2 - 0.89 and 2 + 0.89
    checked = box_seeds.checked(states_of(found), (4, 4), fill=fill, core=0.2)
    np.testing.assert_array_equal(checked, states_of(found) if stays else core)
    np.testing.assert_array_equal(box_seeds.checked(None, (4, 4), fill=fill, core=0.2), core)


def test_both_witnesses_must_agree() -> None:
    share = np.array([[1.0, 0.8, 0.7, 0.5, 0.2, 0.1, 0.0]])
    found = box_seeds.states(share, foreground=0.7, background=0.2)
    np.testing.assert_array_equal(found, states_of("oo???.."))
    kept = np.array([[True, False, True, True, True, True, False]])
    found = box_seeds.states(share, foreground=0.7, background=0.2, object_kept=kept, background_kept=kept)
    np.testing.assert_array_equal(found, states_of("o????.?"))
    with pytest.raises(ValueError, match="background"):
        box_seeds.states(share, foreground=0.2, background=0.7)


def test_the_smaller_box_has_the_pixel() -> None:
    boxes = np.array([[1, 0, 3, 2], [0, 0, 5, 3]])  # of 4 and of 15 pixels, the smaller one first in the file
    parts = [states_of("o? .o"), states_of("ooooo ooooo ?????")]
    seeds = box_seeds.paint(parts, np.array([3, 2]), boxes, (4, 6))
    # Where the smaller box says background, the larger one keeps its word; where it is not sure, nobody has.
    expected = [[2, 3, 255, 2, 2, 0], [2, 2, 3, 2, 2, 0], [255] * 5 + [0], [0] * 6]
    np.testing.assert_array_equal(seeds, expected)


PARTS = st.lists(st.tuples(box_in(), st.integers(1, 3), st.integers(0, 2**32 - 1)), min_size=1, max_size=4)


@settings(deadline=None, max_examples=30)
@given(drawn=PARTS)
def test_painting_equals_a_loop_over_pixels(drawn: list[tuple[np.ndarray, int, int]]) -> None:
    boxes, classes = np.array([box for box, _, _ in drawn]), np.array([index for _, index, _ in drawn])
    parts = []
    for box, _, seed in drawn:
        choices = np.array([BACKGROUND, OBJECT, IGNORE], np.uint8)
        parts.append(np.random.default_rng(seed).choice(choices, (box[3] - box[1], box[2] - box[0])))
    found = box_seeds.paint(parts, classes, boxes, (HEIGHT, WIDTH))
    areas = [int((box[2] - box[0]) * (box[3] - box[1])) for box in boxes]
    for row, column in np.ndindex(HEIGHT, WIDTH):
        told = []
        for number, (left, top, right, bottom) in enumerate(boxes.tolist()):
            if left <= column < right and top <= row < bottom:
                told.append((areas[number], -number, parts[number][row - top, column - left], classes[number]))
        told = [one for one in sorted(told, key=lambda one: one[:2]) if one[2] != BACKGROUND]
        expected = BACKGROUND if not told else IGNORE if told[0][2] == IGNORE else told[0][3]
        assert found[row, column] == expected


@settings(deadline=None, max_examples=40)
@given(drawn=PARTS, seed=st.integers(0, 99))
def test_a_clipped_mask_has_no_class_outside_of_its_boxes(drawn: list[tuple[np.ndarray, int, int]], seed: int) -> None:
    boxes, classes = np.array([box for box, _, _ in drawn]), np.array([index for _, index, _ in drawn])
    mask = np.random.default_rng(seed).choice(np.array([0, 1, 2, 3, 255], np.uint8), (HEIGHT, WIDTH))
    before = mask.copy()
    clipped = box_seeds.clip(mask, classes, boxes)
    allowed = box_seeds.allowed(classes, boxes, 4, (HEIGHT, WIDTH))
    np.testing.assert_array_equal(mask, before)
    for index in range(1, 4):
        where = np.zeros((HEIGHT, WIDTH), bool)
        for box in boxes[classes == index]:
            where |= inside(box)
        np.testing.assert_array_equal(allowed[index], where)
        np.testing.assert_array_equal(clipped == index, (mask == index) & where)
    np.testing.assert_array_equal(clipped == 255, mask == 255)
    assert allowed[0].all()


def photograph(seed: int, box: np.ndarray) -> np.ndarray:
    """Noise, brighter in the box."""
    pixels = np.random.default_rng(seed).integers(0, 120, (HEIGHT, WIDTH, 3))
    return (pixels + 130 * inside(box)[..., None]).astype(np.uint8)


@settings(deadline=None, max_examples=40)
@given(box=box_in(), object_box=box_in(), core=st.floats(0, 1), cuts=st.integers(1, 4), seed=st.integers(0, 9))
def test_grabcut_finds_nothing_outside_of_the_box(
    box: np.ndarray, object_box: np.ndarray, core: float, cuts: int, seed: int
) -> None:
    share = box_seeds.grabcut(photograph(seed, object_box), box, core=core, cuts=cuts)
    if share is None:
        assert min(inside(box).sum(), (~inside(box)).sum()) < 20  # the first cut takes the box as it is
        return
    assert share.shape == (HEIGHT, WIDTH)
    assert share.min() >= 0 and share.max() <= 1
    assert not share[~inside(box)].any()
    window = box_seeds.core_of(box, core / 4)  # which all of the cuts begin with
    assert (share[window[1] : window[3], window[0] : window[2]] == 1).all()


def test_grabcut_finds_a_bright_object() -> None:
    box = np.array([4, 4, 26, 20])
    inner = np.array([8, 6, 20, 17])
    share = box_seeds.grabcut(photograph(0, inner), box, core=0.2, cuts=5)
    assert share is not None
    truth = inside(inner)
    assert ((share > 0.7) & truth).sum() > 0.9 * truth.sum()
    assert (share[~truth] < 0.2).mean() > 0.9


def test_grabcut_gives_the_same_bits_whatever_ran_before_and_on_how_many_threads() -> None:
    box = np.array([4, 4, 26, 20])
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    first = box_seeds.grabcut(pixels, box, core=0.2, cuts=3)
    before = cv2.getNumThreads()
    try:
        for threads in (1, 2):
            cv2.setNumThreads(threads)
            cv2.setRNGSeed(99)
            cv2.randu(np.zeros((5, 5), np.uint8), 0, 255)
            np.testing.assert_array_equal(box_seeds.grabcut(pixels, box, core=0.2, cuts=3), first)
    finally:
        cv2.setNumThreads(before)


@pytest.mark.parametrize("box", [[0, 0, WIDTH, HEIGHT], [7, 7, 8, 8], [0, 0, WIDTH, HEIGHT - 1]])
def test_grabcut_says_nothing_without_background_or_object(box: list[int]) -> None:
    share = box_seeds.grabcut(photograph(0, np.array([3, 3, 9, 9])), np.array(box), core=0.2, cuts=3)
    assert (share is None) == (box != [0, 0, WIDTH, HEIGHT - 1])  # a row of 30 pixels is enough


def test_grabcut_bears_a_photograph_of_one_colour() -> None:
    share = box_seeds.grabcut(np.full((HEIGHT, WIDTH, 3), 128, np.uint8), np.array([5, 5, 20, 20]), core=0.2, cuts=3)
    assert share is not None
    assert not share[~inside(np.array([5, 5, 20, 20]))].any()


@settings(deadline=None)
@given(box=box_in())
def test_a_crop_holds_its_box_and_lies_in_the_photograph(box: np.ndarray) -> None:
    crop = box_seeds.crop_of(box, (HEIGHT, WIDTH))
    assert (crop[:2] <= box[:2]).all() and (crop[:2] >= 0).all()
    assert (crop[2:] >= box[2:]).all() and (crop[2:] <= [WIDTH, HEIGHT]).all()
    assert box_seeds.crop_of(np.array([10, 10, 15, 20]), (100, 100)).tolist() == [6, 4, 19, 26]  # 2 + 2, and 4 + 2


def test_the_whole_box_and_its_core() -> None:
    box = np.array([2, 3, 8, 9])
    share = box_seeds.rectangle(np.zeros((HEIGHT, WIDTH, 3), np.uint8), box, core=0.2, cuts=5)
    np.testing.assert_array_equal(share, inside(box))
    assert box_seeds.inner(np.zeros((HEIGHT, WIDTH, 3), np.uint8), box, core=0.2, cuts=5) is None
