"""Photographs and masks of every kind: what becomes of them at each door, and what is refused in one sentence."""

import io
import os
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, PngImagePlugin
from png_files import chunk, png
from torchvision.transforms import v2

from dsrg.app import uploads
from dsrg.data.photograph import ending_of, put_photograph, walk
from dsrg.data.training import TrainingSet
from dsrg.data.voc import Photo, VocFolder
from dsrg.data.warped import warped
from dsrg.errors import InputError
from dsrg.files import pictures, storage
from dsrg.predict import segmenter
from dsrg.run import inference
from dsrg.schema import Crf, Seeds
from dsrg.stages.seeds import Cutter


def random_photo(width: int = 20, height: int = 14) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3)).astype(np.uint8))


def test_photographs_are_read_as_rgb(tmp_path: Path) -> None:
    random_photo().save(tmp_path / "photo.png")
    np.testing.assert_array_equal(np.array(pictures.read_image(tmp_path / "photo.png")), np.array(random_photo()))
    random_photo().convert("L").save(tmp_path / "grey.jpg")
    assert pictures.read_image(tmp_path / "grey.jpg").mode == "RGB"


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_truncated_photograph_is_refused_wherever_it_ends(tmp_path: Path, kind: str) -> None:
    buffer = io.BytesIO()
    random_photo().save(buffer, kind)
    content, path = buffer.getvalue(), tmp_path / "photo.jpg"
    for length in range(0, len(content) - 16, 23):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"photo\.jpg: the photograph cannot be decoded"):
            pictures.read_image(path)
    path.write_bytes(content)
    assert pictures.read_image(path).size == (20, 14)


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_text("<html>404</html>")
    with pytest.raises(InputError, match=r"photo\.jpg: the photograph cannot be decoded \(not an image: no JPEG, "):
        pictures.read_image(tmp_path / "photo.jpg")
    with pytest.raises(InputError, match=r"no\.png: the mask does not exist"):
        pictures.read_mask(tmp_path / "no.png")


def test_a_damaged_exif_header_is_upright() -> None:
    image = Image.new("RGB", (3, 2))
    image.info["exif"] = b"Exif\0\0broken"
    assert pictures.orientation(image) == 1
    assert pictures.upright(image).size == (3, 2)


def one(path: Path) -> Photo:
    return Photo(path.stem, path, np.array([True, True]))


def by_training(path: Path) -> np.ndarray:
    sample = TrainingSet([one(path)], None, v2.Identity(), 0)[0, 0]
    return np.asarray(sample["images"].permute(1, 2, 0).numpy())


def by_prepare(path: Path) -> np.ndarray:
    target = path.parent / f"prepared{ending_of(path)}"
    target.unlink(missing_ok=True)
    put_photograph(path, target)
    return by_training(target)


DOORS: dict[str, Callable[[Path], np.ndarray]] = {
    "training": by_training,
    "a run's photographs": lambda path: np.asarray(inference.read_pixels(one(path)).permute(1, 2, 0).numpy()),
    "prepare-data": by_prepare,
    "predict": lambda path: segmenter.to_pixels(path),
    "upload": lambda path: uploads.read_upload(path, long_side=1000).picture,
}
"""Each reader of photographs: pixels (H, W, 3) uint8."""


def by_warping_alone(path: Path) -> object:
    return list(warped([one(path)], 8, batch=1))


def by_saliency(path: Path) -> object:
    """Seeds cut by a saliency map that is the file."""
    folder = path.parent / "cut"
    folder.mkdir(exist_ok=True)
    for name in ("s.png", "photo.jpg"):
        (folder / name).unlink(missing_ok=True)
    random_photo().save(folder / "photo.jpg")
    (folder / "s.png").symlink_to(path)
    storage.write_cams(folder / "s.npz", [1], np.ones((1, 4, 4)))
    cutter = Cutter(folder, folder, Seeds(background="saliency", saliency_dir=folder), Crf())
    return cutter.cut(Photo("s", folder / "photo.jpg", np.array([True, True])))


REFUSING: dict[str, Callable[[Path], object]] = {
    **DOORS,
    "probe": by_warping_alone,
    "data check": lambda path: VocFolder.read(object.__new__(VocFolder), one(path), masks=None),
    "size alone": pictures.read_size,
    "mask": pictures.read_mask,
    "saliency map": by_saliency,
}
"""Each reader of pictures."""
PHOTOGRAPHS_ALONE = [name for name in REFUSING if name not in ("size alone", "mask")]


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


def deep(folder: Path, kind: str) -> Path:
    """Write a picture of 16 bits a channel, or of floats."""
    ending, form = kind.split()
    path = folder / f"deep.{ending}"
    grey = np.arange(40000, 40012, dtype=np.uint16).reshape(3, 4)
    if form == "float":
        Image.fromarray(grey.astype(np.float32) / 65535).save(path)
    elif form == "grey":
        Image.fromarray(grey).save(path)
    elif ending == "png":
        channels = 4 if form == "RGBA" else 3
        rows = b"".join(b"\0" + row.astype(">u2").repeat(channels).tobytes() for row in grey)
        path.write_bytes(png(4, 3, 16, 6 if form == "RGBA" else 2, rows))
    else:  # a TIFF of one strip; Pillow writes none with 16 bits a channel
        entries = [(256, 3, 1, 4), (257, 3, 1, 3), (258, 3, 3, 110), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 116)]
        entries += [(277, 3, 1, 3), (279, 4, 1, 72)]
        fields = b"".join(struct.pack("<HHII", *entry) for entry in entries)
        head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + fields + bytes(4)
        path.write_bytes(head.ljust(110, b"\0") + struct.pack("<HHH", 16, 16, 16) + grey.repeat(3).tobytes())
    return path


@pytest.mark.parametrize("kind", ["png grey", "png RGB", "png RGBA", "tif grey", "tif RGB", "tif float"])
@pytest.mark.parametrize("door", PHOTOGRAPHS_ALONE)
def test_more_than_8_bits_a_channel_are_refused_at_every_door(tmp_path: Path, door: str, kind: str) -> None:
    path = deep(tmp_path, kind)
    with Image.open(path) as image:
        assert image.size == (4, 3)
    with pytest.raises(InputError) as error:
        REFUSING[door](path)
    if door == "upload" and kind.startswith("tif"):
        assert str(error.value).startswith("deep.tif: is not a photograph that can be read; choose a JPEG, PNG or")
    else:
        assert "has more than 8 bits a channel" in str(error.value)
        assert str(error.value).endswith("; save it with 8.")


@pytest.mark.parametrize("form", ["GIF", "TIFF", "WebP"])
@pytest.mark.parametrize("door", PHOTOGRAPHS_ALONE)
def test_several_pictures_in_a_file_are_refused_at_every_door(tmp_path: Path, door: str, form: str) -> None:
    frames = [Image.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (0, 99, 200)]
    frames[0].save(tmp_path / "a.jpg", form, save_all=True, append_images=frames[1:])
    sentence = "is not a photograph" if door == "upload" and form != "WebP" else "holds 3 pictures; save each as a"
    with pytest.raises(InputError, match=sentence):
        REFUSING[door](tmp_path / "a.jpg")


@pytest.mark.parametrize("door", REFUSING)
def test_an_eps_starts_no_other_program_at_any_door(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, door: str
) -> None:
    path = tmp_path / "eps_named.jpg"
    path.write_bytes((shared / "cases/files/eps_named.jpg").read_bytes())
    started: list[object] = []
    monkeypatch.setattr(subprocess, "Popen", lambda *words, **_: started.append(words))
    monkeypatch.setattr(subprocess, "check_call", lambda *words, **_: started.append(words))
    with pytest.raises(InputError, match=r"cannot be decoded \(not an image|is not a photograph that can be read"):
        REFUSING[door](path)
    assert started == []


def save_phone(path: Path, form: str, orientation: int = 1) -> Path:
    """A photograph (30, 40) with a dark left half, as telephones write it."""
    pixels = np.full((30, 40, 3), 230, np.uint8)
    pixels[:, :20] = 25
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    if form == "HEIC":
        heif = pytest.importorskip("pillow_heif")
        heif.from_pillow(Image.fromarray(pixels)).save(path, quality=95, exif=exif.tobytes())
    else:
        if form in pictures.LACKING:
            pytest.skip("this Pillow has no AVIF")
        Image.fromarray(pixels).save(path, "AVIF", quality=95, exif=exif)
    return path


@pytest.mark.parametrize("form", ["HEIC", "AVIF"])
@pytest.mark.parametrize("door", sorted(DOORS.keys() - {"upload"}))
def test_photographs_of_telephones_are_read(tmp_path: Path, door: str, form: str) -> None:
    pixels = DOORS[door](save_phone(tmp_path / f"IMG_1.{form}", form)).astype(int)
    assert pixels.shape == (30, 40, 3)
    assert np.abs(pixels[:, 3:17] - 25).max() < 12
    assert np.abs(pixels[:, 23:37] - 230).max() < 12


@pytest.mark.parametrize("form", ["HEIC", "AVIF"])
def test_photographs_of_telephones_stand_upright_and_become_jpeg(tmp_path: Path, form: str) -> None:
    source = save_phone(tmp_path / f"IMG_1.{form.lower()}", form, 6)
    assert pictures.read_upright(source).size == (30, 40)
    assert ending_of(source) == ".jpg"
    assert put_photograph(source, tmp_path / "out.jpg")
    with Image.open(tmp_path / "out.jpg") as image:
        assert (image.format, image.size) == ("JPEG", (30, 40))
        assert np.asarray(image)[:10].mean() < 60  # the left is above now


@pytest.mark.parametrize("form", ["HEIC", "AVIF"])
def test_a_format_whose_library_is_missing_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    path = save_phone(tmp_path / f"a.{form.lower()}", form)
    monkeypatch.setitem(pictures.LACKING, form, f"{form} needs a library: pip install 'dsrg[heic]'")
    monkeypatch.delitem(pictures.FORMATS, form)
    with pytest.raises(
        InputError, match=rf"a\.{form.lower()}: the photograph cannot be decoded \({form} needs a library"
    ):
        pictures.read_image(path)
    with pytest.raises(InputError, match=rf"a\.{form.lower()}: {form} needs a library: pip install 'dsrg\[heic\]'"):
        walk(tmp_path).check()
    with pytest.raises(InputError, match=f"a {form}, whatever its name, and no PNG"):
        pictures.read_mask(path)


@pytest.mark.parametrize("form", ["HEIC", "AVIF"])
def test_damaged_photographs_of_telephones_are_refused(tmp_path: Path, form: str) -> None:
    content = save_phone(tmp_path / "a.heic", form).read_bytes()
    for length in (20, 100, len(content) - 40):
        (tmp_path / "b.heic").write_bytes(content[:length])
        with pytest.raises(InputError, match=r"b\.heic: the photograph cannot be decoded"):
            pictures.read_image(tmp_path / "b.heic")


@pytest.mark.parametrize("form", ["PPM", "TGA", "ICO", "SGI", "PCX", "PDF", "EPS", "IM", "DDS", "JPEG2000"])
@pytest.mark.parametrize("door", REFUSING)
def test_formats_that_are_not_named_are_not_decoded(tmp_path: Path, door: str, form: str) -> None:
    path = tmp_path / "a.png"
    try:
        random_photo().save(path, form)
    except (OSError, KeyError):
        pytest.skip(f"this Pillow writes no {form}")
    with pytest.raises(InputError, match="cannot be decoded|is not a photograph that can be read"):
        REFUSING[door](path)


@pytest.mark.parametrize("door", REFUSING)
@pytest.mark.parametrize("size", [(1, 50_000_000), (65_536, 1), (20_000, 20_000)])
def test_too_many_pixels_are_refused_before_they_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, door: str, size: tuple[int, int]
) -> None:
    def load(_: object) -> None:
        raise AssertionError("is decoded")

    path = tmp_path / "large.png"
    path.write_bytes(png(*size, 8, 0, b"\0\0"))
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", load)
    most = "at most 50 million" if door == "upload" else "at most 150 million"
    bound = most if size[0] == 20_000 else "a side may have at most 65,535"
    with pytest.raises(
        InputError, match=rf"(large|s)\.png: has {size[0]} x {size[1]} pixels, but {bound}.*; make it smal"
    ):
        REFUSING[door](path)


def irregular(folder: Path, kind: str) -> Path:
    path = folder / "a.png"
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "link to itself":
        path.symlink_to(path)
    elif kind == "broken link":
        path.symlink_to(folder / "gone.png")
    else:
        path.symlink_to("/dev/zero")
    return path


@pytest.mark.parametrize("kind", ["FIFO", "folder", "device", "link to itself", "broken link"])
@pytest.mark.parametrize("door", REFUSING)
def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path, door: str, kind: str) -> None:
    with pytest.raises(InputError, match=r"a\.png|s\.png"):
        REFUSING[door](irregular(tmp_path, kind))


def test_files_without_end_are_refused_before_they_are_read(tmp_path: Path) -> None:
    with (tmp_path / "a.jpg").open("wb") as file:
        file.truncate(2**40)  # takes no room on the disk
    for door, read in REFUSING.items():
        if door != "saliency map":
            with pytest.raises(InputError, match=r"a\.jpg: (has 1,048,576 MiB|is 1099511\.6 MB large)"):
                read(tmp_path / "a.jpg")


def flips(content: bytes) -> list[bytes]:
    """The content with each of its bits the other way."""
    return [
        content[:place] + bytes([content[place] ^ (1 << bit)]) + content[place + 1 :]
        for place in range(len(content))
        for bit in range(8)
    ]


@pytest.mark.parametrize("door", ["training", "mask", "upload"])
def test_no_flipped_bit_of_a_png_is_read_as_other_pixels(tmp_path: Path, door: str) -> None:
    path = tmp_path / "a.png"
    pictures.write_mask(path, np.arange(30, dtype=np.uint8).reshape(5, 6) // 4)
    content = path.read_bytes()
    small = content[:33] + content[content.index(b"IDAT") - 4 :]  # without its palette of 768 bytes
    small = small[:25] + b"\0" + small[26:]  # a grey one
    small = small[:29] + struct.pack(">I", zlib.crc32(small[12:29])) + small[33:]
    path.write_bytes(small)
    assert np.asarray(REFUSING[door](path)).size
    for flipped in flips(small):
        path.write_bytes(flipped)
        with pytest.raises(InputError, match=r"a\.png: .*(cannot be decoded|not a photograph)"):
            REFUSING[door](path)


@pytest.mark.parametrize("form", ["PNG", "WebP", "BMP", "TIFF", "GIF", "JPEG"])
def test_truncated_files_of_every_format_are_refused(tmp_path: Path, form: str) -> None:
    path = tmp_path / "a.img"
    random_photo().save(path, form)
    content = path.read_bytes()
    for length in [*range(0, len(content), 37), *range(len(content) - 8, len(content))]:
        if form == "GIF" and length >= len(content) - 2:  # all pixels are there
            continue
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"a\.img: the photograph cannot be decoded"):
            pictures.read_image(path)


def test_a_jpeg_of_very_many_scans_is_refused_at_once(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    random_photo().save(buffer, "JPEG", progressive=True)
    content = buffer.getvalue()
    scan = b"\xff\xda\0\x08\1\1\0\0\0\0"
    (tmp_path / "a.jpg").write_bytes(content[:-2] + scan * 100_000 + content[-2:])
    with pytest.raises(InputError, match=r"a\.jpg: .* \(has more than 100 scans\)"):
        pictures.read_image(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes(content + scan * 1000)  # behind the end, as a telephone's video is
    assert pictures.read_image(tmp_path / "a.jpg").size == (20, 14)


def test_a_photograph_of_a_telephone_is_its_first_picture(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (0, 99)]
    frames[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=frames[1:])
    assert all((read(tmp_path / "a.jpg") == 0).all() for read in DOORS.values())


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
