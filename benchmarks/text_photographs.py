"""Text rendered into photographs: a data set with image-level labels and boxes, for a text detector to learn from.

    python -m benchmarks.text_photographs --photos DIR --out DIR

Zhou et al. (CVPR 2016, Sect. 4.2) learn to find text from street views with text and scenes without. Where there are
no such photographs, this writes words into a share of any folder's: of several fonts, sizes, colours and angles, on
plates or on the photograph itself, one to three a photograph. OUT gets photos/<name>.jpg, all of them written anew and
alike, so that the JPEG does not tell; labels.csv, in which a photograph without text has no label; and
annotations/<name>.xml, the boxes in VOC's form. Photographs of the folder that show text by themselves count as
without: leave them out.

    dsrg probe --labels OUT/labels.csv --photos OUT/photos --annotations OUT/annotations --mine 100 --cfg FILE
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from tqdm import tqdm

from dsrg.cli import guard
from dsrg.data.photograph import walk
from dsrg.data.prepare import name_ids
from dsrg.data.voc import spread
from dsrg.draw import lettering
from dsrg.errors import InputError
from dsrg.files import disk, pictures

WORDS = (
    *("OPEN", "CLOSED", "EXIT", "HOTEL", "CAFE", "Bakery", "STOP", "Taxi", "SALE", "Park"),
    *("Museum", "Books", "PIZZA", "Market", "Police", "BANK", "Station", "Welcome", "Street", "Pharmacy"),
    *("No.17", "Room", "42", "24h", "1998", "70%", "$3.50", "Tel.", "A12", "B-52"),
    *("Coffee", "Garden", "MILK", "Fresh", "Fish", "Road", "Works", "Danger", "Library"),
)
MOST = 3
"""Words in a photograph."""
SIZES = (0.07, 0.24)
"""Of the letters, as shares of the photograph's shorter side."""
STEEPEST = 40
"""Degrees; a third of the words are level."""
CONTRAST = 90
"""The least difference between a word's brightness and that of what is behind it, of 255."""
TRIES = 20


def write_text(
    picture: Image.Image, random: np.random.Generator, fonts: Sequence[str]
) -> tuple[Image.Image, np.ndarray]:
    """A photograph with words on it.

    Args:
        picture: RGB; it stays as it is.
        random: Chooses words, fonts, sizes, angles, colours and places.
        fonts: Font files.

    Returns:
        The new photograph, and the boxes of its words, (N, 4) int64 x0, y0, x1, y1 in pixels, half-open, N at least 1.
        A box is around the letters' pixels, not their plate's; words do not overlap.
    """
    written, boxes = picture.copy(), list[tuple[int, int, int, int]]()
    wanted = int(random.integers(1, MOST + 1))
    size = random.uniform(*SIZES) * min(picture.size)
    for _ in range(TRIES):
        letters, plate = _word(random, fonts, max(8, round(size)))
        room = (picture.width - plate.width, picture.height - plate.height)
        if min(room) < 0:
            size *= 0.8
            continue
        left, top = (int(random.integers(0, side + 1)) for side in room)
        x0, y0, x1, y1 = (int(edge) for edge in letters.point(lambda value: 255 * (value > 127)).getbbox() or (0,) * 4)
        box = (left + x0, top + y0, left + x1, top + y1)
        whole = (left, top, left + plate.width, top + plate.height)
        if x1 > x0 and not any(_meet(whole, other) for other in boxes):
            _paint(written, (left, top), letters, plate if random.random() < 0.4 else None, random)
            boxes.append(box)
            size = random.uniform(*SIZES) * min(picture.size)
        if len(boxes) == wanted:
            break
    return written, np.array(boxes, np.int64).reshape(-1, 4)


def make(photos: Path, out: Path, *, share: float = 0.5, seed: int = 0, count: int | None = None) -> dict[str, int]:
    """Write the data set; the same arguments give the same bytes.

    Args:
        photos: Folder of photographs, at any depth.
        out: The new folder; files of the same names are written over.
        share: Of the photographs that get text, in 0..1.
        seed: Of all choices.
        count: Photographs to take, spread evenly over the folder's; None for all.

    Returns:
        How many photographs have text and how many have none.

    Raises:
        InputError: an argument is out of range, or a photograph is broken or too small.
    """
    if not 0 < share < 1:
        raise InputError(f"--share {share:g}: must lie between 0 and 1, the share of the photographs that get text.")
    found = walk(photos, without=out).check().photographs
    chosen = found if count is None else spread(found, count)
    if len(chosen) < 2:
        raise InputError(f"{photos}: holds {len(chosen)} photographs; there must be two at least, one without text.")
    ids, fonts = name_ids(chosen), lettering.fonts("".join(WORDS))
    texts = min(max(1, round(share * len(chosen))), len(chosen) - 1)
    with_text = np.random.default_rng(seed).permutation(len(chosen)) < texts
    rows = ["image,labels"]
    for number, (path, has) in enumerate(zip(tqdm(chosen, "photographs"), with_text.tolist(), strict=True)):
        picture, boxes = pictures.read_upright(path), np.zeros((0, 4), np.int64)
        if has:
            picture, boxes = write_text(picture, np.random.default_rng((seed, number)), fonts)
            if not len(boxes):
                raise InputError(f"{path}: is too small for a word; leave out photographs of a few pixels.")
            disk.write_text(out / "annotations" / f"{ids[path]}.xml", _annotation(boxes))
        disk.write_bytes(out / "photos" / f"{ids[path]}.jpg", pictures.encoded(picture, "JPEG", quality=90))
        rows.append(f"{ids[path]}.jpg,{'text' if has else ''}")
    disk.write_text(out / "labels.csv", "\n".join(rows) + "\n")
    return {"with text": int(with_text.sum()), "without": int((~with_text).sum()), "fonts": len(fonts)}


def _word(random: np.random.Generator, fonts: Sequence[str], size: int) -> tuple[Image.Image, Image.Image]:
    """A word and the plate behind it, both (H, W) of grey in 0..255 and of one size, turned."""
    font = ImageFont.truetype(fonts[int(random.integers(len(fonts)))], size)
    text = WORDS[int(random.integers(len(WORDS)))]
    angle = 0.0 if random.random() < 1 / 3 else random.uniform(-STEEPEST, STEEPEST)
    left, top, right, bottom = font.getbbox(text)
    margin = max(2, size // 4)
    area = (round(right - left) + 2 * margin, round(bottom - top) + 2 * margin)
    letters, plate = Image.new("L", area), Image.new("L", area, 255)
    ImageDraw.Draw(letters).text((margin - left, margin - top), text, 255, font)
    blur = random.uniform(0, 0.8)
    turned = [layer.rotate(angle, Image.Resampling.BICUBIC, expand=True) for layer in (letters, plate)]
    return turned[0].filter(ImageFilter.GaussianBlur(blur)), turned[1]


def _paint(
    picture: Image.Image,
    corner: tuple[int, int],
    letters: Image.Image,
    plate: Image.Image | None,
    random: np.random.Generator,
) -> None:
    """Put a word on the photograph, in a colour that stands out from what is behind it."""
    area = (*corner, corner[0] + letters.width, corner[1] + letters.height)
    behind = np.asarray(picture.crop(area).convert("L"))[np.asarray(letters) > 127].mean()
    if plate is not None:
        colour = random.integers(0, 256, 3)
        picture.paste(tuple(colour.tolist()), corner, plate)
        behind = colour @ (0.299, 0.587, 0.114)
    ink = random.uniform(0, behind - CONTRAST) if behind > 127 else random.uniform(behind + CONTRAST, 255)
    tint = (ink + random.uniform(-30, 30, 3)).clip(0, 255)
    picture.paste(tuple(tint.round().astype(int).tolist()), corner, letters)


def _meet(one: Sequence[int], other: Sequence[int]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _annotation(boxes: np.ndarray) -> str:
    objects = ""
    for left, top, right, bottom in boxes.tolist():
        edges = {"xmin": left + 1, "ymin": top + 1, "xmax": right, "ymax": bottom}
        body = "".join(f"<{name}>{edge}</{name}>" for name, edge in edges.items())
        objects += f"<object><name>text</name><bndbox>{body}</bndbox></object>\n"
    return f"<annotation>\n{objects}</annotation>\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse and write; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, metavar="DIR", help="photographs, at any depth")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument("--share", type=float, default=0.5, metavar="X", help="of the photographs that get text")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of words, fonts, places and colours")
    parser.add_argument("--count", type=int, metavar="N", help="photographs to take (default: all)")
    options = parser.parse_args(arguments)

    def work() -> None:
        counts = make(**vars(options))
        print(", ".join(f"{count} {what}" for what, count in counts.items()))

    return guard(work)


if __name__ == "__main__":
    raise SystemExit(main())
