"""Pictures that are truncated, changed, too large or no files at all are refused in one sentence."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from picture_doors import REFUSING, random_photo, save_phone
from PIL import PngImagePlugin
from png_files import png

from dsrg.errors import InputError
from dsrg.files import pictures


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


@pytest.mark.parametrize("form", ["HEIC", "AVIF"])
def test_damaged_photographs_of_telephones_are_refused(tmp_path: Path, form: str) -> None:
    content = save_phone(tmp_path / "a.heic", form).read_bytes()
    for length in (20, 100, len(content) - 40):
        (tmp_path / "b.heic").write_bytes(content[:length])
        with pytest.raises(InputError, match=r"b\.heic: the photograph cannot be decoded"):
            pictures.read_image(tmp_path / "b.heic")


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
