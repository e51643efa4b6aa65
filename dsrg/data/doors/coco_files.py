"""Files in COCO's format as tools lay them: Roboflow's one a split, CVAT's one a subset, Label Studio's result.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dsrg.data.class_folders import split_in
from dsrg.data.coco import instances_of, plan_instances, used_names
from dsrg.data.coco_rows import Content, check_content, describe_unused
from dsrg.data.doors.tables import of_all, split_of
from dsrg.data.photo_index import is_foreign
from dsrg.data.photograph import describe_left_out, walk
from dsrg.data.prepare import Plan

_LISTS = ("images", "annotations", "categories")
ROBOFLOW = "_annotations.coco.json"
CVAT = "CVAT"


def is_content(value: Any) -> bool:
    """Whether a JSON value has the lists of COCO's format."""
    return isinstance(value, dict) and all(isinstance(value.get(name), list) for name in _LISTS)


def tool_of(value: Mapping[str, Any], path: Path) -> str:
    """The tool that wrote a file in COCO's format, as far as it can be told; '' where it cannot."""
    info = str(value.get("info"))[:2000].casefold()
    images = [image for image in value["images"][:50] if isinstance(image, dict)]
    names = [str(image.get("file_name", "")) for image in images]
    if path.name == ROBOFLOW or "roboflow" in info or any("_jpg.rf." in name or "_png.rf." in name for name in names):
        return "Roboflow"
    if "label studio" in info or any("/upload/" in name and is_foreign(name) for name in names):
        return "Label Studio"
    empty = images and all(image.get("coco_url") == "" and image.get("date_captured") == 0 for image in images)
    return CVAT if empty else ""  # as Datumaro writes them, the library by which CVAT exports


def split_of_file(path: Path, root: Path) -> str:
    """The split of a file: what its folder below `root` is called, or its name has in it; '' for none."""
    below = split_of(path.relative_to(root)) if path.is_relative_to(root) else ""
    return below or split_in(path.stem)


def plan_files(where: Path, contents: Mapping[Path, Any], photos: Mapping[Path, Path], *, val: float) -> Plan:
    """Plan the data set of one file or several.

    Args:
        where: The file, or the folder of several.
        contents: What each file holds.
        photos: Folder of each file's photographs.
        val: Share of the photographs set aside where the files name no splits, in 0..1.

    Raises:
        InputError: as `instances_of`, `used_names` and `plan_instances`.
    """
    checked: dict[Path, Content] = {path: check_content(value, path) for path, value in contents.items()}
    names = used_names(checked)
    parts = [
        instances_of(
            value, path, photos[path], names=names, painted=tool_of(value, path) == CVAT, part=len(checked) > 1
        )
        for path, value in checked.items()
    ]
    of_file = {path: split_of_file(path, where) for path in checked} if len(checked) > 1 else {}
    given, said = of_all({item.photo: of_file[part.path] for part in parts for item in part.items if of_file}, where)
    plan = plan_instances(where, parts, names, given, val=val)
    plan.notes.extend(said)
    if len(parts) > 1:
        plan.notes[:0] = describe_unused(list(checked.values()), where)
        for folder in dict.fromkeys(photos.values()):
            found = walk(folder).check()
            unlisted = len({*found.photographs}.difference(*(part.listed for part in parts)))
            if unlisted:
                plan.notes.append(
                    f"{folder}: {unlisted} photographs are listed in none of the files and were left out."
                )
            others = [path for path in found.others if path not in checked]
            plan.notes.extend(describe_left_out(folder, others, found.skipped))
    return plan


def photos_of(files: Sequence[Path], root: Path) -> dict[Path, Path]:
    """The folder of each file's photographs: its own where that is a split's, as Roboflow lays them; else the root."""
    own = len(files) > 1 or any(path.name == ROBOFLOW for path in files)
    return {path: path.parent if own and path.parent != root / "annotations" else root for path in files}
