"""Heat maps and boxes on photographs.

The colour map is matplotlib's inferno. It is perceptually uniform: equal steps of the map look equally large, which
the rainbow of `jet` breaks with edges where the map has none, and its lightness rises with the value, so that it reads
the same for colour-blind eyes and in grey. Of the uniform ones it alone goes from black to bright yellow: where the
network did not look the photograph only darkens, and what it looked at is lit up.

Colours that mean right, wrong and missed are Okabe and Ito's blue, vermilion and reddish purple, which all kinds of
colour-blindness tell apart; a word always stands beside them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from dsrg.draw import lettering

COLOUR_MAP = "inferno"
"""matplotlib's name of the colour map."""
RIGHT = (0, 114, 178)
"""Colour of what is right."""
WRONG = (213, 94, 0)
"""Colour of what is wrong."""
MISSED = (204, 121, 167)
"""Colour of what is there and was not found."""
TRUTH = (255, 255, 255)
"""Colour of what the ground truth says."""
Colour = tuple[int, int, int]
"""Red, green and blue, 0..255."""


def paint(picture: np.ndarray, cam: np.ndarray, strength: float = 0.6) -> np.ndarray:
    """A map over its photograph: strength · colour(map) + (1 - strength) · photograph.

    Args:
        picture: (H, W, 3) uint8.
        cam: (h, w) in [0, 1]; enlarged bilinearly, corner on corner, as all maps here.
        strength: In 0..1; 1 shows the map alone.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: a shape does not fit, or a value is out of range or not a number.
    """
    from matplotlib import colormaps

    _check_picture(picture)
    if cam.ndim != 2 or not cam.size or cam.dtype.kind != "f":
        raise ValueError(f"cam must be floating point (h, w), not {cam.dtype} {cam.shape}.")
    if not 0 <= strength <= 1:
        raise ValueError(f"strength is {strength}; it must lie in 0..1.")
    slack = 1e-4  # of rounding, where a map was divided by its maximum or enlarged
    if not (-slack <= cam.min() <= cam.max() <= 1 + slack):  # nan fails every comparison
        raise ValueError(f"cam must lie in [0, 1], not {cam.min():g}..{cam.max():g}; divide it by its maximum.")
    coloured = colormaps[COLOUR_MAP](resize(cam, picture.shape[:2]).clip(0, 1), bytes=True)[..., :3]
    return np.asarray((strength * coloured + (1 - strength) * picture).round(), np.uint8)


def resize(cam: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """A map (h, w) at another size (H, W), bilinear, corner on corner, float32."""
    import torch
    from torch.nn import functional

    maps = torch.from_numpy(np.ascontiguousarray(cam, np.float32))[None, None]
    enlarged = functional.interpolate(maps, tuple(size), mode="bilinear", align_corners=True)
    return np.asarray(enlarged[0, 0].numpy())


def draw_boxes(picture: np.ndarray, boxes: np.ndarray, colour: Colour, titles: Sequence[str] = ()) -> np.ndarray:
    """Outlines of boxes, drawn inside them, and their titles at the top left.

    A thin line of black or white, whichever the colour stands out from, runs along the inside of each outline: no
    photograph then hides it. Outlines are thicker on larger pictures.

    Args:
        picture: (H, W, 3) uint8; it stays as it is.
        boxes: (N, 4) x0, y0, x1, y1 in pixels, half-open; fractions are widened to whole pixels. What lies beyond the
            picture is left out.
        colour: Of all boxes.
        titles: A text for each box, or none at all.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: a shape does not fit, a box has no area, or there are not as many titles as boxes.
    """
    _check_picture(picture)
    edges = np.asarray(boxes, np.float64)
    if edges.ndim != 2 or edges.shape[1] != 4:
        raise ValueError(f"boxes must be (N, 4), not {edges.shape}.")
    if not (edges[:, 2:] > edges[:, :2]).all():
        raise ValueError("boxes must hold x0, y0, x1, y1 with x0 < x1 and y0 < y1.")
    if titles and len(titles) != len(edges):
        raise ValueError(f"there are {len(titles)} titles for {len(edges)} boxes; give one for each, or none.")
    whole = np.concatenate([np.floor(edges[:, :2]), np.ceil(edges[:, 2:])], axis=1).astype(int)
    image = Image.fromarray(picture)
    pen = ImageDraw.Draw(image)
    width = max(1, round(max(picture.shape[:2]) / 150))
    for left, top, right, bottom in whole.tolist():
        if min(right - left, bottom - top) > 2 * width + 2:  # a smaller box would be nothing but line
            inner = (left + width, top + width, right - 1 - width, bottom - 1 - width)
            pen.rectangle(inner, outline=contrast(colour))
        pen.rectangle((left, top, right - 1, bottom - 1), outline=colour, width=width)
    for (left, top, _, _), title in zip(whole.tolist(), titles, strict=False):
        _tag(pen, (left, top), title, colour, image.size)
    return np.asarray(image)


def contrast(colour: Colour) -> Colour:
    """Black or white, whichever is the easier to read on the colour."""
    red, green, blue = colour
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else (255, 255, 255)


def _tag(pen: ImageDraw.ImageDraw, corner: tuple[int, int], title: str, colour: Colour, size: tuple[int, int]) -> None:
    """A title on a plate of the colour, moved so far that it is on the picture."""
    letters = max(10, round(max(size) / 28))
    width, height = lettering.width(title, letters), lettering.height(title, letters)
    left = max(0, min(corner[0], size[0] - width - 4))
    top = max(0, min(corner[1], size[1] - height - 4))
    pen.rectangle((left, top, left + width + 3, top + height + 3), fill=colour)
    lettering.write(pen, (left + 2, top + 1), title, contrast(colour), letters)


def _check_picture(picture: np.ndarray) -> None:
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or not picture.size:
        raise ValueError(f"picture must be uint8 (H, W, 3), not {picture.dtype} {picture.shape}.")
