"""Figures made of tiles: pictures of one size with their captions, in rows under titles, on pages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw

from dsrg.draw import lettering
from dsrg.draw.heatmap import Colour
from dsrg.files import disk
from dsrg.files.pictures import encoded

GAP = 4
"""Pixels between two tiles."""
LINE = 17
"""Height of a line of a caption, in pixels."""
LETTERS, HEADING = 13, 15
"""Size of letters, and of a heading's, in pixels."""
PAGE = 4000
"""Height of a page, in pixels, before another is begun."""


def fit(tile: np.ndarray, side: int) -> np.ndarray:
    """A picture (H, W, 3) uint8 brought to `side` pixels on its long side."""
    scale = side / max(tile.shape[:2])
    size = (max(1, round(tile.shape[1] * scale)), max(1, round(tile.shape[0] * scale)))
    return cv2.resize(tile, size, interpolation=cv2.INTER_AREA)


def captioned(tile: np.ndarray, lines: Sequence[str], colour: Colour | None = None, width: int = 0) -> np.ndarray:
    """A tile (h, w, 3) uint8 with lines of text below it, which are broken where they are too long.

    Args:
        tile: The picture.
        lines: The text.
        colour: Frames the picture and colours the first line.
        width: Room for the text in pixels, where the tile is narrower.
    """
    height, own_width = tile.shape[:2]
    width = max(width, own_width)
    broken = _broken(lines, width)
    sheet = Image.new("RGB", (width, height + LINE * len(broken) + 3), "white")
    sheet.paste(Image.fromarray(tile))
    pen = ImageDraw.Draw(sheet)
    if colour is not None:
        pen.rectangle((0, 0, own_width - 1, height - 1), outline=colour, width=4)
    for row, (part, number) in enumerate(broken):
        ink = colour if colour is not None and number == 0 else (0, 0, 0)
        lettering.write(pen, (0, height + 2 + LINE * row), part, ink, LETTERS)
    return np.asarray(sheet)


def words(lines: Sequence[str], width: int) -> np.ndarray:
    """Lines of text as a tile (h, width, 3), those that are too long broken; the first is the heading."""
    broken = _broken(lines, width - 4, HEADING)
    sheet = Image.new("RGB", (width, LINE * len(broken) + 8), "white")
    pen = ImageDraw.Draw(sheet)
    for row, (part, number) in enumerate(broken):
        lettering.write(pen, (2, LINE * row), part, "black", LETTERS if number else HEADING)
    return np.asarray(sheet)


def sheet(titles: Sequence[str], rows: Sequence[Sequence[np.ndarray]], width: int) -> Image.Image:
    """Tiles (h, w <= width, 3) uint8 in rows under the titles of their columns, each row as high as its highest."""
    heights = [max(tile.shape[0] for tile in row) for row in rows]
    size = (len(titles) * (width + GAP) + GAP, 22 + sum(heights) + GAP * len(rows))
    picture = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(picture)
    for column, title in enumerate(titles):
        lettering.write(pen, (GAP + column * (width + GAP), 3), title, "black", LETTERS)
    top = 22
    for row, height in zip(rows, heights, strict=True):
        for column, tile in enumerate(row):
            picture.paste(Image.fromarray(tile), (GAP + column * (width + GAP), top))
        top += height + GAP
    return picture


def pages(titles: Sequence[str], rows: Sequence[Sequence[np.ndarray]], width: int) -> list[Image.Image]:
    """The rows, which may have more tiles than there are titles, on as many sheets as keep below PAGE pixels (and the
    line of titles), at least one row on each."""
    titles = [*titles, *[""] * (max(map(len, rows), default=0) - len(titles))]
    divided: list[list[Sequence[np.ndarray]]] = []
    height = 0
    for row in rows:
        taken = max(tile.shape[0] for tile in row) + GAP
        if not divided or height + taken > PAGE:
            divided.append([])
            height = 0
        divided[-1].append(row)
        height += taken
    return [sheet(titles, part, width) for part in divided]


def write_picture(path: Path, picture: Image.Image) -> None:
    """Write a PNG atomically."""
    disk.write_bytes(path, encoded(picture, "PNG", optimize=True))


def write_pages(directory: Path, stem: str, pictures: Sequence[Image.Image]) -> list[str]:
    """Write <stem>.png, <stem>-2.png, … and remove those that an earlier call wrote beyond; their names."""
    names = [f"{stem}.png", *(f"{stem}-{number}.png" for number in range(2, len(pictures) + 1))][: len(pictures)]
    for name, picture in zip(names, pictures, strict=True):
        write_picture(directory / name, picture)
    further = {path.name for path in directory.glob(f"{stem}-*.png") if path.stem[len(stem) + 1 :].isdigit()}
    for stale in (further | {f"{stem}.png"}) - set(names):
        (directory / stale).unlink(missing_ok=True)
    return names


def _broken(lines: Sequence[str], width: int, heading: int = LETTERS) -> list[tuple[str, int]]:
    """The lines in parts that fit a width in pixels, and the number of the line that each part is of.

    Args:
        lines: The text.
        width: Room in pixels.
        heading: Size of the first line's letters.
    """
    return [
        (part, number)
        for number, line in enumerate(lines)
        for part in lettering.wrap(line, width, LETTERS if number else heading)
    ]
