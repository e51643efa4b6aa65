"""Masks in colour: palette, grey and transparent ones, as paint programs and other tools save them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dsrg.data.doors import legend
from dsrg.data.mask_folders import Colours, read_any_mask, read_colours
from dsrg.errors import InputError
from dsrg.files import pictures
from dsrg.labels import IGNORE, Classes

CLASSES = Classes(("background", "cat", "dog"))
TRUE = np.zeros((6, 8), np.uint8)
TRUE[2:4, 1:5] = 2
GREEN, WHITE, BLACK = (0, 128, 0), (255, 255, 255), (0, 0, 0)


def table(tmp_path: Path, text: str) -> Colours:
    (tmp_path / "colours.txt").write_text(text)
    return read_colours(str(tmp_path / "colours.txt"), CLASSES)


def painted(*colours: tuple[int, ...]) -> np.ndarray:
    """TRUE in colours: that of background, and that of the dog."""
    return np.array(colours, np.uint8)[TRUE // 2]


def indexed(*colours: tuple[int, ...]) -> Image.Image:
    """A palette picture of the same, whose palette begins with the object's colour, as programs sort them."""
    image = Image.fromarray(1 - TRUE // 2)
    image.putpalette([value for colour in colours[::-1] for value in colour])
    return image


KINDS: dict[str, tuple[Image.Image, str]] = {
    "palette": (indexed(BLACK, GREEN), "background:0,0,0\ndog:0,128,0\n"),
    "palette, black and white": (indexed(BLACK, WHITE), "background:0,0,0\ndog:255,255,255\n"),
    "grey, white paper": (Image.fromarray(painted((255,), (0,))[..., 0]), "background:255,255,255\ndog:0,0,0\n"),
    "grey, 127": (Image.fromarray(painted((0,), (127,))[..., 0]), "background:0,0,0\ndog:127,127,127\n"),
    "1 bit": (Image.fromarray(TRUE > 0), "background:0,0,0\ndog:255,255,255\n"),
    "colour": (Image.fromarray(painted(BLACK, GREEN)), "background:0,0,0\ndog:0,128,0\n"),
    "opaque": (Image.fromarray(painted((*BLACK, 255), (*GREEN, 255))), "background:0,0,0\ndog:0,128,0\n"),
    "transparent ground": (Image.fromarray(painted((9, 9, 9, 0), (*GREEN, 255))), "dog:0,128,0\n"),
    "transparent ground, white": (Image.fromarray(painted((0, 0, 0, 0), (*WHITE, 255))), "dog:255,255,255\n"),
    "transparent ground, grey": (Image.fromarray(painted((0, 0), (255, 255)), "LA"), "dog:255,255,255\n"),
    "transparent ground, VOC": (Image.fromarray(painted((255, 0, 255, 0), (*GREEN, 255))), "voc"),
    "indices, none of the colours": (Image.fromarray(TRUE), "background:0,0,0\ndog:200,0,0\n"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_colours_say_what_a_mask_shows(tmp_path: Path, kind: str) -> None:
    image, text = KINDS[kind]
    image.save(tmp_path / "a.png")
    colours = read_colours("voc", CLASSES) if text == "voc" else table(tmp_path, text)
    np.testing.assert_array_equal(read_any_mask(tmp_path / "a.png", CLASSES, colours), TRUE)


def test_a_transparent_colour_of_a_palette_is_background(tmp_path: Path) -> None:
    indexed(WHITE, GREEN).save(tmp_path / "a.png", transparency=1)
    mask = read_any_mask(tmp_path / "a.png", CLASSES, table(tmp_path, "dog:0,128,0\n"))
    np.testing.assert_array_equal(mask, TRUE)


def test_a_palette_s_colours_are_exact_however_transparent(tmp_path: Path) -> None:
    indexed(BLACK, GREEN).save(tmp_path / "a.png", transparency=bytes([128, 200]))  # laid over a photograph
    colours = table(tmp_path, "background:0,0,0\ndog:0,128,0\n")
    np.testing.assert_array_equal(read_any_mask(tmp_path / "a.png", CLASSES, colours), TRUE)
    np.testing.assert_array_equal(read_by_labelmap(tmp_path), TRUE)


def test_numbers_in_voc_s_palette_stay_numbers(tmp_path: Path) -> None:
    """Of dsrg's own masks, beside ones in colours that give VOC's to other classes."""
    pictures.write_mask(tmp_path / "a.png", TRUE)  # 2 is 0,128,0
    colours = table(tmp_path, "background:0,0,0\ncat:0,128,0\ndog:128,0,0\n")
    np.testing.assert_array_equal(read_any_mask(tmp_path / "a.png", CLASSES, colours), TRUE)
    Image.fromarray(painted(BLACK, (128, 0, 0))).save(tmp_path / "b.png")
    np.testing.assert_array_equal(read_any_mask(tmp_path / "b.png", CLASSES, colours), TRUE)


def test_black_and_white_without_colours_keeps_255_as_void(tmp_path: Path) -> None:
    Image.fromarray(TRUE // 2 * np.uint8(255)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_any_mask(tmp_path / "a.png", CLASSES, None), TRUE // 2 * np.uint8(IGNORE))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (Image.fromarray(painted((0, 0, 0, 0), (*GREEN, 90))), r"a\.png: holds pixels that are transparent in part"),
        (Image.fromarray(painted((1, 2, 3), GREEN)), r"a\.png: holds the colour 1, 2, 3, which is no class's"),
        (indexed((1, 2, 3), GREEN), r"a\.png: holds the colour 1, 2, 3"),
        (Image.fromarray(TRUE * np.uint8(4)), r"a\.png: holds class index 8, but the class list has only 3"),
        (Image.fromarray(painted((0, 0, 0), (7, 7, 7))), r"holds the colour 7, 7, 7, .*leave --palette out"),
    ],
)
def test_what_has_no_meaning_is_refused(tmp_path: Path, image: Image.Image, message: str) -> None:
    image.save(tmp_path / "a.png")
    with pytest.raises(InputError, match=message):
        read_any_mask(tmp_path / "a.png", CLASSES, table(tmp_path, "background:0,0,0\ndog:0,128,0\n"))


def read_by_labelmap(folder: Path) -> np.ndarray:
    (folder / legend.LABELMAP).write_text("background:0,0,0::\ncat:128,0,0::\ndog:0,128,0::\n")
    meaning = legend.read_legend(folder / legend.LABELMAP)
    return legend.read_mask(folder / "a.png", meaning, lambda name: CLASSES.index(name, "labelmap"))


def read_by_palette(folder: Path) -> np.ndarray:
    return read_any_mask(folder / "a.png", CLASSES, read_colours("voc", CLASSES))


@pytest.mark.parametrize("read", [read_by_labelmap, read_by_palette])
def test_every_door_reads_a_transparent_ground_alike(tmp_path: Path, read: Callable[[Path], np.ndarray]) -> None:
    Image.fromarray(painted((0, 0, 0, 0), (*GREEN, 255))).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read(tmp_path), TRUE)


@pytest.mark.parametrize("name", [legend.CLASS_NAMES, "classes.txt"])
def test_a_list_without_background_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("dog\ncat\n")
    with pytest.raises(InputError, match=rf"{name}: lists no background; .* so add 'background' as the line"):
        legend.read_legend(tmp_path / name)
