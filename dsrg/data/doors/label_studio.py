"""Label Studio's exports: CSV and TSV, JSON and JSON-MIN, with choices for whole photographs or with regions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from dsrg.data import columns
from dsrg.data.coco_rows import TAG, Content
from dsrg.data.columns import Sheet, key
from dsrg.data.doors.shapes import Shape, is_placed, read_shape
from dsrg.data.ids import is_text, shown
from dsrg.data.photo_index import local_paths
from dsrg.data.table import LabelTable, divided
from dsrg.data.table_rows import Raw
from dsrg.errors import InputError
from dsrg.files import disk
from dsrg.files.pictures import IMAGE_EXTENSIONS

LARGEST = 1024 * disk.MIB
"""Bytes of an export; brushes take much room."""
_OWN = {
    *("id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement", "history"),
    *("was_cancelled", "completed_by", "ground_truth", "inner_id", "total_annotations"),
}
"""Columns that are Label Studio's and none of a project's."""
_PREDICTIONS = "predictions that nobody has accepted"
_KNOWN_BY = {key(name) for name in ("annotation_id", "lead_time")}


@dataclass
class Annotation:
    """What one person says of one photograph."""

    photo: str
    task: str
    """What tells tasks apart: their id, or the photograph."""
    line: int
    is_truth: bool = False
    """Whether Label Studio marks it as ground truth."""
    choices: dict[str, list[str]] = field(default_factory=dict)
    """Labels of the whole photograph, by the control that gives them."""
    shapes: list[Shape] = field(default_factory=list)
    """Its regions."""

    @property
    def said(self) -> tuple[frozenset[object], frozenset[str]]:
        """The labels of each control, and those of the regions."""
        chosen = frozenset((control, frozenset(own)) for control, own in self.choices.items() if own)
        return chosen, frozenset(label for shape in self.shapes for label in shape.labels)


class Export(NamedTuple):
    """An export, read."""

    path: Path
    annotations: list[Annotation]
    """One for each photograph; those of photographs that nobody has annotated are empty."""
    others: Counter[str]
    """Types of results that are not read, and how many there are."""

    @property
    def has_regions(self) -> bool:
        """Whether there are objects with places."""
        return any(one.shapes for one in self.annotations)


def is_header(names: Sequence[str]) -> bool:
    """Whether these are the columns of Label Studio's CSV."""
    return {*map(key, names)} >= _KNOWN_BY


def is_export(value: Any) -> bool:
    """Whether a JSON value is Label Studio's: tasks, or the flat ones of JSON-MIN."""
    tasks = value if isinstance(value, list) else [value]
    first = tasks[0] if tasks else None
    return isinstance(first, dict) and (_is_task(first) or {*map(key, first)} >= _KNOWN_BY)


def read_sheet(sheet: Sheet) -> Export:
    """Read the CSV or TSV.

    Raises:
        InputError: as `_columns`, or a cell is broken, or annotations of one photograph differ.
    """
    cells = [dict(zip(sheet.names, row, strict=False)) for _, row in sheet.rows]
    rows = [{name: _unpacked(cell) for name, cell in row.items()} for row in cells]
    return _read_flat(rows, [number for number, _ in sheet.rows], sheet.path)


def read_json(value: Any, path: Path) -> Export:
    """Read the JSON or JSON-MIN.

    Args:
        value: What the file holds.
        path: The file, for the error.

    Raises:
        InputError: a task is broken, or annotations of one photograph differ.
    """
    tasks = value if isinstance(value, list) else [value]
    if not all(isinstance(task, dict) for task in tasks):
        raise InputError(f"{path}: holds something else than tasks; export it anew.")
    if not _is_task(tasks[0]):
        return _read_flat(tasks, range(1, len(tasks) + 1), path)
    photo = _photo_key([task.get("data") for task in tasks if isinstance(task.get("data"), dict)], path)
    found: list[Annotation] = []
    others: Counter[str] = Counter()
    for number, task in enumerate(tasks, 1):
        found += _read_task(task, number, photo, path, others)
    return Export(path, _agreed(found, path), others)


def table_of(export: Export) -> LabelTable:
    """The labels of whole photographs.

    Raises:
        InputError: there are none, or those of several controls.
    """
    path = export.path
    controls = list(dict.fromkeys(name for one in export.annotations for name in one.choices))
    if not controls:
        types = ", ".join(f"{count} of {name}" for name, count in export.others.most_common(5)) or "none at all"
        raise InputError(
            f"{path}: holds no choices and no regions with labels, which are what is read of Label Studio (results: "
            f"{types}); export a project that has them."
        )
    control = _control(controls, path)
    raw = [Raw(one.photo, one.choices.get(control, []), one.line) for one in export.annotations]
    for row in raw:
        if not is_text(row.image):
            raise InputError(f"{path}: task {row.line} calls its photograph {shown(row.image)}; give it a file's name.")
    return divided(raw, path)


def content_of(export: Export) -> tuple[Content, list[str]]:
    """The regions in COCO's format, and sentences on what was left out of it.

    Choices are labels too where regions have the same ones, for else they say something else of the photograph.

    Raises:
        InputError: the regions of a photograph are of different sizes of it.
    """
    path, notes = export.path, []
    names = sorted({label for one in export.annotations for shape in one.shapes for label in shape.labels})
    chosen = {label for one in export.annotations for own in one.choices.values() for label in own}
    if chosen and not chosen <= {*names}:
        notes.append(f"{path}: choices such as {shown(min(chosen - {*names}))} are of no region and were not read.")
    numbers = {name: number for number, name in enumerate(names, 1)}
    images, rows = [], list[dict[str, Any]]()
    for image, one in enumerate(export.annotations, 1):
        sizes = {shape.size for shape in one.shapes}
        if len(sizes) > 1:
            raise InputError(f"{path}: the regions of {shown(one.photo)} are of several sizes of it; correct them.")
        width, height = next(iter(sizes), (None, None))
        images.append({"id": image, "file_name": one.photo, "width": width, "height": height})
        for shape in one.shapes:
            place = {"segmentation": shape.segmentation, "bbox": list(shape.bbox)}
            rows += [{"image_id": image, "category_id": numbers[name], **place} for name in shape.labels]
        if chosen <= {*names}:
            own = {label for labels in one.choices.values() for label in labels}
            rows += [{"image_id": image, "category_id": numbers[label], TAG: True} for label in sorted(own)]
    for number, row in enumerate(rows, 1):
        row["id"] = number
    if export.others:
        types = ", ".join(f"{count} of {name}" for name, count in export.others.most_common(5))
        notes.append(f"{path}: results that are no regions with labels were not read: {types}.")
    return {
        "images": images,
        "categories": [{"id": number, "name": name} for name, number in numbers.items()],
        "annotations": rows,
    }, notes


def _is_task(value: Mapping[str, Any]) -> bool:
    return isinstance(value.get("data"), dict) and bool({"annotations", "completions", "predictions"} & value.keys())


def _control(names: Sequence[str], path: Path) -> str:
    """The control whose choices are labels: the only one, or the only one that is called so."""
    called = [name for name in names if key(name) in map(key, columns.LABEL)]
    if len(names) > 1 and len(called) != 1:
        listed = "', '".join(names[:5])
        raise InputError(
            f"{path}: '{listed}' may all hold the labels; export a CSV, and remove all of these columns but one."
        )
    return names[0] if len(names) == 1 else called[0]


def _read_flat(rows: Sequence[dict[str, Any]], lines: Iterable[int], path: Path) -> Export:
    """Tasks with one key or column for each of their data and controls."""
    photo = _photo_key(rows, path)
    names = [name for name in dict.fromkeys(name for row in rows for name in row) if key(name) not in map(key, _OWN)]
    pictured = {name for name in names if all(_is_picture(row.get(name)) or not row.get(name) for row in rows)}
    results = [name for name in names if name not in pictured | {photo}]
    structured = [name for name in results if any(_is_result(row.get(name)) for row in rows)]
    called = [name for name in results if key(name) in map(key, columns.LABEL)]
    filled = [name for name in results if any(row.get(name) for row in rows)]
    results = structured or called or filled  # what a project imports beside its photographs is plain and named at will
    found = []
    others: Counter[str] = Counter()
    for number, row in zip(lines, rows, strict=True):
        name = row.get(photo)
        one = Annotation(_photo(name, number, path), str(row.get("id", name)), number)
        for control in results:
            _read_values(control, row.get(control), one, path, others)
        found.append(one)
    return Export(path, _agreed(found, path), others)


def _is_result(value: Any) -> bool:
    """Whether a value is one that a control gives, and none of a project's own data."""
    parts = value if isinstance(value, list) else [value]
    return any(
        isinstance(part, dict) and any(name == "choices" or name.endswith("labels") for name in part) for part in parts
    )


def _read_values(control: str, value: Any, one: Annotation, path: Path, others: Counter[str]) -> None:
    """The results of a control, as JSON-MIN has them: a choice, several, or a list of regions."""
    if isinstance(value, str):
        one.choices.setdefault(control, []).extend([value.strip()] if value.strip() else [])
        return
    for part in value if isinstance(value, list) else [value]:
        if part is None:
            continue
        if isinstance(part, str):
            one.choices.setdefault(control, []).append(part)
            continue
        if not isinstance(part, dict):
            raise InputError(f"{path}: task {one.line} has {part!r:.40} in '{control}'; it must be a label.")
        _read_value(control, part, part, one, path, others)


def _read_value(
    control: str, value: dict[str, Any], result: Mapping[str, Any], one: Annotation, path: Path, others: Counter[str]
) -> None:
    """One result: choices of the whole photograph, or a region with labels."""
    where = f"{path} (task {one.line})"
    if "choices" in value and not is_placed(value):
        own = value["choices"]
        own = own if isinstance(own, list) else [own]
        if not all(isinstance(label, str) for label in own):
            raise InputError(f"{where}: has choices that are no texts; export it anew.")
        one.choices.setdefault(control, []).extend(own)
        return
    found = read_shape(value, result, where)
    if found is None:
        others[str(result.get("type") or next(iter(value), "nothing"))[:40]] += 1
    else:
        one.shapes.append(found)


def _read_task(task: dict[str, Any], number: int, photo: str, path: Path, others: Counter[str]) -> list[Annotation]:
    """The annotations of a task; an empty one where nobody has annotated it."""
    data = task.get("data")
    name = _photo(data.get(photo) if isinstance(data, dict) else None, number, path)
    given = task.get("annotations", task.get("completions")) or []
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise InputError(f"{path}: task {number} has annotations that are no list of them; export it anew.")
    found = []
    for one in given:
        if one.get("was_cancelled") or one.get("skipped"):
            continue
        own = Annotation(name, str(task.get("id", name)), number, bool(one.get("ground_truth")))
        results = one.get("result") or []
        if not isinstance(results, list):
            raise InputError(f"{path}: task {number} has a result that is no list; export it anew.")
        for result in results:
            value = result.get("value") if isinstance(result, dict) else None
            if isinstance(value, dict):
                control = str(result.get("from_name") or "choice")
                _read_value(control, value, result, own, path, others)
        found.append(own)
    proposed = task.get("predictions")
    if not found and isinstance(proposed, list) and proposed:
        others[_PREDICTIONS] += len(proposed)
    return found or [Annotation(name, str(task.get("id", name)), number)]


def _agreed(found: Sequence[Annotation], path: Path) -> list[Annotation]:
    """One annotation for each task: the ground truth, or the one that all others agree with, with the regions of all.

    Raises:
        InputError: they name different labels.
    """
    tasks: dict[str, list[Annotation]] = {}
    for one in found:
        tasks.setdefault(one.task, []).append(one)
    kept = []
    for own in tasks.values():
        own = [one for one in own if one.is_truth] or own
        if len({one.said for one in own}) > 1:
            raise InputError(
                f"{path}: the {len(own)} annotations of {shown(own[0].photo)} (task {own[0].task}) differ; mark one as "
                "ground truth in Label Studio, or delete the others there, and export it anew."
            )
        for other in own[1:]:
            own[0].shapes.extend(other.shapes)
        kept.append(own[0])
    return kept


def _photo_key(rows: Sequence[Any], path: Path) -> str:
    """Which of the data of tasks is the photograph: one that is called so, or the only one that holds pictures."""
    names: list[str] = list(dict.fromkeys(name for row in rows for name in row))
    pictured = [name for name in names if any(_is_picture(row.get(name)) for row in rows)]
    order = list(map(key, columns.IMAGE))
    called = sorted((name for name in pictured if key(name) in order), key=lambda name: order.index(key(name)))
    if called or len(pictured) == 1:
        return (called or pictured)[0]
    if len(pictured) > 1:
        listed = "', '".join(pictured[:5])
        raise InputError(f"{path}: '{listed}' all hold pictures; rename the one of the photographs to 'image'.")
    named = next((name for name in names if key(name) == "image"), None)
    if named is None:
        listed = "', '".join(names[:8])
        raise InputError(f"{path}: none of '{listed}' holds the photographs' names; name it 'image'.")
    return named


def _is_picture(value: Any) -> bool:
    if not isinstance(value, str) or len(value) > 5000:
        return False
    return any(Path(part).suffix.lower() in IMAGE_EXTENSIONS for part in local_paths(value))


def _photo(value: Any, number: int, path: Path) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{path}: task {number} has no name of a photograph ({value!r:.40}); add it, or remove it.")
    return value.strip()


def _unpacked(cell: str) -> Any:
    """The value of a cell, which holds JSON where it is no plain label."""
    text = cell.strip()
    if text[:1] not in ("{", "["):
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, dict | list) else text
