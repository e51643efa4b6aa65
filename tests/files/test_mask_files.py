"""Masks as files: written and read back, of which kinds, and what is refused in one sentence."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from png_files import png

from dsrg.data.mask_folders import compare_folders
from dsrg.errors import InputError
from dsrg.files import pictures
from dsrg.labels import Classes, palette


def test_masks_survive_the_disk(tmp_path: Path) -> None:
    mask = np.arange(256, dtype=np.uint8).reshape(8, 32)
    pictures.write_mask(tmp_path / "mask.png", mask)
    again = pictures.read_mask(tmp_path / "mask.png")
    assert again.dtype == np.uint8
    np.testing.assert_array_equal(again, mask)
    with Image.open(tmp_path / "mask.png") as image:  # as another program sees it: VOC's colours
        assert image.mode == "P"
        np.testing.assert_array_equal(np.array(image.convert("RGB")), palette()[mask])


def test_a_mask_that_is_no_contiguous_block_is_written_right(tmp_path: Path) -> None:
    mask = np.arange(12, dtype=np.int64).reshape(3, 4).T
    pictures.write_mask(tmp_path / "mask.png", mask)
    np.testing.assert_array_equal(pictures.read_mask(tmp_path / "mask.png"), mask)


def test_grey_masks_are_read_too(tmp_path: Path) -> None:
    mask = np.array([[0, 1], [2, 255]], np.uint8)
    Image.fromarray(mask).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(pictures.read_mask(tmp_path / "grey.png", 3), mask)


def test_palette_masks_of_few_bits_are_read_too(tmp_path: Path) -> None:
    mask = np.array([[0, 1], [2, 3]], np.uint8)
    image = Image.fromarray(mask)
    image.putpalette(palette()[:4].tobytes())
    image.save(tmp_path / "small.png", bits=2)
    np.testing.assert_array_equal(pictures.read_mask(tmp_path / "small.png", 4), mask)


def test_an_index_out_of_range_is_refused_and_255_is_not(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    pictures.write_mask(path, np.array([[0, 4, 255]], np.uint8))
    assert pictures.read_mask(path, 5).tolist() == [[0, 4, 255]]
    with pytest.raises(InputError, match=r"mask\.png: holds class index 4, but the class list has only 4 classes"):
        pictures.read_mask(path, 4)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "1", "I;16", "LA"])
def test_masks_of_other_kinds_are_refused(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "mask.png"
    Image.new(mode, (4, 3)).save(path)
    with pytest.raises(InputError, match=rf"mask\.png: a mask must be a palette or grey 8-bit PNG .*, not {mode}"):
        pictures.read_mask(path)


def test_a_mask_with_a_wrong_checksum_is_refused(shared: Path) -> None:
    path = shared / "cases/files/mask_bitflip_96.png"
    with Image.open(path) as image:
        image.load()  # Pillow sees nothing
    with pytest.raises(InputError, match=r"mask_bitflip_96\.png: the mask cannot be decoded \(a checksum is wrong, so"):
        pictures.read_mask(path)


@pytest.mark.parametrize("form", ["JPEG", "WebP", "GIF", "BMP", "TIFF"])
def test_masks_are_png_whatever_their_name(tmp_path: Path, form: str) -> None:
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "a.png", form)
    with pytest.raises(
        InputError,
        match=rf"a\.png: the mask cannot be decoded \(a {form}, whatever its name, and no PNG\); export it anew as PNG",
    ):
        pictures.read_mask(tmp_path / "a.png")


@pytest.mark.parametrize("bits", [2, 4])
def test_grey_masks_of_few_bits_are_refused(tmp_path: Path, bits: int) -> None:
    (tmp_path / "a.png").write_bytes(png(2, 1, bits, 0, bytes([0, 0b0011_0000])))
    with pytest.raises(InputError, match=rf"a\.png: a mask must be .*, not grey of {bits} bits"):
        pictures.read_mask(tmp_path / "a.png")


@pytest.mark.parametrize("ending", [".png", ".PNG", ".Png"])
def test_masks_are_found_whatever_the_case_of_their_ending(tmp_path: Path, ending: str) -> None:
    (tmp_path / f"a.b{ending}").touch()
    assert pictures.mask_file(tmp_path, "a.b").name.lower() == "a.b.png"
    assert pictures.mask_file(tmp_path, "a.b").exists()
    assert pictures.mask_file(tmp_path, "c") == tmp_path / "c.png"


def test_masks_whose_ending_is_in_capitals_are_measured(tmp_path: Path) -> None:
    mask = np.array([[0, 1], [1, 1]], np.uint8)
    pictures.write_mask(tmp_path / "pred/a.PNG", mask)
    pictures.write_mask(tmp_path / "truth/a.Png", mask)
    matrix = compare_folders(tmp_path / "pred", tmp_path / "truth", Classes(("background", "cat")), ["a"])
    assert matrix.counts.tolist() == [[1, 0], [0, 3]]
