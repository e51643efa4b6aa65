"""Uploads of every kind: what becomes of them, and what is refused in one sentence."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from scipy import ndimage

from dsrg.app import uploads
from dsrg.app.uploads import enlarge_labels, read_upload
from dsrg.errors import InputError

COLOURS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
TURNED = {  # what each EXIF orientation asks for, from the standard's table
    1: COLOURS,
    2: COLOURS[:, ::-1],
    3: COLOURS[::-1, ::-1],
    4: COLOURS[::-1],
    5: COLOURS.transpose(1, 0, 2),
    6: np.rot90(COLOURS, -1),
    7: COLOURS[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(COLOURS, 1),
}


def read(path: Path, long_side: int = 100) -> np.ndarray:
    upload = read_upload(path, long_side=long_side)
    assert upload.picture.dtype == np.uint8
    return upload.picture


@pytest.mark.parametrize("orientation", TURNED)
def test_the_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    image = Image.fromarray(COLOURS)
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.png", exif=exif)
    upload = read_upload(tmp_path / "a.png", long_side=100)
    assert np.array_equal(upload.picture, TURNED[orientation])
    assert upload.full_size == TURNED[orientation].shape[:2]
    assert upload.picture.shape[:2] == upload.full_size


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    alpha = np.random.default_rng(1).integers(0, 256, (6, 9, 1), dtype=np.uint8)
    Image.fromarray(np.concatenate([COLOURS, alpha], axis=2)).save(tmp_path / "a.png")
    share = alpha / 255
    expected = COLOURS * share + 255 * (1 - share)
    assert np.abs(read(tmp_path / "a.png") - expected).max() <= 1  # Pillow rounds within


def test_a_transparent_palette_colour_is_white(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8))
    image.putpalette([200, 0, 0, 0, 0, 200])
    image.save(tmp_path / "a.png", transparency=0)
    assert read(tmp_path / "a.png").tolist() == [[[255] * 3, [0, 0, 200]], [[0, 0, 200], [255] * 3]]


def test_grey_becomes_rgb(tmp_path: Path) -> None:
    Image.fromarray(COLOURS[..., 0]).save(tmp_path / "a.png")
    assert np.array_equal(read(tmp_path / "a.png"), np.repeat(COLOURS[..., :1], 3, axis=2))


MODES = {"jpg": ("1", "L", "CMYK", "RGB"), "png": ("1", "L", "LA", "P", "RGB", "RGBA"), "webp": ("L", "RGB", "RGBA")}


@pytest.mark.parametrize(("ending", "mode"), [(ending, mode) for ending, modes in MODES.items() for mode in modes])
def test_every_mode_that_the_formats_know(tmp_path: Path, ending: str, mode: str) -> None:
    Image.new("RGB", (8, 5), (255, 255, 255)).convert(mode).save(tmp_path / f"a.{ending}")
    assert read(tmp_path / f"a.{ending}").min() >= 250


def test_a_large_photograph_is_made_smaller_and_a_small_one_stays(tmp_path: Path) -> None:
    Image.new("RGB", (400, 300), (10, 200, 30)).save(tmp_path / "large.png")
    Image.new("RGB", (1000, 1), (10, 200, 30)).save(tmp_path / "thin.png")
    upload = read_upload(tmp_path / "large.png", long_side=100)
    assert (upload.picture.shape, upload.full_size) == ((75, 100, 3), (300, 400))
    assert (upload.picture == (10, 200, 30)).all()
    assert upload.name == "large"
    assert read(tmp_path / "thin.png").shape == (1, 100, 3)
    assert read(tmp_path / "large.png", 400).shape == (300, 400, 3)


def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (300, 200)).save(tmp_path / "a.png")
    monkeypatch.setattr(uploads, "MAX_PIXELS", 50_000)
    with pytest.raises(InputError, match=r"^a\.png: has 300 x 200 pixels, but at most 0\.05 million are taken; make"):
        read_upload(tmp_path / "a.png", long_side=100)
    monkeypatch.setattr(uploads, "MAX_PIXELS", 60_000)
    assert read_upload(tmp_path / "a.png", long_side=100).full_size == (200, 300)


def test_too_many_bytes_are_refused_before_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MAX_BYTES", 2_000_000)
    (tmp_path / "a.png").write_bytes(bytes(2_000_001))
    with pytest.raises(InputError, match=r"^a\.png: is 2\.0 MB large, but at most 2 MB are taken; make it smaller\.$"):
        read_upload(tmp_path / "a.png", long_side=100)


@pytest.mark.parametrize("side", [10_000, 14_000])  # Pillow warns of the first and refuses the second by itself
def test_a_decompression_bomb_is_refused(tmp_path: Path, side: int) -> None:
    path = tmp_path / "bomb.png"
    Image.new("1", (side, side)).save(path)
    assert path.stat().st_size < 200_000
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with pytest.raises(InputError, match=r"bomb\.png: has .* pixels, but at most 50 million"):
            read_upload(path, long_side=100)


def test_a_compressed_comment_does_not_unpack_without_end(tmp_path: Path) -> None:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("comment", "a" * 100_000_000, zip=True)
    Image.fromarray(COLOURS).save(tmp_path / "a.png", pnginfo=notes)
    with pytest.raises(InputError, match=r"a\.png: is not a photograph that can be read"):
        read(tmp_path / "a.png")


def test_what_is_no_photograph_is_refused_by_name_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(COLOURS).save(path)
    whole = path.read_bytes()
    for content in (b"", b"hello", whole[:-40], b"%!PS-Adobe-3.0 EPSF-3.0\n", whole[:2] + b"\0" * 500):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"^a\.jpg: is not a photograph that can be read; choose a JPEG, PNG or"):
            read(path)
    Image.fromarray(COLOURS).save(tmp_path / "b.png", "TIFF")  # a decoder that is not asked for
    with pytest.raises(InputError, match=r"^b\.png: is not a photograph"):
        read(tmp_path / "b.png")
    with pytest.raises(InputError, match=r"^c\.png: the photograph does not exist"):
        read(tmp_path / "c.png")


def test_labels_are_enlarged_along_straight_edges() -> None:
    labels = np.array([[0, 7, 7], [0, 0, 255]], np.uint8)
    assert enlarge_labels(labels, (2, 3)) is labels
    large = enlarge_labels(labels, (8, 12))
    assert set(np.unique(large)) == {0, 7, 255}
    assert (large[::7, ::11] == labels[::1, ::2]).all()  # corners stay
    # scipy's linear zoom of each label's picture, pixel areas on pixel areas, is the oracle.
    zoomed = [
        ndimage.zoom((labels == label).astype(float), 4, order=1, mode="nearest", grid_mode=True)
        for label in (0, 7, 255)
    ]
    assert np.array_equal(large, np.array([0, 7, 255])[np.argmax(np.round(zoomed, 9), axis=0)])


def test_a_label_that_no_pixel_has_is_not_invented() -> None:
    labels = np.random.default_rng(2).integers(1, 5, (5, 4), dtype=np.uint8)
    assert set(np.unique(enlarge_labels(labels, (50, 61)))) <= set(np.unique(labels))
