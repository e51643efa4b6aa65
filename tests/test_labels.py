"""Class lists and the palette."""

from pathlib import Path

import numpy as np
import pytest

from dsrg.data.classes import read_classes
from dsrg.errors import InputError
from dsrg.labels import COCO, IGNORE, MOST_CLASSES, VOC, palette


def test_palette_holds_the_colours_of_the_voc_devkit() -> None:
    colours = palette()
    assert colours.shape == (256, 3)
    assert colours.dtype == np.uint8
    known = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 15: (192, 128, 128), 20: (0, 64, 128), 255: (224, 224, 192)}
    assert {index: tuple(colours[index].tolist()) for index in known} == known


def test_palette_follows_the_devkits_loop() -> None:
    expected = []
    for index in range(256):  # VOClabelcolormap.m, bit by bit
        red = green = blue = 0
        rest = index
        for place in range(7, -1, -1):
            red |= (rest & 1) << place
            green |= (rest >> 1 & 1) << place
            blue |= (rest >> 2 & 1) << place
            rest >>= 3
        expected.append([red, green, blue])
    assert palette().tolist() == expected
    assert len({tuple(colour) for colour in expected}) == 256


@pytest.mark.parametrize(("preset", "count", "last"), [("voc", 21, "tvmonitor"), ("coco", 81, "toothbrush")])
def test_presets(preset: str, count: int, last: str) -> None:
    classes = read_classes(preset)
    assert len(classes) == len(set(classes.names)) == count
    assert classes.names[0] == "background"
    assert classes.names[-1] == last
    assert len(classes.foreground) == count - 1


def test_voc_classes_are_in_alphabetical_order_as_the_indices_of_its_masks_are() -> None:
    assert list(VOC[1:]) == sorted(VOC[1:])
    assert VOC.index("person") == 15
    assert COCO.index("person") == 1


@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "byte order mark"])
def test_reads_a_file_with_blank_lines_and_names_of_two_words(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "classes.txt"
    path.write_text(f"{mark}background\n\n cat \r\ntraffic light\n", encoding="utf-8")
    classes = read_classes(path)
    assert classes.names == ("background", "cat", "traffic light")
    assert classes.foreground == ("cat", "traffic light")
    assert classes.index("traffic light", "labels.csv") == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "first line must be 'background'"),
        ("background\n", "at least one class must follow"),
        ("cat\nbackground\n", "first line must be 'background'"),
        ("background\ncat\ndog\ncat\n", "'cat' is listed twice"),
        (
            "background\n" + "\n".join(f"c{n}" for n in range(MOST_CLASSES)),
            r"classes are listed, and [\d,]+ are the most",
        ),
    ],
)
def test_refuses_a_class_list_that_cannot_be_right(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "classes.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_classes(path)
    assert str(caught.value).startswith(str(path))


def test_accepts_as_many_classes_as_a_mask_holds(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_text("background\n" + "\n".join(f"c{n}" for n in range(IGNORE - 1)))
    assert len(read_classes(path)) == 255


def test_refuses_a_class_list_that_is_missing_or_not_utf8(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.txt: the class list does not exist"):
        read_classes(tmp_path / "nowhere.txt")
    (tmp_path / "classes.txt").write_bytes("background\nkäse\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"classes\.txt: .* not in UTF-8"):
        read_classes(tmp_path / "classes.txt")


def test_an_unknown_label_is_refused_with_the_classes_that_are_known(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_text("background\ncat\ndog\n")
    with pytest.raises(InputError, match=r"labels\.csv: the label 'cow' is not in .*classes\.txt \(cat, dog\)"):
        read_classes(path).index("cow", "labels.csv")
