"""Figures of tiles: sizes, captions, pages."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dsrg.draw import tiles


def grey(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


def test_fit_brings_the_long_side_to_the_size() -> None:
    assert tiles.fit(grey(40, 80), 20).shape == (10, 20, 3)
    assert tiles.fit(grey(300, 1), 30).shape == (30, 1, 3)


def test_a_caption_adds_lines_below_and_a_frame_inside() -> None:
    tile = tiles.captioned(grey(30, 50), ["cat", "dog"], (255, 0, 0))
    assert tile.shape == (30 + 2 * tiles.LINE + 3, 50, 3)
    assert (tile[0, :50] == (255, 0, 0)).all()
    assert (tile[29, :50] == (255, 0, 0)).all()
    assert (tile[4:26, 4:46] == 128).all()
    assert (tile[32 : 30 + tiles.LINE] != 255).any()  # the text


def test_long_captions_are_broken_and_narrow_tiles_get_room() -> None:
    assert tiles.captioned(grey(30, 50), ["word " * 20]).shape[0] > 30 + 2 * tiles.LINE
    assert tiles.captioned(grey(30, 50), ["a word"], width=90).shape[1] == 90
    assert tiles.words(["a heading", "word " * 20], 70).shape[1] == 70


def test_rows_stand_below_each_other_on_as_few_pages_as_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "PAGE", 100)
    rows = [[grey(40, 20)], [grey(40, 20), grey(20, 20)], [grey(150, 20)]]
    pages = tiles.pages(["one", "two"], rows, 20)
    assert [page.height for page in pages] == [22 + 2 * (40 + tiles.GAP), 22 + 150 + tiles.GAP]
    assert {page.width for page in pages} == {2 * (20 + tiles.GAP) + tiles.GAP}
    assert pages[0].getpixel((tiles.GAP, 22 + 40 + tiles.GAP)) == (128, 128, 128)


def test_pages_of_an_earlier_call_go(tmp_path: Path) -> None:
    picture = Image.new("RGB", (4, 4))
    (tmp_path / "maps-wrong.png").write_bytes(b"another figure")
    assert tiles.write_pages(tmp_path, "maps", [picture] * 3) == ["maps.png", "maps-2.png", "maps-3.png"]
    assert tiles.write_pages(tmp_path, "maps", [picture]) == ["maps.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["maps-wrong.png", "maps.png"]
    assert tiles.write_pages(tmp_path, "maps", []) == []
    assert [path.name for path in tmp_path.iterdir()] == ["maps-wrong.png"]
