"""Names in any script are drawn as letters or as numbers, never as boxes, by whatever draws text."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont

import dsrg
from dsrg import chart, heatmap, lettering, tiles
from dsrg.formats.overlay import labelled_overlay
from dsrg.stages import show_cams

PAIRS = [
    *(("Krähe", "Krohe"), ("кот", "пёс"), ("שלום", "שלוח"), ("猫", "狗"), ("고양이", "강아지")),
    *(("बिल्ली", "कुत्ता"), ("🐈", "🐕"), ("\ue000", "\ue001")),
]
GREY = np.full((80, 400, 3), 128, np.uint8)


def by_legend(name: str) -> np.ndarray:
    return labelled_overlay(GREY, np.ones(GREY.shape[:2], np.uint8), ["background", name])


def by_boxes(name: str) -> np.ndarray:
    return heatmap.draw_boxes(GREY, np.array([[4, 4, 390, 70]]), heatmap.RIGHT, [name])


def by_caption(name: str) -> np.ndarray:
    return tiles.captioned(GREY, [name])


def by_words(name: str) -> np.ndarray:
    return tiles.words([name], 400)


def by_titles(name: str) -> np.ndarray:
    return np.asarray(tiles.sheet([name], [[GREY]], 400))


def by_bars(name: str) -> np.ndarray:
    run = SimpleNamespace(classes=SimpleNamespace(foreground=[name]))
    view = SimpleNamespace(verdict=lambda label: "right", scores=torch.tensor([0.5]))
    return show_cams._bars(run, view, [0])  # type: ignore[arg-type]  # what it looks at of them


DOORS = [by_legend, by_boxes, by_caption, by_words, by_titles, by_bars]


@pytest.mark.parametrize("pair", PAIRS, ids=[first.encode("unicode_escape").decode() for first, _ in PAIRS])
@pytest.mark.parametrize("draw", DOORS)
def test_two_names_give_two_pictures(draw: Callable[[str], np.ndarray], pair: tuple[str, str]) -> None:
    first, second = map(draw, pair)
    assert first.shape != second.shape or (first != second).any()


@pytest.mark.parametrize("pair", PAIRS, ids=[first.encode("unicode_escape").decode() for first, _ in PAIRS])
@pytest.mark.filterwarnings("error::UserWarning")  # matplotlib's of a glyph that is missing
def test_a_charts_names_are_told_apart(pair: tuple[str, str], tmp_path: Path) -> None:
    for number, name in enumerate(pair):
        chart.draw_bars(tmp_path / f"{number}.png", [chart.Bar(name, [0.5], 0.5, None)], "IoU", f"{name} $x$")
    first, second = (np.asarray(Image.open(tmp_path / f"{number}.png")) for number in (0, 1))
    assert first.shape != second.shape or (first != second).any()


def glyph(font: ImageFont.FreeTypeFont, letter: str) -> bytes:
    return bytes(font.getmask(letter))


@settings(deadline=None)
@given(st.text(min_size=1, max_size=8))
def test_no_letter_is_drawn_as_the_box_of_those_that_are_missing(text: str) -> None:
    for part, font in lettering._parts(text, 13):
        assert isinstance(font, ImageFont.FreeTypeFont)
        box = glyph(font, "\U0010fffe")
        assert all(glyph(font, letter) != box for letter in part if not letter.isspace()), part


@settings(deadline=None)
@given(st.text(max_size=40), st.integers(1, 200))
def test_lines_fit_and_lose_no_letter(text: str, room: int) -> None:
    lines = lettering.wrap(text, room, 13)
    assert "".join("".join(line.split()) for line in lines) == "".join(text.split())
    assert all(lettering.width(line, 13) <= room or len(line) == 1 for line in lines)
    assert lines


def test_ascii_keeps_pillows_own_font() -> None:
    sheet = Image.new("RGB", (200, 30))
    lettering.write(ImageDraw.Draw(sheet), (3, 5), "aeroplane 0.50", "white", 13)
    expected = Image.new("RGB", (200, 30))
    ImageDraw.Draw(expected).text((3, 5), "aeroplane 0.50", "white", ImageFont.load_default(13))
    assert (np.asarray(sheet) == np.asarray(expected)).all()


def test_a_letter_that_no_font_has_is_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    with other_fonts(monkeypatch, "DejaVuSans.ttf", []):
        assert lettering.readable("猫") == "U+732B"
        assert lettering.readable("a 猫狗!") == "a U+732B U+72D7!"
        assert lettering.readable("e\u0301 x\ty\x07") == "é x y "
        assert lettering.families(["猫"]) == ["DejaVu Sans"]


def test_a_font_of_the_system_helps_where_the_first_lacks_a_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    with other_fonts(monkeypatch, "cmr10.ttf", ["DejaVuSerif.ttf"]):
        assert lettering.readable("кот") == "кот"
        parts = [(part, font.getname()[0]) for part, font in lettering._parts("a кот", 13)]  # type: ignore[union-attr]
        assert ("кот", "DejaVu Serif") in parts
        assert "DejaVu Serif" in lettering.families(["кот"])
        first, second = by_legend("кот"), by_legend("ток")
    assert (first != second).any()


def other_fonts(monkeypatch: pytest.MonkeyPatch, first: str, system: list[str]) -> "Fonts":
    return Fonts(monkeypatch, first, system)


class Fonts:
    """Within the block text is drawn with these fonts of matplotlib's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, first: str, system: list[str]) -> None:
        folder = Path(get_data_path()) / "fonts/ttf"
        monkeypatch.setattr(lettering, "_dejavu", lambda: str(folder / first))
        monkeypatch.setattr(lettering, "_system", lambda: [str(folder / name) for name in system])

    def __enter__(self) -> None:
        lettering._file_of.cache_clear()

    def __exit__(self, *_: object) -> None:
        lettering._file_of.cache_clear()


def sources() -> Iterator[Path]:
    yield from Path(dsrg.__path__[0]).rglob("*.py")


def test_all_text_on_pictures_is_drawn_by_the_one_function() -> None:
    others = [
        path.name
        for path in sources()
        if path.stem != "lettering" and re.search(r"ImageFont|putText|pen\.text|\.multiline_text", path.read_text())
    ]
    assert others == []
