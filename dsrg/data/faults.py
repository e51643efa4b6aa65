"""What the check of a data folder tells: its faults, and what each split holds, as text and for machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dsrg.data.voc import Refuse
from dsrg.errors import InputError


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with one file."""

    kind: str
    """What is wrong, in a word or two."""
    file: Path
    photo: str
    """Id of the photograph that it concerns; '' for none."""
    message: str
    """One sentence that names the file and says what to do."""
    warning: bool = False
    """It stops no stage, but is likely not meant so."""


@dataclass(frozen=True)
class SplitSummary:
    """What one split holds."""

    photographs: int
    masks: int
    sizes: np.ndarray
    """(N, 2) width and height in pixels of each photograph that could be read."""
    labels: np.ndarray
    """(C,) photographs with each image-level label; index 0, background, counts all."""


@dataclass(frozen=True)
class DataCheck:
    """What a check of a data folder has found."""

    root: Path
    classes: tuple[str, ...]
    splits: Mapping[str, SplitSummary]
    unused: int
    """Photographs in the folder that are in none of the splits."""
    found: tuple[Fault, ...]
    seconds: float

    @property
    def faults(self) -> list[Fault]:
        """What stops a stage, or makes its figures wrong."""
        return [fault for fault in self.found if not fault.warning]

    @property
    def warnings(self) -> list[Fault]:
        """What is likely not meant so."""
        return [fault for fault in self.found if fault.warning]

    def table(self) -> str:
        """Photographs, masks and sizes of each split, and photographs by class and split, as text."""
        lines = []
        for name, split in self.splits.items():
            (narrow, low), (wide, high) = _ends(split.sizes)
            size = f"{narrow} x {low}" if (narrow, low) == (wide, high) else f"{narrow}-{wide} x {low}-{high}"
            lines.append(f"{name}: {split.photographs:,} photographs of {size} pixels, {split.masks:,} masks")
        lines.append(f"in no split: {self.unused:,} photographs")
        width = max(len("class"), *map(len, self.classes))
        lines += ["", f"{'class':{width}}" + "".join(f"{name:>12}" for name in self.splits)]
        for index, name in enumerate(self.classes[1:], 1):
            counts = "".join(f"{split.labels[index]:12,}" for split in self.splits.values())
            lines.append(f"{name:{width}}{counts}")
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """The same for machines."""

        def rows(faults: Sequence[Fault]) -> list[dict[str, str]]:
            return [{"kind": f.kind, "file": str(f.file), "photo": f.photo, "message": f.message} for f in faults]

        splits = {}
        for name, split in self.splits.items():
            low, high = _ends(split.sizes)
            classes = dict(zip(self.classes[1:], split.labels[1:].tolist(), strict=True))
            splits[name] = {
                "photographs": split.photographs,
                "masks": split.masks,
                "width": [low[0], high[0]],
                "height": [low[1], high[1]],
                "classes": classes,
            }
        return {
            "root": str(self.root),
            "faults": rows(self.faults),
            "warnings": rows(self.warnings),
            "splits": splits,
            "unused": self.unused,
            "seconds": round(self.seconds, 2),
        }


def noter(found: list[Fault]) -> Refuse:
    """Appends each fault that a reader meets."""

    def note(error: InputError, file: Path, name: str) -> None:
        found.append(Fault(error.kind or "fault", file, name, str(error)))

    return note


def _ends(sizes: np.ndarray) -> tuple[list[int], list[int]]:
    """Least and greatest width and height; zeros of no sizes."""
    if not len(sizes):
        return [0, 0], [0, 0]
    return sizes.min(axis=0).tolist(), sizes.max(axis=0).tolist()
