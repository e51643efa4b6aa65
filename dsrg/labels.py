"""Class names, the background and ignore indices, and the palette of a data set."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dsrg import disk
from dsrg.errors import InputError

BACKGROUND = 0
"""Index of the background class in every mask."""
IGNORE = 255
"""Index of a pixel without a label: "unlabelled" in seeds, "void" in ground truth."""
BACKGROUND_NAMES = ("background", "_background_")
"""What lists of classes call class 0; the second is LabelMe's."""
LARGEST_LIST = disk.MIB
"""Bytes of a class list; 255 names of 100 letters have a tenth at most."""
LONGEST_NAME = 100
"""Letters of a class's name."""
_MOST_SHOWN = 25

# fmt: off
VOC = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)
COCO = (
    "background", "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat",
    "traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep",
    "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich",
    "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed",
    "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven",
    "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)
# fmt: on
PRESETS = {"voc": VOC, "coco": COCO}
"""Class lists that `data.classes` may name in place of a file."""


@dataclass(frozen=True)
class Classes:
    """The classes of one data set, background first."""

    names: tuple[str, ...]
    source: str = "the class list"
    """Where the names come from, for error messages."""

    def __len__(self) -> int:
        """Number of classes, background included (C)."""
        return len(self.names)

    @property
    def foreground(self) -> tuple[str, ...]:
        """Names of the K = C - 1 foreground classes."""
        return self.names[1:]

    def by_name(self, values: Iterable[float]) -> dict[str, float | None]:
        """One value for each of the C classes, by name; None for nan."""
        numbers = map(float, values)
        return {name: None if value != value else value for name, value in zip(self.names, numbers, strict=True)}

    def index(self, name: str, where: str) -> int:
        """Class index of `name`; `where` names the file that holds it, for the error."""
        try:
            return self.names.index(name)
        except ValueError:
            known = ", ".join(self.foreground[:_MOST_SHOWN])
            if len(self.foreground) > _MOST_SHOWN:
                known += f" and {len(self.foreground) - _MOST_SHOWN} more"
            raise InputError(
                f"{where}: the label {name[:60]!r} is not in {self.source} ({known}); correct the label or add the "
                "class.",
                "unknown label",
            ) from None


def read_classes(path: str | Path) -> Classes:
    """Read a class list: a preset's name ('voc', 'coco') or a file with one name a line, background first.

    Raises:
        InputError: the file is missing, empty, does not start with 'background', repeats a name, is too long, or
            has a name that cannot be a class's.
    """
    if str(path) in PRESETS:
        return Classes(PRESETS[str(path)], f"the preset '{path}'")
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: the class list does not exist; write one class name a line, 'background' first.")
    text = disk.read_text(path, "class list", limit=LARGEST_LIST)
    names = tuple(line.strip() for line in text.split("\n") if line.strip())
    if len(names) > IGNORE:
        raise InputError(f"{path}: {len(names):,} classes are listed, but 8-bit masks hold at most {IGNORE}.")
    if len(names) < 2 or names[0] not in BACKGROUND_NAMES:
        raise InputError(f"{path}: the first line must be 'background' and at least one class must follow.")
    for name in names:
        if fault_of_name(name):
            raise InputError(f"{path}: the class {name[:60]!a} {fault_of_name(name)}; rename it.")
    names = (BACKGROUND_NAMES[0], *names[1:])
    repeated = next((name for name, count in Counter(names).items() if count > 1), None)
    if repeated is not None:
        raise InputError(f"{path}: the class '{repeated}' is listed twice; remove one of the lines.")
    return Classes(names, str(path))


def fault_of_name(name: str) -> str:
    """What is wrong with a class's name, which must fit into lists, tables, JSON and captions; '' where nothing is."""
    if not name or name != name.strip() or ";" in name or len(name.splitlines()) != 1:
        return "is empty or has a ';', a line's end or a blank at an end"
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
        return "holds a control character"
    return f"has {len(name)} letters, and {LONGEST_NAME} are the most" if len(name) > LONGEST_NAME else ""


def palette() -> np.ndarray:
    """The PASCAL VOC palette, (256, 3) uint8: the bits of the index spread over red, green and blue."""
    index = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (((index >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    return colours
