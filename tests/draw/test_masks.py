"""A mask over its photograph."""

import numpy as np

from dsrg.draw.masks import paint_mask, paint_with_legend
from dsrg.labels import palette

CLASSES = ("background", "cat", "dog")


def test_overlay_mixes_colours_and_darkens_the_background() -> None:
    photo = np.full((1, 3, 3), 200, np.uint8)
    mixed = paint_mask(photo, np.array([[0, 1, 255]], np.uint8), 0.5)
    assert mixed[0, 0].tolist() == [100, 100, 100]
    assert mixed[0, 1].tolist() == ((200 + palette()[1].astype(int)) / 2).round().tolist()
    assert mixed[0, 2].tolist() == [228, 228, 228]  # half white, half photograph, rounded to even


def test_objects_are_coloured_outlined_and_named() -> None:
    photo = np.full((120, 160, 3), 90, np.uint8)
    mask = np.zeros((120, 160), np.uint8)
    mask[60:110, 40:120] = 2
    mask[0, 159] = 255
    drawn = paint_with_legend(photo, mask, CLASSES, 0.5)
    colour = palette()[2].astype(int)
    assert drawn[85, 80].tolist() == ((90 + colour) / 2).round().tolist()
    for row, column in ((60, 80), (109, 80), (85, 40), (85, 119)):
        assert drawn[row, column].tolist() == colour.tolist(), "the outline is drawn on the object's own pixels"
    untouched = mask != 2
    untouched[:20] = False  # the legend
    assert (drawn[untouched] == 90).all()
    assert (drawn[:16, :30] == colour).all(axis=2).any()
    assert not (drawn == palette()[1]).all(axis=2).any(), "a class that is not there is not named"


def test_a_legend_that_finds_no_room_counts_the_rest() -> None:
    mask = np.arange(40, dtype=np.uint8).repeat(2)[None].repeat(30, axis=0)
    drawn = paint_with_legend(np.zeros((30, 80, 3), np.uint8), mask, [f"class {n}" for n in range(40)])
    assert (drawn == 255).all(axis=2).any()


def test_nothing_found_leaves_the_photograph() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    assert np.array_equal(paint_with_legend(photo, np.zeros((9, 7), np.uint8), CLASSES), photo)
