"""Class names, the background and ignore indices, and the palette of a data set."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dsrg.errors import InputError

BACKGROUND = 0
"""Index of the background class in every mask."""
IGNORE = 255
"""Index of a pixel without a label: "unlabelled" in seeds, "void" in ground truth."""
BACKGROUND_NAMES = ("background", "_background_")
"""What lists of classes call class 0; the second is LabelMe's."""
UNLABELLED_NAMES = frozenset(("unlabeled", "unlabelled", "nolabel", "nolabels"))
"""What tools call, in place of a class, what nobody has labelled; see `is_unlabelled`."""
MOST_CLASSES = 30_000
"""Classes that a data set may have; the largest release of ImageNet has 21,841."""
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

    def check_masks(self) -> None:
        """Refuse masks of more classes than a byte has numbers for, background and void beside them.

        Raises:
            InputError: there are more.
        """
        if len(self) > IGNORE:
            raise InputError(
                f"{self.source}: names {len(self.foreground):,} classes, and the most that 8-bit masks hold is "
                f"{IGNORE - 1} and background; train-classifier, show-cams and localize take more, for what makes or "
                "reads masks take some off.",
                "too many classes",
            )

    def by_name(self, values: Iterable[float]) -> dict[str, float | None]:
        """One value for each of the C classes, by name; None for nan."""
        numbers = map(float, values)
        return {name: None if value != value else value for name, value in zip(self.names, numbers, strict=True)}

    @cached_property
    def _indices(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.names)}

    def index(self, name: str, where: str) -> int:
        """Class index of `name`; `where` names the file that holds it, for the error."""
        try:
            return self._indices[name]
        except KeyError:
            known = ", ".join(self.foreground[:_MOST_SHOWN])
            if len(self.foreground) > _MOST_SHOWN:
                known += f" and {len(self.foreground) - _MOST_SHOWN} more"
            raise InputError(
                f"{where}: the label {name[:60]!r} is not in {self.source} ({known}); correct the label or add the "
                "class.",
                "unknown label",
            ) from None


def is_unlabelled(name: str) -> bool:
    """Whether a name says that there is no label: FiftyOne's _unlabeled, Datumaro's no_label, Roboflow's Unlabeled."""
    return re.sub(r"[\W_]+", "", name.casefold()) in UNLABELLED_NAMES


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


def shows_object(mask: np.ndarray) -> bool:
    """Whether any pixel of a mask (H, W) is a class's other than background."""
    return bool(((mask != BACKGROUND) & (mask != IGNORE)).any())
