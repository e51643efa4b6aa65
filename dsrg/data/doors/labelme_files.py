"""A folder of LabelMe's JSON files, one a photograph, as annotations in COCO's format."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dsrg.data import coco
from dsrg.data.coco_rows import Content
from dsrg.data.doors.tables import split_of
from dsrg.data.labelme import read_shapes
from dsrg.data.prepare import Plan
from dsrg.files.manifest import identity


def plan_files(root: Path, files: Sequence[Path], photos: Path, *, val: float) -> Plan:
    """Plan the data set of LabelMe files: polygons become masks, rectangles boxes, and what has no file is left out.

    Args:
        root: The folder of the files.
        files: Those in it.
        photos: Folder of the photographs; each file is the one's of its path or name.
        val: Share of the photographs set aside where their folders name no splits, in 0..1.

    Raises:
        InputError: as `read_shapes`, `coco.instances_of` and `coco.plan_instances`.
    """
    content = content_of(root, files)
    names = coco.used_names({root: content})
    found = coco.instances_of(content, root, photos, names=names, files=files)
    given = {item.photo: split_of(item.photo.relative_to(photos)) for item in found.items}
    plan = coco.plan_instances(root, [found], names, given if all(given.values()) else {}, val=val)
    stamps = [[str(path.resolve()), *identity(path)] for path in files]
    return dataclasses.replace(plan, source={"kind": "labelme", "files": stamps})


def content_of(root: Path, files: Sequence[Path]) -> Content:
    """The files' objects as COCO has them: categories in alphabetical order, photographs by the files' paths."""
    images: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for number, path in enumerate(tqdm(files, "LabelMe files", disable=None), 1):
        shapes, size = read_shapes(path)
        name = path.relative_to(root).with_suffix("").as_posix()
        images.append({"id": number, "file_name": name, "width": size and size[0], "height": size and size[1]})
        for shape in shapes:
            left, top, right, bottom = shape.box.tolist()
            place = {"segmentation": shape.polygons, "bbox": [left, top, right - left, bottom - top]}
            rows.append({"id": len(rows) + 1, "image_id": number, "category_id": shape.name, **place})
    numbers = {name: number for number, name in enumerate(sorted({row["category_id"] for row in rows}), 1)}
    for row in rows:
        row["category_id"] = numbers[row["category_id"]]
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    return {"images": images, "annotations": rows, "categories": categories}
