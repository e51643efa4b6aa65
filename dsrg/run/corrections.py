"""True masks of some training photographs, to learn from: which there are, and what depends on them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dsrg.data.checked import check_files
from dsrg.data.voc import Photo, VocFolder
from dsrg.errors import InputError
from dsrg.files import pictures
from dsrg.run import contents
from dsrg.schema import Corrections

HEAVIEST = 40
"""Draws of a photograph with a true mask for one of another, unless corrections.weight says more: on 30 of voc6's 1,211
photographs 40 gave more than 10 (docs/corrections.md)."""


def find(folder: VocFolder, settings: Corrections, photos: Sequence[Photo]) -> dict[str, Path]:
    """The file of each true mask that is learnt from, by the photograph's id; none without corrections.masks."""
    if settings.masks is None:
        return {}
    place = folder.root / settings.masks
    found = {photo.id: pictures.mask_file(place, photo.id) for photo in photos}
    return {name: path for name, path in found.items() if os.path.lexists(path)}


def check(folder: VocFolder, settings: Corrections, photos: Sequence[Photo]) -> None:
    """Read every true mask that is learnt from once.

    Raises:
        InputError: one is broken, of another size than its photograph, or holds no class's index; or there is none.
    """
    if settings.masks is None:
        return
    found = find(folder, settings, photos)
    if not found:
        raise InputError(
            f"{folder.root / settings.masks}: holds no true mask of a training photograph, <id>.png; put some there "
            "(dsrg import-masks), or set corrections.masks=null."
        )
    check_files(folder, [photo for photo in photos if photo.id in found], masks=folder.root / settings.masks)


def weight(settings: Corrections, true: int, others: int) -> int:
    """How often a photograph with a true mask is drawn where each of the others is drawn once.

    Args:
        settings: The section.
        true: Photographs with a true mask.
        others: Those without.
    """
    if settings.weight is not None:
        return settings.weight
    return max(1, min(HEAVIEST, -(-others // max(1, true))))


def keys(settings: Corrections, stage: str) -> dict[str, Any]:
    """The dotted keys and values on which a stage depends itself; that the masks are others is told by their content.

    Args:
        settings: The section.
        stage: Of `dsrg.run.table.STAGES`.
    """
    masks = None if settings.masks is None else str(settings.masks)
    if stage == "dsrg":
        used = settings.seeds and masks is not None
        return {"corrections.seeds": used} | ({"corrections.masks": masks} if used else {})
    if stage == "retrain" and masks is not None:
        return {
            "corrections.masks": masks,
            "corrections.weight": settings.weight,
            "corrections.teach": settings.teach,
        }
    return {}


def content(settings: Corrections, stage: str, files: Mapping[str, Path]) -> dict[str, str]:
    """What the masks are (`contents.NAMES`), for a stage whose output depends on them."""
    stages = ("retrain", "predictions", *(("dsrg", "dsrg predictions", "masks") if settings.seeds else ()))
    found = contents.of_bytes(files.values()) if settings.masks is not None and stage in stages else None
    return {} if found is None else {"corrections": found}
