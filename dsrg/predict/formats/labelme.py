"""Masks as LabelMe JSON: a polygon around each connected part of a class.

Vertices lie on the centres of the part's outermost pixels, as in LabelMe's own conversions: its reader
(labelme/utils/shape.py, `shape_to_mask`) fills the polygon and draws its outline, and so gets the part back exactly
where `tolerance` is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dsrg.files import disk
from dsrg.labels import BACKGROUND, IGNORE
from dsrg.predict.formats import Drawn
from dsrg.predict.formats.outlines import polygons

VERSION = "5.5.0"
"""Of LabelMe's format; its reader asks for no certain one."""


def content(drawn: Drawn) -> bytes:
    """The file of one picture."""
    return disk.json_text(document(drawn.mask, drawn.classes, drawn.image, drawn.tolerance)).encode()


def document(mask: np.ndarray, classes: Sequence[str], image: str, tolerance: float = 1.0) -> dict[str, Any]:
    """The content of a LabelMe file.

    Args:
        mask: (H, W) uint8 class indices; background and 255 get no polygon.
        classes: The C names, background first.
        image: The photograph's path from the JSON's folder; its pixels are not put into the file.
        tolerance: As in `dsrg.predict.formats.outlines.polygons`.
    """
    shapes = [
        {
            "label": classes[index],
            "points": points.tolist(),
            "group_id": None,
            "description": "",
            "shape_type": "polygon",
            "flags": {},
            "mask": None,
        }
        for index in np.unique(mask).tolist()
        if index not in (BACKGROUND, IGNORE)
        for points in polygons(mask == index, tolerance)
    ]
    height, width = mask.shape
    return {
        "version": VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": image,
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }
