"""Text on pictures, in any script: each letter in a font that has it.

Text in ASCII is drawn in Pillow's own font. Other text takes matplotlib's DejaVu Sans (Latin, Greek, Cyrillic,
Armenian, Georgian, Hebrew, Arabic, signs), and what that lacks (Chinese, Japanese, Korean, the scripts of India, …) a
font of the system that has it. A letter that none has is written as its number, U+732B: an empty box would make
different names look the same. matplotlib is imported for such letters alone.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from pathlib import Path

from PIL import ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Ink = str | tuple[int, ...]


def write(pen: ImageDraw.ImageDraw, corner: tuple[float, float], text: str, ink: Ink, size: int) -> None:
    """Draw a line of text.

    Args:
        pen: Draws on the picture.
        corner: x and y of its top left corner, in pixels.
        text: The line.
        ink: Its colour.
        size: Of the letters, in pixels.
    """
    parts = list(_parts(text, size))
    if len(parts) == 1:
        pen.text(corner, parts[0][0], ink, parts[0][1])
        return
    left, base = corner[0], corner[1] + max((_ascent(font) for _, font in parts), default=0)
    for part, font in parts:
        pen.text((left, base), part, ink, font, anchor="ls")
        left += font.getlength(part)


def width(text: str, size: int) -> int:
    """Pixels that a line of text takes from left to right."""
    parts = list(_parts(text, size))
    if len(parts) == 1:
        return round(parts[0][1].getbbox(parts[0][0])[2])
    return round(sum(font.getlength(part) for part, font in parts))


def height(text: str, size: int) -> int:
    """Pixels from the top of a line, where `write` begins, to the lowest point of its letters."""
    parts = list(_parts(text, size))
    top = max((_ascent(font) for _, font in parts), default=0)
    if len(parts) == 1:
        return round(parts[0][1].getbbox(parts[0][0])[3])
    return round(max((top + font.getbbox(part, anchor="ls")[3] for part, font in parts), default=0))


def wrap(text: str, room: int, size: int) -> list[str]:
    """A text in lines that fit `room` pixels, broken at blanks, and within a word where it alone is too long.

    Args:
        text: The text; at least one letter stands in a line, whatever the room.
        room: Pixels from left to right.
        size: Of the letters, in pixels.
    """
    lines, line = [], ""
    for word in text.split():
        if line and width(f"{line} {word}", size) <= room:
            line = f"{line} {word}"
            continue
        if line:
            lines.append(line)
        while width(word, size) > room and len(word) > 1:
            fits = next((end for end in range(len(word) - 1, 1, -1) if width(word[:end], size) <= room), 1)
            lines.append(word[:fits])
            word = word[fits:]  # what is left of it
        line = word
    return [*lines, line] if line or not lines else lines


def fonts(letters: str) -> list[str]:
    """Files of the fonts that have all of some letters: matplotlib's own, then the system's, each file's name once."""
    own = sorted(map(str, Path(_dejavu()).parent.glob("*.ttf")))
    found: dict[str, str] = {}
    for path in (*own, *_system()):
        name = Path(path).name
        # LastResort has every letter, each as a box.
        if not name.startswith("LastResort") and set(map(ord, letters)) <= _letters(path) and _fits(path):
            found.setdefault(name, path)
    return list(found.values())


def families(texts: Iterable[str]) -> list[str]:
    """Names of the fonts that matplotlib needs to draw `readable` texts, in the order to try them in."""
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    paths = dict.fromkeys(_file_of(letter) for text in texts for letter in readable(text))
    names = ["DejaVu Sans"]
    for path in paths:
        if path not in (None, _dejavu()):
            font_manager.fontManager.addfont(path)
            names.append(FT2Font(path).family_name)
    return names


def readable(text: str) -> str:
    """The text with each letter that no font has as its number, U+732B, and without marks that cannot be seen."""
    shown: list[str] = []
    for letter in unicodedata.normalize("NFC", text):
        if letter.isspace() or unicodedata.category(letter) == "Cc":
            shown.append(" ")
        elif _file_of(letter) is not None:
            shown.append(letter)
        elif unicodedata.category(letter) not in ("Cf", "Mn"):  # joiners and variants, of emoji for one
            # Numbers side by side are told apart by a blank.
            shown.append(f"{' ' if shown and shown[-1].startswith(('U+', ' U+')) else ''}U+{ord(letter):04X}")
    return "".join(shown)


def _parts(text: str, size: int) -> Iterator[tuple[str, Font]]:
    """The readable text in parts of one font each."""
    text = readable(text)
    if text.isascii():
        yield text, _font("", size)
        return
    path, part = _dejavu(), ""
    for letter in text:
        # A blank, a mark or a sign goes on in the font that stands, if that has it.
        needed = path if ord(letter) in _letters(path) else _file_of(letter) or path
        if needed != path and part:
            yield part, _font(path, size)
            part = ""
        path = needed
        part += letter
    yield part, _font(path, size)


@lru_cache(4096)
def _file_of(letter: str) -> str | None:
    """The font that has a letter: DejaVu Sans where it does, or else the plainest of the system's; None for none."""
    if ord(letter) in _letters(_dejavu()):
        return _dejavu()
    if unicodedata.category(letter) in ("Cn", "Co", "Cs"):  # what means nothing outside of one font
        return None
    return next((path for path in _system() if ord(letter) in _letters(path) and _fits(path)), None)


@cache
def _dejavu() -> str:
    from matplotlib import get_data_path

    return str(Path(get_data_path()) / "fonts/ttf/DejaVuSans.ttf")


@cache
def _system() -> list[str]:
    """The system's fonts, upright sans-serif ones of usual weight first."""
    from matplotlib import font_manager

    def strange(path: str) -> tuple[bool, bool, str]:
        name = Path(path).stem.lower()
        heavy = any(word in name for word in ("bold", "black", "light", "thin", "italic", "oblique", "condensed"))
        return heavy, "sans" not in name and "gothic" not in name, name

    return sorted(font_manager.findSystemFonts(), key=strange)


@cache
def _letters(path: str) -> frozenset[int]:
    """Code points that a font file has a glyph for."""
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(path).get_charmap())
    except Exception:  # FreeType's own errors; one broken font of the system is no reason to stop
        return frozenset()


@cache
def _fits(path: str) -> bool:
    """Whether a font can be drawn at any size, which those of small pictures (colour emoji) cannot."""
    try:
        ImageFont.truetype(path, 13)
    except OSError:
        return False
    return True


@lru_cache(256)
def _font(path: str, size: int) -> Font:
    return ImageFont.truetype(path, size) if path else ImageFont.load_default(size)


def _ascent(font: Font) -> int:
    return font.getmetrics()[0] if isinstance(font, ImageFont.FreeTypeFont) else 0
