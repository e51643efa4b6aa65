"""Class names, the background and ignore indices, and the palette of a data set."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dsrg.errors import InputError

BACKGROUND = 0
"""Index of the background class in every mask."""
IGNORE = 255
"""Index of a pixel without a label: "unlabelled" in seeds, "void" in ground truth."""

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
            known = ", ".join(self.foreground)
            raise InputError(
                f"{where}: the label '{name}' is not in {self.source} ({known}); correct the label or add the class.",
                "unknown label",
            ) from None


def read_classes(path: str | Path) -> Classes:
    """Read a class list: a preset's name ('voc', 'coco') or a file with one name a line, background first.

    Raises:
        InputError: the file is missing, empty, does not start with 'background', repeats a name, or is too long.
    """
    if str(path) in PRESETS:
        return Classes(PRESETS[str(path)], f"the preset '{path}'")
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: the class list does not exist; write one class name a line, 'background' first.")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InputError(f"{path}: the class list is not in UTF-8; save it anew in that encoding.") from None
    names = tuple(line.strip() for line in lines if line.strip())
    if len(names) < 2 or names[0] != "background":
        raise InputError(f"{path}: the first line must be 'background' and at least one class must follow.")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(f"{path}: the class '{repeated[0]}' is listed twice; remove one of the lines.")
    if len(names) > IGNORE:
        raise InputError(f"{path}: {len(names)} classes are listed, but 8-bit masks hold at most {IGNORE}.")
    return Classes(names, str(path))


def palette() -> np.ndarray:
    """The PASCAL VOC palette, (256, 3) uint8: the bits of the index spread over red, green and blue."""
    index = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (((index >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    return colours
