"""The formats of pictures that are decoded, each told by its first bytes; those of telephones where they can be."""

from __future__ import annotations

import importlib
import importlib.util
import io
import re
import zlib
from collections.abc import Callable
from typing import NamedTuple

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
    features,
)

JPEG_EXTENSIONS = (".jpg", ".jpeg", ".jpe", ".jfif", ".jif")
PHONE_EXTENSIONS = {".heic": "HEIC", ".heif": "HEIC", ".hif": "HEIC", ".avif": "AVIF"}
"""Those of telephones' formats, and the format: it is read where its library is installed (`LACKING`)."""
IMAGE_EXTENSIONS = (*JPEG_EXTENSIONS, ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", *PHONE_EXTENSIONS)
"""File name endings of photographs, in lower case: the one list of every door."""

_MAX_CHUNKS = 2**18
"""Chunks of a PNG; 8 KiB each, as libpng writes them, give 2 GiB."""
_MAX_SEGMENTS = 2**14
_MAX_SCANS = 100
"""Scans of a JPEG; progressive ones have about ten. Each costs a few bytes, and a pass over the whole picture."""
_MARKER = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")
"""The beginning of a segment or the end; in the pixels' data 0xff stands before 0 or a restart's number alone."""


class _Format(NamedTuple):
    """One kind of file that is decoded."""

    begins: re.Pattern[bytes]
    """Its first bytes."""
    read: Callable[..., Image.Image]
    """Pillow's reader of the header. Called by itself, since Image.open warns from 89 million pixels on."""
    check: Callable[[bytes], None] = lambda content: None
    """Raises ValueError for what Pillow does not notice."""


def _heic(file: io.BytesIO) -> Image.Image:
    """A telephone's photograph, as libheif decodes it: already upright, of 8 bits."""
    image: Image.Image = importlib.import_module("pillow_heif").HeifImageFile(file)  # an extra
    return image


def _avif(file: io.BytesIO) -> Image.Image:
    from PIL import AvifImagePlugin  # of Pillow 11.3

    return AvifImagePlugin.AvifImageFile(file)


def _check_png(content: bytes) -> None:
    """Hold every chunk against its checksum, which Pillow leaves out for the pixels.

    Raises:
        ValueError: one does not fit, or the file ends before its end.
    """
    view, place = memoryview(content), 8
    for _ in range(_MAX_CHUNKS):
        end = place + 12 + int.from_bytes(view[place : place + 4], "big")
        if end > len(content) or place + 12 > len(content):
            raise ValueError("the file is truncated")
        if zlib.crc32(view[place + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            raise ValueError("a checksum is wrong, so the file is damaged")
        if content[place + 4 : place + 8] == b"IEND":
            return
        place = end
    raise ValueError(f"has more than {_MAX_CHUNKS:,} chunks")


def _check_jpeg(content: bytes) -> None:
    """Refuse a JPEG of very many scans or segments, which cost far more time than bytes.

    Raises:
        ValueError: it has too many.
    """
    place, scans = 2, 0
    for _ in range(_MAX_SEGMENTS):
        marker = _MARKER.search(content, place)
        if marker is None or marker[0][-1] == 0xD9:  # the end; a telephone's video may follow
            return
        scans += marker[0][-1] == 0xDA
        if scans > _MAX_SCANS:
            raise ValueError(f"has more than {_MAX_SCANS} scans")
        place = marker.end() + int.from_bytes(content[marker.end() : marker.end() + 2], "big")
    raise ValueError(f"has more than {_MAX_SEGMENTS:,} segments")


PHONE_FORMATS = {
    "AVIF": _Format(re.compile(rb".{4}ftyp(?:avi[fs]|mif1.{4}(?:.{4}){0,8}?avif)", re.DOTALL), _avif),
    "HEIC": _Format(re.compile(rb".{4}ftyp(?:hei[cxms]|hev[cxms]|mif1|msf1)", re.DOTALL), _heic),
}
LACKING = {
    name: f"{name} needs a library: pip install 'dsrg[heic]'"
    for name, found in (
        ("AVIF", features.check_module("avif") if "avif" in features.modules else False),
        ("HEIC", importlib.util.find_spec("pillow_heif") is not None),
    )
    if not found
}
"""The telephones' formats that are not read here, and what helps."""
FORMATS = {
    "JPEG": _Format(re.compile(rb"\xff\xd8\xff"), JpegImagePlugin.jpeg_factory, _check_jpeg),  # the cameras' MPO too
    "PNG": _Format(re.compile(rb"\x89PNG\r\n\x1a\n"), PngImagePlugin.PngImageFile, _check_png),
    "WebP": _Format(re.compile(rb"RIFF.{4}WEBP", re.DOTALL), WebPImagePlugin.WebPImageFile),
    "BMP": _Format(re.compile(rb"BM"), BmpImagePlugin.BmpImageFile),
    "TIFF": _Format(re.compile(rb"II\*\0|MM\0\*|II\+\0|MM\0\+"), TiffImagePlugin.TiffImageFile),
    "GIF": _Format(re.compile(rb"GIF8[79]a"), GifImagePlugin.GifImageFile),
    **{name: form for name, form in PHONE_FORMATS.items() if name not in LACKING},
}
