"""Formats of pictures: telephones' photographs are read; what is not named or not plain is refused."""

import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from picture_doors import DOORS, PHOTOGRAPHS_ALONE, REFUSING, random_photo, save_phone
from PIL import Image
from png_files import png

from dsrg.data.photograph import ending_of, put_photograph, walk
from dsrg.errors import InputError
from dsrg.files import pictures


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


def test_a_photograph_of_a_telephone_is_its_first_picture(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (0, 99)]
    frames[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=frames[1:])
    assert all((read(tmp_path / "a.jpg") == 0).all() for read in DOORS.values())
