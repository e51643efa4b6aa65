"""What each round of corrections bought: the retrainings that were kept, and the present one, measured alike."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dsrg.data.mask_folders import compare_folders
from dsrg.data.voc import Photo
from dsrg.errors import InputError
from dsrg.files import pictures
from dsrg.labels import IGNORE
from dsrg.run.earlier import NETWORK, PREDICTIONS, earlier
from dsrg.run.folder import Run
from dsrg.run.records import RECORD, read_record

SMALLEST = 0.005
"""Share of a photograph below which a predicted class does not count as seen."""


@dataclass(frozen=True)
class Row:
    """One retraining."""

    title: str
    true_masks: int
    """Those that it learnt from."""
    miou: float | None
    """On the validation photographs that have true masks; None without any, or without predictions."""
    agreement: float | None
    """Of its predictions with the image-level labels, see `agreement`."""


@dataclass(frozen=True)
class Corrections:
    """The retrainings, the oldest first."""

    rows: Sequence[Row]
    measured: int
    """Validation photographs that have true masks."""
    count: int
    """Validation photographs."""


def corrections(run: Run) -> Corrections | None:
    """The retrainings that were kept and the present one; None where true masks have played no part.

    Raises:
        InputError: a record or a prediction is broken.
    """
    kept, present = earlier(run), run.directory_of(NETWORK) / RECORD
    if not kept and not (present.is_file() and _true_masks(present)):
        return None
    known = [photo for photo in run.val if os.path.lexists(run.folder.mask_path(photo))]
    places = [(f"earlier/{path.name}", path) for path in kept]
    places += [("now", run.directory)] if present.is_file() else []
    return Corrections([_row(run, title, place, known) for title, place in places], len(known), len(run.val))


def agreement(folder: Path, photos: Sequence[Photo]) -> float:
    """How well predictions agree with image-level labels, without any true mask: of the classes that one of the two
    names, the share that both name (Jaccard), averaged over photographs. Below SMALLEST a class is not seen.

    Args:
        folder: Of the predictions, <id>.png.
        photos: The photographs and their labels.
    """

    def of(photo: Photo) -> float:
        mask = pictures.read_mask(pictures.mask_file(folder, photo.id), len(photo.tags))
        share = np.bincount(mask.ravel(), minlength=IGNORE + 1)[: len(photo.tags)] / mask.size
        seen = share[1:] >= SMALLEST
        either = (seen | photo.tags[1:]).sum()
        return float((seen & photo.tags[1:]).sum() / either) if either else 1.0

    return statistics.fmean(map(of, photos))


def _true_masks(record: Path) -> int:
    """How many a retraining learnt from: its record has their number before their digest."""
    count = read_record(record).contents.get("corrections", "0").split()[0]
    return int(count) if count.isdecimal() else 0


def _row(run: Run, title: str, place: Path, known: Sequence[Photo]) -> Row:
    folder = place / PREDICTIONS / run.cfg.data.val_split
    miou = agreed = None
    if all(pictures.mask_file(folder, photo.id).is_file() for photo in run.val):
        agreed = agreement(folder, run.val)
        if known:
            names = [photo.id for photo in known]
            threads = max(1, run.cfg.workers)
            try:
                miou = compare_folders(folder, run.folder.mask_dir, run.classes, names, threads).mean_iou()
            except InputError as error:
                if error.kind != "no object":
                    raise
    return Row(title, _true_masks(place / NETWORK / RECORD), miou, agreed)
