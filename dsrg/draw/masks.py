"""A mask over its photograph, and the names of its classes."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw

from dsrg.draw import lettering
from dsrg.draw.heatmap import contrast
from dsrg.labels import BACKGROUND, IGNORE, palette

_STRIP = 2**20
"""Pixels of an overlay that are mixed at a time."""


def paint_mask(photo: np.ndarray, mask: np.ndarray, strength: float = 0.65) -> np.ndarray:
    """A mask's palette colours over a photograph, (H, W, 3) uint8; background darkens, 255 stays clear of colour."""
    colours = palette()[mask].astype(np.float32)
    mixed = photo * (1 - strength) + colours * strength
    mixed[mask == IGNORE] = photo[mask == IGNORE] * (1 - strength) + 255 * strength
    return np.asarray(mixed.round(), np.uint8)


def paint_with_legend(photo: np.ndarray, mask: np.ndarray, classes: Sequence[str], strength: float = 0.5) -> np.ndarray:
    """The photograph with its objects in their classes' colours, their outlines, and a legend at the top left.

    The background stays as it is: this picture is for looking at the objects.

    Args:
        photo: (H, W, 3) uint8.
        mask: (H, W) uint8 class indices, 255 = unlabelled.
        classes: The C names, background first.
        strength: Of the colours, in 0..1.

    Returns:
        (H, W, 3) uint8.
    """
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    borders = cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, cross) > 0  # a 4-neighbour is of another class
    mixed = np.empty_like(photo)
    rows = max(1, _STRIP // photo.shape[1])
    for start in range(0, len(photo), rows):
        strip = slice(start, start + rows)
        mixed[strip] = _mix(photo[strip], mask[strip], borders[strip], strength)
    present = [index for index in np.unique(mask).tolist() if index not in (BACKGROUND, IGNORE)]
    return _legend(mixed, present, classes)


def _mix(photo: np.ndarray, mask: np.ndarray, borders: np.ndarray, strength: float) -> np.ndarray:
    """`paint_with_legend` without its legend, of a strip of rows: a large photograph in float32 takes 12 bytes a pixel
    for each step."""
    object_ = (mask != BACKGROUND) & (mask != IGNORE)
    colours = palette()[mask].astype(np.float32)
    mixed = photo.astype(np.float32)
    mixed[object_] = photo[object_] * (1 - strength) + colours[object_] * strength
    outline = borders & object_
    mixed[outline] = colours[outline]
    return np.asarray(mixed.round(), np.uint8)


def _legend(picture: np.ndarray, present: Sequence[int], classes: Sequence[str]) -> np.ndarray:
    """A plate of its colour with its name for each of the classes; those that find no room are counted."""
    image = Image.fromarray(picture)
    pen = ImageDraw.Draw(image)
    size = max(10, round(max(picture.shape[:2]) / 32))
    line = size + 6
    room = max(1, picture.shape[0] // line)
    names = [(classes[index], tuple(map(int, palette()[index]))) for index in present]
    if len(names) > room:
        names = [*names[: room - 1], (f"and {len(names) - room + 1} more", (255, 255, 255))]
    for row, (name, (red, green, blue)) in enumerate(names):
        right = lettering.width(name, size) + 7
        pen.rectangle((0, row * line, right, (row + 1) * line - 1), fill=(red, green, blue))
        lettering.write(pen, (4, row * line + 1), name, contrast((red, green, blue)), size)
    return np.asarray(image)
