"""Masks as COCO JSON, the segments as run-length codes.

The network tells classes apart and not objects, so there is one annotation for each class of an image: all of its
pixels, however many parts they are in. That is the format of COCO's own stuff segmentation, "identical and fully
compatible to the object detection format (except iscrowd is unnecessary and set to 0 by default)"
(https://cocodataset.org/#format-data).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as run_length

from dsrg.labels import BACKGROUND, IGNORE


def content(classes: Sequence[str], masks: Iterable[tuple[str, np.ndarray]]) -> bytes:
    """The file of all masks, (file name, (H, W) uint8) each."""
    return (json.dumps(document(classes, masks, "made by dsrg predict")) + "\n").encode()


def document(classes: Sequence[str], images: Iterable[tuple[str, np.ndarray]], description: str) -> dict[str, Any]:
    """A COCO file of masks.

    Args:
        classes: The C names, background first. A category's id is its class index, 1..K; background has none.
        images: The file name and the mask, (H, W) uint8, of each image.
        description: What the file is.

    Returns:
        The content of the JSON: info, licenses, images, annotations and categories. Ids count from 1.
    """
    listed: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (name, mask) in enumerate(images, 1):
        height, width = mask.shape
        listed.append({"id": number, "file_name": name, "width": width, "height": height})
        for annotation in annotations_of(mask):
            annotations.append({"id": len(annotations) + 1, "image_id": number} | annotation)
    return {
        "info": {"description": description},
        "licenses": [],
        "images": listed,
        "annotations": annotations,
        "categories": [{"id": index, "name": name, "supercategory": ""} for index, name in enumerate(classes)][1:],
    }


def annotations_of(mask: np.ndarray) -> list[dict[str, Any]]:
    """The annotations of one mask, without their ids: one for each class but background.

    Args:
        mask: (H, W) uint8 class indices; pixels of 255 belong to none.

    Returns:
        category_id, segmentation (compressed run-length code, a string as JSON needs it), area in pixels, bbox as x, y,
        width and height in pixels, and iscrowd = 0.
    """
    found = []
    for index in np.unique(mask).tolist():
        if index in (BACKGROUND, IGNORE):
            continue
        code = run_length.encode(np.asfortranarray(mask == index, np.uint8))
        found.append(
            {
                "category_id": index,
                "segmentation": {"size": list(code["size"]), "counts": code["counts"].decode("ascii")},
                "area": int(run_length.area(code)),
                "bbox": run_length.toBbox(code).tolist(),
                "iscrowd": 0,
            }
        )
    return found
