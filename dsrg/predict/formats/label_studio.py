"""Masks as Label Studio's tasks with predictions, which a person takes over or corrects; each class is one brush.

The format is that of label_studio_sdk/converter/brush.py, `image2annotation`: run lengths of a mask's RGBA picture, see
`dsrg.data.doors.brush`.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np

from dsrg.data.doors import brush
from dsrg.labels import BACKGROUND, IGNORE, palette
from dsrg.predict.formats import Album, Named

PHOTO, LABELS = "image", "tag"
"""The names that Label Studio's own templates give the photograph and its brush labels."""


def content(album: Album) -> bytes:
    """The tasks of all pictures."""
    return (json.dumps([_task(one, album) for one in album.pictures]) + "\n").encode()


def config(album: Album) -> bytes:
    """The project's labelling configuration: the classes, in the colours of the masks."""
    labels = [
        f"    <Label value={quoteattr(name)} background={quoteattr('#' + bytes(palette()[index].tolist()).hex())}/>"
        for index, name in enumerate(album.classes)
        if index != BACKGROUND
    ]
    lines = [
        "<View>",
        f'  <Image name="{PHOTO}" value="${PHOTO}" zoom="true"/>',
        f'  <BrushLabels name="{LABELS}" toName="{PHOTO}">',
        *labels,
        "  </BrushLabels>",
        "</View>",
    ]
    return ("\n".join(lines) + "\n").encode()


def _task(one: Named, album: Album) -> dict[str, Any]:
    found = [
        _result(one.mask == index, album.classes[index], f"{index:08}")
        for index in np.unique(one.mask).tolist()
        if index not in (BACKGROUND, IGNORE)
    ]
    return {
        "data": {PHOTO: album.image_url + quote(one.file_name)},
        "predictions": [{"model_version": "dsrg", "result": found}],
    }


def _result(part: np.ndarray, name: str, number: str) -> dict[str, Any]:
    height, width = part.shape
    return {
        "id": number,
        "type": "brushlabels",
        "value": {"format": "rle", "rle": list(brush.pack(part)), "brushlabels": [name]},
        "origin": "prediction",
        "to_name": PHOTO,
        "from_name": LABELS,
        "image_rotation": 0,
        "original_width": width,
        "original_height": height,
    }
