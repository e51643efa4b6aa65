"""Files in COCO's format, and their photographs, that the tests of `dsrg.data.coco` and `regions` share."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dsrg.data.coco import load
from dsrg.data.doors.coco_files import plan_files
from dsrg.data.prepare import Plan

WIDTH, HEIGHT = 40, 30
CATEGORIES = [{"id": 7, "name": "traffic light"}, {"id": 3, "name": "cat"}]


def photo(path: Path, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (9, 99, 199)).save(path)
    return path


def image(number: int, name: str | None = None, **more: Any) -> dict[str, Any]:
    return {"id": number, "file_name": name or f"{number:012d}.jpg", "width": WIDTH, "height": HEIGHT, **more}


def box(left: float, top: float, right: float, bottom: float) -> list[float]:
    return [left, top, right, top, right, bottom, left, bottom]


def runs(mask: np.ndarray) -> dict[str, Any]:
    """An uncompressed run-length encoding, column by column, beginning with zeros, as COCO writes crowds."""
    flat = mask.ravel(order="F").astype(int)
    cuts = np.flatnonzero(np.diff(np.concatenate([[0], flat])))
    return {"size": list(mask.shape), "counts": np.diff(np.concatenate([[0], cuts, [flat.size]])).tolist()}


def write(
    path: Path, images: Sequence[Any], annotations: Sequence[Any], categories: Sequence[Any] = CATEGORIES
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"id": number, "iscrowd": 0, **row} for number, row in enumerate(annotations, 1)]
    path.write_text(json.dumps({"images": images, "annotations": rows, "categories": categories}))
    return path


def plan_json(path: Path, photos: Path | None = None, *, val: float = 0.1) -> Plan:
    """The planned data set of one annotation file; its photographs lie beside it where `photos` is None."""
    return plan_files(path, {path: load(path)}, {path: photos or path.parent}, val=val)


SQUARE = {"image_id": 1, "category_id": 3, "segmentation": [box(0, 0, 4, 4)]}
