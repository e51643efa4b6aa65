"""Heat maps and boxes on photographs, pixel by pixel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import colormaps

from dsrg.draw import heatmap
from dsrg.draw.heatmap import contrast, draw_boxes, paint, resize

GREEN, RED = (0, 255, 0), (255, 0, 0)


def photograph(height: int = 40, width: int = 60) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_full_strength_shows_matplotlibs_colours_and_none_the_photograph() -> None:
    picture, cam = photograph(9, 11), np.random.default_rng(1).random((9, 11), np.float32)
    expected = (255 * colormaps["inferno"](cam)[..., :3]).round()
    assert np.abs(paint(picture, cam, 1.0) - expected).max() <= 1  # matplotlib's own bytes are cut off, not rounded
    assert np.array_equal(paint(picture, cam, 0.0), picture)


@given(st.floats(0, 1), st.integers(0, 255), st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_a_constant_map_mixes_its_colour_with_the_photograph(value: float, grey: int, strength: float) -> None:
    mixed = paint(np.full((3, 4, 3), grey, np.uint8), np.full((2, 2), value, np.float32), strength)
    colour = np.array(colormaps["inferno"](np.float32(value), bytes=True)[:3])
    assert np.abs(mixed - (strength * colour + (1 - strength) * grey)).max() <= 0.5 + 1e-6


def test_colours_grow_lighter_with_the_value() -> None:
    ramp = paint(np.zeros((1, 256, 3), np.uint8), np.linspace(0, 1, 256, dtype=np.float32)[None], 1.0)[0]
    lightness = ramp @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(lightness) > -0.5).all()
    assert lightness[-1] - lightness[0] > 200


def test_maps_are_enlarged_corner_on_corner() -> None:
    large = resize(np.array([[0.0, 1.0], [0.5, 0.25]]), (5, 9))
    assert large.shape == (5, 9)
    assert (large[0, 0], large[0, -1], large[-1, 0], large[-1, -1]) == (0, 1, 0.5, 0.25)
    assert np.allclose(large[0], np.linspace(0, 1, 9))


@pytest.mark.parametrize(
    ("picture", "cam", "strength", "named"),
    [
        (photograph().astype(float), np.zeros((2, 2)), 0.5, "uint8"),
        (photograph()[..., 0], np.zeros((2, 2)), 0.5, "uint8"),
        (photograph(), np.zeros((2, 2, 1)), 0.5, "(2, 2, 1)"),
        (photograph(), np.zeros((2, 2), np.uint8), 0.5, "floating point"),
        (photograph(), np.full((2, 2), 1.5), 0.5, "[0, 1]"),
        (photograph(), np.full((2, 2), np.nan), 0.5, "[0, 1]"),
        (photograph(), np.zeros((2, 2)), 1.5, "strength is 1.5"),
    ],
)
def test_what_does_not_fit_is_named(picture: np.ndarray, cam: np.ndarray, strength: float, named: str) -> None:
    with pytest.raises(ValueError) as caught:
        paint(picture, cam, strength)
    assert named in str(caught.value)


def test_the_outline_lies_inside_the_box_and_nothing_else_changes() -> None:
    picture = photograph()
    drawn = draw_boxes(picture, np.array([[5, 4, 50, 30]]), GREEN)
    inside = np.zeros(picture.shape[:2], bool)
    inside[4:30, 5:50] = True
    edge = inside.copy()
    edge[5:29, 6:49] = False  # one pixel wide on a picture this small
    assert (drawn[edge] == GREEN).all()
    halo = inside & ~edge
    halo[6:28, 7:48] = False
    assert (drawn[halo] == contrast(GREEN)).all()
    untouched = ~(edge | halo)
    assert np.array_equal(drawn[untouched], picture[untouched])
    assert np.array_equal(picture, photograph())  # the input stays as it was


def test_fractions_widen_to_whole_pixels_and_what_is_outside_is_left_out() -> None:
    picture = photograph()
    drawn = draw_boxes(picture, np.array([[5.9, 4.5, 49.2, 29.1], [-20, -20, 3, 3]]), GREEN)
    assert (drawn[4, 5] == GREEN).all()
    assert (drawn[29, 49] == GREEN).all()
    assert (drawn[2, :3] == GREEN).all()


def test_titles_lie_on_a_plate_of_the_boxes_colour_within_the_picture() -> None:
    picture = photograph(100, 120)
    drawn = draw_boxes(picture, np.array([[100, 90, 119, 99]]), RED, ["a long title"])
    plate = np.argwhere((drawn == RED).all(axis=2))
    assert plate[:, 1].min() < 90  # moved to the left until the text fits
    assert len(plate) > 300
    (top, left), (bottom, right) = plate.min(axis=0), plate.max(axis=0)
    assert bottom < 100
    assert drawn[top:bottom, left:right, 1].max() > 128  # the letters, white with soft edges


def test_no_boxes_leave_the_picture() -> None:
    assert np.array_equal(draw_boxes(photograph(), np.zeros((0, 4)), RED), photograph())


@pytest.mark.parametrize(
    ("boxes", "titles", "named"),
    [
        (np.zeros((1, 3)), (), "(N, 4)"),
        (np.array([[5, 5, 5, 9]]), (), "x0 < x1"),
        (np.array([[1, 1, 5, 9]]), ("a", "b"), "2 titles for 1"),
    ],
)
def test_wrong_boxes_are_named(boxes: np.ndarray, titles: tuple[str, ...], named: str) -> None:
    with pytest.raises(ValueError) as caught:
        draw_boxes(photograph(), boxes, RED, titles)
    assert named in str(caught.value)


def test_text_is_black_on_light_and_white_on_dark() -> None:
    assert contrast((255, 255, 0)) == (0, 0, 0)
    assert contrast(heatmap.RIGHT) == contrast(heatmap.WRONG) == (255, 255, 255)
