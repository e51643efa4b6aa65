"""The formats of pictures that are decoded, each told by its first bytes; those of telephones where they can be."""

from __future__ import annotations

import importlib
import importlib.util
import io
import re
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


class _Format(NamedTuple):
    """One kind of file that is decoded."""

    begins: re.Pattern[bytes]
    """Its first bytes."""
    read: Callable[..., Image.Image]
    """Pillow's reader of the header. Called by itself, since Image.open warns from 89 million pixels on."""


def _heic(file: io.BytesIO) -> Image.Image:
    """A telephone's photograph, as libheif decodes it: already upright, of 8 bits."""
    image: Image.Image = importlib.import_module("pillow_heif").HeifImageFile(file)  # an extra
    return image


def _avif(file: io.BytesIO) -> Image.Image:
    from PIL import AvifImagePlugin  # of Pillow 11.3

    return AvifImagePlugin.AvifImageFile(file)


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
    "JPEG": _Format(re.compile(rb"\xff\xd8\xff"), JpegImagePlugin.jpeg_factory),  # the cameras' MPO is a JPEG too
    "PNG": _Format(re.compile(rb"\x89PNG\r\n\x1a\n"), PngImagePlugin.PngImageFile),
    "WebP": _Format(re.compile(rb"RIFF.{4}WEBP", re.DOTALL), WebPImagePlugin.WebPImageFile),
    "BMP": _Format(re.compile(rb"BM"), BmpImagePlugin.BmpImageFile),
    "TIFF": _Format(re.compile(rb"II\*\0|MM\0\*|II\+\0|MM\0\+"), TiffImagePlugin.TiffImageFile),
    "GIF": _Format(re.compile(rb"GIF8[79]a"), GifImagePlugin.GifImageFile),
    **{name: form for name, form in PHONE_FORMATS.items() if name not in LACKING},
}
