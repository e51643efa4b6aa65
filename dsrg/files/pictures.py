"""Photographs and masks: every picture that the project reads from a file is read here.

What a file is its first bytes say, not its name. Only the formats named here are decoded, for Pillow knows fifty more,
some of which start other programs; and the size is bounded before anything is decoded.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin

from dsrg.errors import InputError, reason
from dsrg.files import disk
from dsrg.files.picture_formats import FORMATS as FORMATS
from dsrg.files.picture_formats import IMAGE_EXTENSIONS as IMAGE_EXTENSIONS
from dsrg.files.picture_formats import JPEG_EXTENSIONS as JPEG_EXTENSIONS
from dsrg.files.picture_formats import LACKING as LACKING
from dsrg.files.picture_formats import PHONE_EXTENSIONS as PHONE_EXTENSIONS
from dsrg.files.picture_formats import PHONE_FORMATS
from dsrg.labels import IGNORE, palette

MAX_PIXELS = 150_000_000
"""Largest photograph or mask: decoded it takes 600 MB in Pillow, and as an array 450 MB more."""
MAX_SIDE = 65_535
"""Largest width and height, JPEG's own; a strip that is longer costs more than its pixels."""
MAX_BYTES = 512 * disk.MIB
"""Largest file of a photograph or mask."""

TRANSPARENT = -1
"""What `read_colours` gives for a pixel on which nothing is painted."""
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What sets a picture of each EXIF orientation upright."""


def read_image(path: str | Path, what: str = "photograph") -> Image.Image:
    """Read and fully decode a photograph as RGB, its pixels as they are stored, transparency laid over white.

    Args:
        path: A JPEG, PNG, WebP, BMP, TIFF or GIF; HEIC or AVIF where their libraries are installed.
        what: What it is, for the error.

    Raises:
        InputError: the file is missing, no regular file, none of these formats, damaged or too large; or it has more
            than 8 bits a channel, or several pictures.
    """
    return _photograph(path, what, tuple(FORMATS), MAX_PIXELS, MAX_BYTES)


def read_upright(
    path: str | Path,
    *,
    formats: Sequence[str] = tuple(FORMATS),
    max_pixels: int = MAX_PIXELS,
    max_bytes: int = MAX_BYTES,
) -> Image.Image:
    """Read a photograph as viewers show it: as `read_image`, and turned as its EXIF orientation says.

    `read_image` takes the pixels as they are stored, which is what masks of data sets are drawn on.

    Args:
        path: The file.
        formats: The only ones of FORMATS to take.
        max_pixels: Largest width times height.
        max_bytes: Largest file.

    Raises:
        InputError: as `read_image`.
    """
    return turned(_photograph(path, "photograph", formats, max_pixels, max_bytes))


def read_size(path: str | Path) -> tuple[int, int]:
    """Width and height in pixels of a photograph as it is stored, from its header alone.

    Raises:
        InputError: as `read_image`, as far as the header tells.
    """
    return _open(path, "photograph", tuple(FORMATS), MAX_PIXELS, MAX_BYTES)[0].size


def upright(image: Image.Image) -> Image.Image:
    """An image that somebody opened, as `read_upright` gives photographs.

    Raises:
        InputError: it has more than 8 bits a channel, of which `convert` would keep the wrong ones.
    """
    return turned(_to_rgb(image, getattr(image, "filename", "") or "image"))


def turned(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF orientation says; itself where that is upright."""
    turn = _TURNS.get(orientation(image))
    if turn is None:
        return image
    result = image.transpose(turn)
    # The metadata would have it turned once more.
    result.info = {key: value for key, value in image.info.items() if key == "icc_profile"}
    return result


def orientation(image: Image.Image) -> int:
    """EXIF's number of how the camera was held; 1, upright, where there is none or none that can be read."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # a damaged header: SyntaxError, struct.error, TypeError and others; the pixels are sound
        return 1


def read_mask(path: str | Path, num_classes: int | None = None) -> np.ndarray:
    """Read a mask, (H, W) uint8 of class indices, 255 = ignore or unlabelled.

    Args:
        path: A palette PNG or an 8-bit grey one.
        num_classes: When given, any other index than 0..num_classes-1 and 255 is refused.

    Raises:
        InputError: the file is missing, no PNG, damaged, in colour, or holds an index out of range.
    """
    mask = _indices(path, "mask", "palette or grey 8-bit PNG of class indices", ("P", "L"))
    if num_classes is not None:
        check_indices(mask, num_classes, path)
    return mask


def read_labels(path: str | Path, what: str = "label map") -> np.ndarray:
    """Read a label map, (H, W) uint8 or uint16: any numbers, those of segments.

    Args:
        path: A palette PNG, or a grey one of 8 or 16 bits.
        what: What it is, for the error.

    Raises:
        InputError: the file is missing, no PNG, damaged, or in colour.
    """
    return _indices(path, what, "palette PNG or a grey one of 8 or 16 bits", ("P", "L", "I;16", "I"))


def _indices(path: str | Path, what: str, form: str, modes: Sequence[str]) -> np.ndarray:
    image, bits, _ = _decode(path, what, ("PNG",), MAX_PIXELS, MAX_BYTES)
    if image.mode not in modes or (image.mode == "L" and bits != 8):  # Pillow makes 85 of the 1 of 2 bits
        found = image.mode if image.mode != "L" else f"grey of {bits} bits"
        raise InputError(f"{path}: a {what} must be a {form}, not {found}.", f"{what} in colour")
    return np.array(image) if image.mode in ("P", "L") else np.array(image).astype(np.uint16)


def read_colours(path: str | Path) -> np.ndarray:
    """Read a mask in colour, (H, W) int32: red * 65536 + green * 256 + blue, or TRANSPARENT.

    Raises:
        InputError: as `read_image`, or a pixel is painted in part.
    """
    image = _single(path, "mask", tuple(FORMATS), MAX_PIXELS, MAX_BYTES)
    if image.mode[0] in "IF":
        raise _too_deep(path, image.mode)
    try:
        layer = image.convert("LA") if image.mode == "La" else image
        pixels = np.asarray(layer.convert("RGBA" if image.has_transparency_data else "RGB")).astype(np.int32)
    except ValueError as error:  # a palette or transparency that Pillow cannot make sense of
        raise _undecodable(path, "mask", str(error)) from None
    codes: np.ndarray = pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]
    if pixels.shape[2] == 4:
        alpha = pixels[..., 3]
        if image.mode != "P" and ((alpha > 0) & (alpha < 255)).any():  # a palette's colours are exact nevertheless
            raise InputError(
                f"{path}: holds pixels that are transparent in part, which are no class's; save the mask without "
                "smooth edges.",
                "mask in colour",
            )
        codes[alpha == 0] = TRANSPARENT
    return codes


def is_numbered(path: str | Path) -> bool:
    """Whether a mask is a palette PNG in all 256 of VOC's colours, as VOC and this project write class indices: its
    numbers count then, whatever its colours mean elsewhere.

    Raises:
        InputError: as `read_mask`, as far as the header tells.
    """
    image, _, _ = _open(path, "mask", tuple(FORMATS), MAX_PIXELS, MAX_BYTES)
    return image.mode == "P" and image.palette is not None and bytes(image.palette.palette) == palette().tobytes()


def decode_flags(content: bytes, where: str) -> np.ndarray:
    """What is not 0 in a grey or palette PNG, (H, W) bool.

    Args:
        content: The file's bytes.
        where: What holds them, for the error.

    Raises:
        InputError: it is no such PNG, damaged or too large.
    """
    image, _ = _parse(content, where, "mask", ("PNG",), MAX_PIXELS)
    try:
        image.load()
    except Exception as error:  # as `_decode`
        raise _undecodable(where, "mask", reason(error)) from None
    if image.mode not in ("1", "L", "P"):
        raise InputError(f"{where}: a mask must be a grey or palette PNG, not {image.mode}.", "mask in colour")
    return np.asarray(np.asarray(image) != 0)


def mask_file(folder: Path, name: str) -> Path:
    """The file of the mask `name` in a folder, whose ending may be in capitals; <name>.png where there is none.

    A link to nothing counts as a file, so that whoever reads it is told.
    """
    plain = folder / f"{name}.png"
    if os.path.lexists(plain):  # nearly always, and a start asks for each photograph
        return plain
    others = (folder / f"{name}{ending}" for ending in (".PNG", ".Png"))
    return next((path for path in others if os.path.lexists(path)), plain)


def check_indices(mask: np.ndarray, num_classes: int, path: str | Path) -> None:
    """Refuse a mask (H, W) of unsigned integers that holds any other index than 0..num_classes-1 and 255; `path` is its
    file."""
    # 255 + 1 is 0 in a byte: one cheap maximum tells the masks that are right, nearly all, from the wrong ones.
    if mask.dtype == np.uint8 and (mask + np.uint8(1)).max() <= num_classes:
        return
    wrong = mask[(mask >= num_classes) & (mask != IGNORE)]
    if len(wrong):
        raise InputError(
            f"{path}: holds class index {wrong[0]}, but the class list has only {num_classes} classes "
            f"(0 to {num_classes - 1}, and {IGNORE} for ignore).",
            "index out of range",
        )


def write_mask(path: str | Path, mask: np.ndarray) -> None:
    """Write class indices (H, W) as a palette PNG in VOC's colours, atomically."""
    disk.write_bytes(path, mask_png(mask))


def mask_png(mask: np.ndarray) -> bytes:
    """The file of class indices (H, W): a palette PNG in VOC's colours."""
    image = Image.fromarray(np.ascontiguousarray(mask, np.uint8))
    image.putpalette(palette().tobytes())
    return encoded(image, "PNG")


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    """The file of a picture in one of Pillow's formats, with Pillow's options."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def jpeg(picture: np.ndarray) -> bytes:
    """The file of a picture (H, W, 3) uint8: a JPEG of quality 92.

    Raises:
        InputError: it is too large for the format.
    """
    try:
        return encoded(Image.fromarray(picture), "JPEG", quality=92)
    except (OSError, ValueError):
        height, width = picture.shape[:2]
        raise InputError(f"a JPEG holds at most 65,500 pixels a side, and this has {width} x {height}.") from None


def _photograph(path: str | Path, what: str, formats: Sequence[str], max_pixels: int, max_bytes: int) -> Image.Image:
    image = _single(path, what, formats, max_pixels, max_bytes)
    try:
        return _to_rgb(image, path)
    except ValueError as error:  # InputError is none; a palette or transparency that Pillow cannot make sense of
        raise _undecodable(path, what, str(error)) from None


def _single(path: str | Path, what: str, formats: Sequence[str], max_pixels: int, max_bytes: int) -> Image.Image:
    """The only picture of a file, of no more than 8 bits a channel as far as Pillow has not said so by its mode."""
    image, bits, count = _decode(path, what, formats, max_pixels, max_bytes)
    if bits > 8 and image.mode[0] not in "IF":  # Pillow has cut them off
        raise _too_deep(path, f"{image.mode} of {bits}")
    if count > 1:
        raise InputError(f"{path}: holds {count} pictures; save each as a file of its own.", "several pictures")
    return image


def _open(
    path: str | Path, what: str, formats: Sequence[str], max_pixels: int, max_bytes: int
) -> tuple[Image.Image, str, bytes]:
    """A picture whose header alone is read and found within bounds, its format and its file's bytes."""
    try:
        content = disk.read_bytes(path, what, limit=max_bytes)
    except InputError as error:
        mend = "does not exist; add it or take its name off the split."
        raise InputError(str(error).replace("does not exist; check the path.", mend), error.kind) from None
    return *_parse(content, path, what, formats, max_pixels), content


def _parse(
    content: bytes, path: str | Path, what: str, formats: Sequence[str], max_pixels: int
) -> tuple[Image.Image, str]:
    """The picture in a file's bytes, its header alone read and found within bounds, and its format."""
    form = next((name for name, form in FORMATS.items() if form.begins.match(content)), None)
    if form is None or form not in formats:
        raise _undecodable(path, what, _unknown(content, form, formats))
    try:
        FORMATS[form].check(content)
        image = FORMATS[form].read(io.BytesIO(content))
    except Exception as error:  # SyntaxError, struct.error, OSError and others, as the header is broken
        raise _undecodable(path, what, reason(error)) from None
    width, height = image.size
    if max(width, height) > MAX_SIDE:
        most = f"a side may have at most {MAX_SIDE:,}"
    elif width * height > max_pixels:
        most = f"at most {max_pixels / 1e6:g} million are taken"
    else:
        return image, form
    raise InputError(f"{path}: has {width} x {height} pixels, but {most}; make it smaller.", f"{what} too large")


def _decode(
    path: str | Path, what: str, formats: Sequence[str], max_pixels: int, max_bytes: int
) -> tuple[Image.Image, int, int]:
    """A picture; the bits a channel in its file, of which Pillow turns some of 16 into 8, and grey ones of fewer into
    others of 8; and how many pictures the file holds. Those of a JPEG, a telephone's MPO whose first is the photograph,
    count as one, and so do those of an animated PNG; of HEIC's the main one is taken."""
    image, form, content = _open(path, what, formats, max_pixels, max_bytes)
    bits = 8
    try:
        if form == "PNG":
            bits = content[24]
        elif isinstance(image, TiffImagePlugin.TiffImageFile):
            bits = max(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (8,)))
        count = getattr(image, "n_frames", 1) if form in ("WebP", "TIFF", "GIF", "AVIF") else 1
        image.load()
    except MemoryError:
        sentence = f"{path}: {image.width} x {image.height} pixels need more memory than there is; make it smaller."
        raise InputError(sentence, f"{what} too large") from None
    except Exception as error:  # a hostile file can make a decoder raise anything
        raise _undecodable(path, what, reason(error)) from None
    return image, bits, count


def _unknown(content: bytes, form: str | None, formats: Sequence[str]) -> str:
    """What is said of a file that is of none of the formats to be taken."""
    taken = " or ".join(filter(None, (", ".join(formats[:-1]), formats[-1])))
    lacking = next((name for name in LACKING if PHONE_FORMATS[name].begins.match(content)), None)
    if form is None and lacking is None:
        return f"not an image: no {taken}"
    if form is None and {*formats} >= {*FORMATS}:
        return f"{LACKING[str(lacking)]}, or save it as JPEG"
    return f"a {form or lacking}, whatever its name, and no {taken}"


def _to_rgb(image: Image.Image, name: str | Path) -> Image.Image:
    """The picture in RGB, with its metadata; transparency over white, in strips, since it takes four copies."""
    if image.mode[0] in "IF":
        raise _too_deep(name, image.mode)
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    result = Image.new("RGB", image.size)
    rows = max(1, 2**22 // image.width)
    for top in range(0, image.height, rows):
        box = (0, top, image.width, min(top + rows, image.height))
        strip = image.crop(box)
        strip = (strip.convert("LA") if strip.mode == "La" else strip).convert("RGBA")
        result.paste(Image.alpha_composite(Image.new("RGBA", strip.size, "white"), strip).convert("RGB"), box)
    result.info = {key: value for key, value in image.info.items() if key != "transparency"}
    return result


def _too_deep(name: str | Path, form: str) -> InputError:
    return InputError(f"{name}: has more than 8 bits a channel ({form}); save it with 8.", "more than 8 bits")


def _undecodable(path: str | Path, what: str, why: str) -> InputError:
    mend = "export it anew as PNG" if what == "mask" else "replace the file"
    return InputError(f"{path}: the {what} cannot be decoded ({why}); {mend}.", f"{what} unreadable")
