"""Photographs with their masks as other tools open them, to be corrected; each function writes into a folder that has
the photographs in images/."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dsrg.data.doors.legend import LABELMAP
from dsrg.files import disk, pictures
from dsrg.predict.formats import coco as coco_format
from dsrg.predict.formats import cvat as cvat_format
from dsrg.predict.formats import labelme as labelme_format

IMAGES = "images"
Masks = Sequence[tuple[str, np.ndarray]]
"""The photographs' file names and their masks, (H, W) uint8."""


def labelme(out: Path, names: Sequence[str], masks: Masks) -> None:
    """A file <id>.json beside each photograph, where LabelMe looks for it."""
    for name, mask in masks:
        disk.write_json((out / IMAGES / name).with_suffix(".json"), labelme_format.document(mask, names, name))


def coco(out: Path, names: Sequence[str], masks: Masks) -> None:
    """One file annotations.json."""
    disk.write_json(out / "annotations.json", coco_format.document(names, masks, "made by dsrg pick"))


def indices(out: Path, names: Sequence[str], masks: Masks) -> None:
    """Palette PNGs of class indices, the list of them, and labelmap.txt, which gives the palette's colours names."""
    for name, mask in masks:
        disk.write_bytes(out / "SegmentationClass" / f"{Path(name).stem}.png", pictures.mask_png(mask))
    disk.write_bytes(out / LABELMAP, cvat_format.labelmap_of(names, void=False))
    listed = "".join(f"{Path(name).stem}\n" for name, _ in masks)
    disk.write_text(out / "ImageSets/Segmentation/default.txt", listed)
