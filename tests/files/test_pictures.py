"""Photographs of every kind: what becomes of them at each door."""

from pathlib import Path

import numpy as np
import pytest
from picture_doors import DOORS, random_photo
from PIL import Image
from png_files import chunk, png

from dsrg.data.voc import Photo
from dsrg.errors import InputError
from dsrg.files import pictures, storage
from dsrg.predict import segmenter
from dsrg.schema import Crf, Seeds
from dsrg.stages.seeds import Cutter


def test_photographs_are_read_as_rgb(tmp_path: Path) -> None:
    random_photo().save(tmp_path / "photo.png")
    np.testing.assert_array_equal(np.array(pictures.read_image(tmp_path / "photo.png")), np.array(random_photo()))
    random_photo().convert("L").save(tmp_path / "grey.jpg")
    assert pictures.read_image(tmp_path / "grey.jpg").mode == "RGB"


def test_a_damaged_exif_header_is_upright() -> None:
    image = Image.new("RGB", (3, 2))
    image.info["exif"] = b"Exif\0\0broken"
    assert pictures.orientation(image) == 1
    assert pictures.upright(image).size == (3, 2)


COLOUR = np.random.default_rng(3).integers(0, 256, (6, 9, 3), dtype=np.uint8)
ALPHA = np.random.default_rng(4).integers(0, 256, (6, 9, 1), dtype=np.uint8)
OVER_WHITE = COLOUR * (ALPHA / 255) + 255 * (1 - ALPHA / 255)


def transparent(path: Path, kind: str) -> np.ndarray:
    """Write a picture of one kind of transparency to path.png; what it looks like on white paper."""
    if kind == "RGBA":
        Image.fromarray(np.concatenate([COLOUR, ALPHA], 2)).save(path)
        return OVER_WHITE
    if kind == "LA":
        Image.fromarray(np.concatenate([COLOUR[..., :1], ALPHA], 2)).save(path)
        return np.repeat(OVER_WHITE[..., :1], 3, 2)
    if kind == "palette":
        image = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8))
        image.putpalette([200, 0, 0, 0, 0, 200])
        image.save(path, transparency=0)
        return np.array([[[255] * 3, [0, 0, 200]], [[0, 0, 200], [255] * 3]])
    path.write_bytes(png(2, 1, 8, 2, b"\0\1\2\3\4\5\6", chunk(b"tRNS", b"\0\1\0\2\0\3")))  # the colour 1, 2, 3
    return np.array([[[255] * 3, [4, 5, 6]]])


@pytest.mark.parametrize("kind", ["RGBA", "LA", "palette", "one colour"])
@pytest.mark.parametrize("door", DOORS)
def test_transparency_is_laid_over_white_at_every_door(tmp_path: Path, door: str, kind: str) -> None:
    expected = transparent(tmp_path / "a.png", kind)
    assert np.abs(DOORS[door](tmp_path / "a.png") - expected).max() <= 1  # Pillow rounds within


@pytest.mark.parametrize("name", ["black", "noise", "red"])
def test_transparent_photographs_that_once_differed_are_one_at_every_door(
    shared: Path, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes((shared / f"cases/files/alpha/{name}.png").read_bytes())
    stored = np.array(Image.open(path)).astype(float)
    alpha = stored[..., 3:] / 255
    for door, read in DOORS.items():
        assert np.abs(read(path) - (stored[..., :3] * alpha + 255 * (1 - alpha))).max() <= 1, door


def test_large_transparent_photographs_are_laid_over_white_strip_by_strip(tmp_path: Path) -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (70, 65_535, 4), dtype=np.uint8)  # 64 rows a strip
    Image.fromarray(pixels).save(tmp_path / "a.png", compress_level=1)
    alpha = pixels[..., 3:] / np.float32(255)
    expected = pixels[..., :3] * alpha + 255 * (1 - alpha)
    assert np.abs(np.array(pictures.read_image(tmp_path / "a.png")) - expected).max() <= 1


def test_transparency_keeps_the_orientation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.concatenate([COLOUR, ALPHA], 2)).save(tmp_path / "a.png", exif=exif)
    stored, shown = pictures.read_image(tmp_path / "a.png"), pictures.read_upright(tmp_path / "a.png")
    assert (stored.size, pictures.orientation(stored)) == ((9, 6), 6)
    assert np.abs(np.array(shown) - np.rot90(OVER_WHITE, -1)).max() <= 1
    assert pictures.turned(shown) is shown  # not twice


def test_large_photographs_are_read_without_a_warning(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(10_000, 9_000, 1, 0, bytes(1251) * 9_000))  # more than Pillow takes in silence
    assert pictures.read_size(path) == (10_000, 9_000)
    assert [str(warning.message) for warning in recwarn] == []


WHITE = {"CMYK": (0, 0, 0, 0), "1": 1, "L": 255}


@pytest.mark.parametrize(
    ("mode", "form"),
    [("CMYK", "JPEG"), ("CMYK", "TIFF"), ("1", "BMP"), ("L", "GIF")],
)
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str, form: str) -> None:
    Image.new(mode, (8, 6), WHITE[mode]).save(tmp_path / "a.img", form)
    assert np.array(pictures.read_image(tmp_path / "a.img")).min() >= 250


def test_an_opened_image_is_taken_as_a_file_is() -> None:
    opened = Image.fromarray(np.concatenate([COLOUR, ALPHA], 2))
    assert np.abs(segmenter.to_pixels(opened) - OVER_WHITE).max() <= 1
    with pytest.raises(InputError, match="image: has more than 8 bits a channel"):
        segmenter.to_pixels(Image.new("F", (4, 3)))


def test_saliency_maps_whose_ending_is_in_capitals_are_taken(tmp_path: Path) -> None:
    random_photo().save(tmp_path / "photo.jpg")
    Image.fromarray(np.repeat(np.uint8([[0] * 10 + [255] * 10]), 14, 0)).save(tmp_path / "s.PNG")
    storage.write_cams(tmp_path / "s.npz", [1], np.zeros((1, 4, 5)))
    cutter = Cutter(tmp_path, tmp_path, Seeds(background="saliency", saliency_dir=tmp_path), Crf())
    seeds = cutter.cut(Photo("s", tmp_path / "photo.jpg", np.array([True, True])))
    assert (np.unique(seeds[:, :9]).tolist(), np.unique(seeds[:, 11:]).tolist()) == ([0], [255])
