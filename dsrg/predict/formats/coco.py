"""Masks as COCO JSON, the segments as run-length codes or, for tools that read no others, as polygons.

The network tells classes apart and not objects, so there is one annotation for each class of an image: all of its
pixels, however many parts they are in. That is the format of COCO's own stuff segmentation, "identical and fully
compatible to the object detection format (except iscrowd is unnecessary and set to 0 by default)"
(https://cocodataset.org/#format-data). In Datumaro's layout the file lies in annotations/, the photographs in images/.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as run_length

from dsrg.labels import BACKGROUND, IGNORE
from dsrg.predict.formats import Album
from dsrg.predict.formats.outlines import edge_polygons

Segments = Callable[[np.ndarray], tuple[Any, Any]]
"""From a binary mask to COCO's segmentation, and to the run-length code of the pixels that it covers."""


def content(album: Album) -> bytes:
    """The file of all masks, as run-length codes."""
    return _written(album, run_lengths)


def polygon_content(album: Album) -> bytes:
    """The file of all masks, as polygons."""
    return _written(album, functools.partial(outlines, tolerance=album.tolerance))


def _written(album: Album, segments: Segments) -> bytes:
    images = ((file_name, mask) for _, file_name, mask in album.pictures)
    return (json.dumps(document(album.classes, images, "made by dsrg predict", segments)) + "\n").encode()


def run_lengths(part: np.ndarray) -> tuple[Any, Any]:
    """The segmentation of a binary mask, (H, W) bool, as compressed run-length code, a string as JSON needs it; and the
    code itself."""
    code = run_length.encode(np.asfortranarray(part, np.uint8))
    return {"size": list(code["size"]), "counts": code["counts"].decode("ascii")}, code


def outlines(part: np.ndarray, tolerance: float) -> tuple[Any, Any]:
    """The segmentation of a binary mask, (H, W) bool, as polygons, one for each connected part, and the run-length code
    of what pycocotools makes of them: of tolerance 0 the mask itself."""
    found = [points.ravel().tolist() for points in edge_polygons(part, tolerance)]
    return found, run_length.merge(run_length.frPyObjects(found, *part.shape))


def document(
    classes: Sequence[str],
    images: Iterable[tuple[str, np.ndarray]],
    description: str,
    segments: Segments = run_lengths,
) -> dict[str, Any]:
    """A COCO file of masks.

    Args:
        classes: The C names, background first. A category's id is its class index, 1..K; background has none.
        images: The file name and the mask, (H, W) uint8, of each image.
        description: What the file is.
        segments: `run_lengths`, or `outlines` of a tolerance.

    Returns:
        The content of the JSON: info, licenses, images, annotations and categories. Ids count from 1.
    """
    listed: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (name, mask) in enumerate(images, 1):
        height, width = mask.shape
        listed.append({"id": number, "file_name": name, "width": width, "height": height})
        for annotation in annotations_of(mask, segments):
            annotations.append({"id": len(annotations) + 1, "image_id": number} | annotation)
    return {
        "info": {"description": description},
        "licenses": [],
        "images": listed,
        "annotations": annotations,
        "categories": [{"id": index, "name": name, "supercategory": ""} for index, name in enumerate(classes)][1:],
    }


def annotations_of(mask: np.ndarray, segments: Segments = run_lengths) -> list[dict[str, Any]]:
    """The annotations of one mask, without their ids: one for each class but background.

    Args:
        mask: (H, W) uint8 class indices; pixels of 255 belong to none.
        segments: As in `document`.

    Returns:
        category_id, segmentation, its area in pixels, bbox as x, y, width and height in pixels, and iscrowd = 0.
    """
    found = []
    for index in np.unique(mask).tolist():
        if index in (BACKGROUND, IGNORE):
            continue
        segmentation, code = segments(mask == index)
        found.append(
            {
                "category_id": index,
                "segmentation": segmentation,
                "area": int(run_length.area(code)),
                "bbox": run_length.toBbox(code).tolist(),
                "iscrowd": 0,
            }
        )
    return found
