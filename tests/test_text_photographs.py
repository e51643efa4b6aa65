"""Text rendered into photographs: its boxes hold its pixels, and nothing but the text tells the two kinds apart."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from helpers import save_photo
from PIL import Image

from benchmarks.text_photographs import main, make, write_text
from dsrg.data.annotations import read_boxes_for
from dsrg.data.labelled import read_labelled
from dsrg.draw import lettering
from dsrg.errors import InputError
from dsrg.files import pictures
from dsrg.labels import Classes


def photographs(folder: Path, count: int = 6) -> Path:
    random = np.random.default_rng(0)
    folder.mkdir()
    for number in range(count):
        pixels = np.full((90, 120, 3), random.integers(0, 256, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize("grey", [0, 90, 127, 128, 255])
def test_what_changes_lies_in_the_boxes_and_stands_out(grey: int) -> None:
    fonts = lettering.fonts("Ab1%")
    assert len(fonts) > 10
    plain = Image.new("RGB", (150, 100), (grey,) * 3)
    seen = set()
    for seed in range(40):
        written, boxes = write_text(plain, np.random.default_rng(seed), fonts)
        assert plain.getextrema() == ((grey, grey),) * 3
        seen.add(len(boxes))
        difference = np.abs(np.asarray(written, np.int64) - grey).max(axis=2)
        for left, top, right, bottom in boxes.tolist():
            assert 0 <= left < right <= 150
            assert 0 <= top < bottom <= 100
            assert difference[top:bottom, left:right].max() >= 50
        for left, top, right, bottom in boxes.tolist():
            difference[max(0, top - 60) : bottom + 60, max(0, left - 60) : right + 60] = 0  # the plate and the blur
        assert not difference.any()
        overlaps = [(a[0] < b[2]) & (b[0] < a[2]) & (a[1] < b[3]) & (b[1] < a[3]) for a in boxes for b in boxes]
        assert sum(overlaps) == len(boxes)  # each with itself
    assert seen == {1, 2, 3}


def test_the_data_set_is_read_by_the_probe_and_is_the_same_again(tmp_path: Path) -> None:
    photos = photographs(tmp_path / "in")
    assert make(photos, tmp_path / "out", seed=3) == {"with text": 3, "without": 3, "fonts": len(lettering.fonts("a"))}
    read = read_labelled(tmp_path / "out/labels.csv", tmp_path / "out/photos")
    assert read.names == ("text",)
    assert read.tags.sum() == 3
    with (tmp_path / "out/labels.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert [row["image"] for row in rows] == [f"{number}.jpg" for number in range(6)]
    annotated = sorted(path.stem for path in (tmp_path / "out/annotations").iterdir())
    assert annotated == [row["image"][:-4] for row in rows if row["labels"] == "text"]
    for photo in read.photos:
        image = pictures.read_image(photo.path)
        assert image.size == (120, 90)
        flat = np.ptp(np.asarray(image).reshape(-1, 3), axis=0).max() < 8
        assert flat != photo.tags[1]
        if photo.tags[1]:
            path = tmp_path / f"out/annotations/{photo.path.stem}.xml"
            boxes = read_boxes_for(path, image.size, Classes(("background", "text")), photo.path).boxes
            assert len(boxes) >= 1
    make(photos, tmp_path / "again", seed=3)
    for path in (tmp_path / "out").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(tmp_path / "out")).read_bytes()


def test_what_is_wrong_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = photographs(tmp_path / "in", 2)
    for share in (0, 1, 2):
        with pytest.raises(InputError, match="--share"):
            make(photos, tmp_path / "out", share=share)
    assert main(["--photos", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 2
    assert "the folder of photographs does not exist" in capsys.readouterr().err
    assert main(["--photos", str(photos), "--out", str(tmp_path / "out"), "--count", "1"]) == 2
    save_photo(tmp_path / "small/a.png")
    Image.new("RGB", (3, 3)).save(tmp_path / "small/b.png")
    with pytest.raises(InputError, match="is too small for a word"):
        make(tmp_path / "small", tmp_path / "out", share=0.9)
    assert main(["--photos", str(photos), "--out", str(tmp_path / "good")]) == 0
    assert "1 with text, 1 without" in capsys.readouterr().out
