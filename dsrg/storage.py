"""What the stages keep on disk: photographs, masks, CAMs, checkpoints."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from dsrg import disk
from dsrg.errors import InputError, reason
from dsrg.labels import IGNORE, palette

IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png")
"""File name endings of photographs, in lower case."""


def read_image(path: str | Path) -> Image.Image:
    """Read and fully decode a photograph as RGB.

    Raises:
        InputError: the file is missing, truncated or no image.
    """
    return _decode(path, "photograph").convert("RGB")


def read_upright(path: str | Path) -> Image.Image:
    """Read a photograph as viewers show it: RGB, turned as its EXIF orientation says.

    `read_image` takes the pixels as they are stored, which is what masks of data sets are drawn on.

    Raises:
        InputError: as `read_image`.
    """
    return upright(_decode(path, "photograph"))


def upright(image: Image.Image) -> Image.Image:
    """The image in RGB, turned as its EXIF orientation says.

    Raises:
        InputError: it has more than 8 bits a channel, of which `convert` would keep the wrong ones.
    """
    if image.mode[0] in "IF":
        name = getattr(image, "filename", "") or "image"
        raise InputError(f"{name}: has more than 8 bits a channel ({image.mode}); save it with 8.")
    return (ImageOps.exif_transpose(image) if orientation(image) != 1 else image).convert("RGB")


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
        InputError: the file is missing, broken, in colour, or holds an index out of range.
    """
    image = _decode(path, "mask")
    if image.mode not in ("P", "L"):
        raise InputError(
            f"{path}: a mask must be a palette or grey 8-bit PNG of class indices, not {image.mode}.", "mask in colour"
        )
    mask = np.array(image)
    if num_classes is not None:
        check_indices(mask, num_classes, path)
    return mask


def check_indices(mask: np.ndarray, num_classes: int, path: str | Path) -> None:
    """Refuse a mask (H, W) uint8 that holds any other index than 0..num_classes-1 and 255; `path` is its file."""
    # 255 + 1 is 0 in a byte: one cheap maximum tells the masks that are right, nearly all, from the wrong ones.
    if (mask + np.uint8(1)).max() > num_classes:
        wrong = mask[(mask >= num_classes) & (mask != IGNORE)][0]
        raise InputError(
            f"{path}: holds class index {wrong}, but the class list has only {num_classes} classes "
            f"(0 to {num_classes - 1}, and {IGNORE} for ignore).",
            "index out of range",
        )


def write_mask(path: str | Path, mask: np.ndarray) -> None:
    """Write class indices (H, W) as a palette PNG in VOC's colours, atomically."""
    image = Image.fromarray(np.ascontiguousarray(mask, np.uint8))
    image.putpalette(palette().tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    disk.write_bytes(path, buffer.getvalue())


def write_cams(path: str | Path, classes: Iterable[int], cams: np.ndarray) -> None:
    """Write the CAMs of an image's own classes, atomically.

    Args:
        path: The .npz file.
        classes: The foreground class indices (1..K) that the maps belong to.
        cams: (len(classes), h, w) maps in [0, 1]; stored as float16.
    """
    buffer = io.BytesIO()
    np.savez_compressed(buffer, classes=np.asarray(list(classes), np.int64), cams=cams.astype(np.float16))
    disk.write_bytes(path, buffer.getvalue())


def read_cams(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Read CAMs: the class indices (n,) int64 and the maps (n, h, w) float32."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return stored["classes"], stored["cams"].astype(np.float32)
    except FileNotFoundError:
        raise InputError(f"{path}: the CAMs do not exist; run tools/make_seeds.py.") from None
    except Exception as error:  # zipfile, zlib, ValueError, KeyError: every way in which a .npz can be broken
        raise InputError(
            f"{path}: not a readable CAM file ({reason(error)}); delete it to have it made anew."
        ) from None


def save_checkpoint(path: str | Path, state: dict[str, Any]) -> None:
    """Save tensors and plain values with torch.save, atomically."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    disk.write_bytes(path, buffer.getvalue())


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Load a checkpoint onto the CPU, admitting tensors and plain types only.

    Raises:
        InputError: the file is missing or is no such checkpoint.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: the file does not exist; check the path or run the stage that makes it.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's advice on pickles of other programs
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and torch each raise their own kinds on a broken file
        raise InputError(
            f"{path}: not a readable PyTorch file of tensors ({reason(error)}); get or make it anew."
        ) from None
    if not isinstance(state, dict):
        raise InputError(f"{path}: holds a {type(state).__name__} in place of named tensors; check the path.")
    return state


def _decode(path: str | Path, kind: str) -> Image.Image:
    try:
        image = Image.open(path)
        image.load()
    except FileNotFoundError:
        raise InputError(
            f"{path}: the {kind} does not exist; add it or take its name off the split.", f"{kind} missing"
        ) from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        why = "not an image" if isinstance(error, UnidentifiedImageError) else reason(error)
        raise InputError(
            f"{path}: the {kind} cannot be decoded ({why}); replace the file.", f"{kind} unreadable"
        ) from None
    return image
