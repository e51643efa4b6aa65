"""The one reader of tables of image-level labels: CSV in its dialects, a column a class, JSON Lines."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from dsrg.data import columns, divide, one_hot
from dsrg.data.class_folders import SPLITS
from dsrg.data.columns import Sheet, fault
from dsrg.data.ids import MOST, is_text, shown
from dsrg.data.photo_index import PhotoIndex
from dsrg.data.photograph import Found, walk
from dsrg.errors import InputError
from dsrg.files import disk

ENDINGS = (".csv", ".tsv", ".jsonl")
"""What the names of tables end in, in lower case."""
_GIVE = "give a CSV whose first line is 'image,labels', one with a column of 0 and 1 for each class, or JSON Lines"

Refuse = Callable[[InputError, str], None]
"""Gets a fault of one row, and what the row calls its photograph."""


class Row(NamedTuple):
    """One photograph's row."""

    image: str
    """What the table calls the photograph: an id, a file's name or a path; never empty."""
    labels: tuple[str, ...] | None
    """None where they cannot be told, and the fault was handed on."""
    line: int
    split: str = ""
    """What the table's column of splits holds; empty where it has none."""


class LabelTable(NamedTuple):
    """A table, read."""

    rows: list[Row]
    notes: list[str]
    """Sentences for the user: what was decided."""


class Raw(NamedTuple):
    """What a row says of its photograph, not divided yet."""

    image: str
    labels: str | list[str] | InputError
    line: int
    split: str = ""


def raise_fault(error: InputError, image: str) -> None:
    """Raise the fault: what the reader does unless it is told to go on."""
    raise error


def read_labels(path: Path, known: Collection[str] = (), refuse: Refuse = raise_fault) -> LabelTable:
    """Read which photograph has which labels.

    Read are CSV files, with commas, semicolons or tabs, whose first line names a column of the photographs and one of
    the labels (`columns.IMAGE` and `LABEL`); those with a column of 0 and 1 for each class; and JSON Lines with such
    keys. Of a table of objects, which has columns of boxes too, a photograph has the labels of all its rows. How a text
    is divided into labels, `dsrg.data.divide` tells.

    Args:
        path: The table, in UTF-8.
        known: The class list, where there is one.
        refuse: Gets every fault of a row; where it does not raise, the row has no labels.

    Raises:
        InputError: the file is missing, too large or no such table, or a row is broken or doubtful.
    """
    text = disk.read_text(path, "table of labels")
    begin = text.lstrip()[:1]
    if begin == "[":
        raise fault(path, f"is a JSON list, as Label Studio exports it, and no table; {_GIVE}")
    if begin == "{":
        return divided(_json_lines(text, path), path, known, refuse)
    sheet = columns.read_sheet(text, path)
    image, label = sheet.place(columns.IMAGE), sheet.label()
    doubtful = next((name for name in columns.WEIGHT if columns.key(name) in sheet.keys), None)
    if doubtful is not None:  # as in Open Images, where 0 says that the class is not there
        raise fault(path, f"has a column '{doubtful}', which is not heeded; keep the rows that hold and remove it")
    assert image is not None  # else it had no rank
    if label is None:
        notes, raw = _one_hot(sheet, image, known)
        return divided(raw, path, known, refuse, notes)
    single = sheet.keys[label] in map(columns.key, (*columns.ONE, *columns.NUMBER))
    return divided(_rows(sheet, image, label), path, known, refuse, together=sheet.has_boxes, single=single)


def divided(
    raw: Iterable[Raw],
    path: Path,
    known: Collection[str] = (),
    refuse: Refuse = raise_fault,
    notes: Iterable[str] = (),
    *,
    together: bool = False,
    single: bool = False,
) -> LabelTable:
    """The table of rows whose labels are not divided yet.

    Args:
        raw: The rows.
        path, known, refuse: As in `read_labels`.
        notes: Sentences that were noted before.
        together: Join the rows of a photograph, each of which is one of its objects.
        single: As in `divide.divide`.

    Raises:
        InputError: there are too many, or one is doubtful.
    """
    raw = list(raw)
    if len(raw) > MOST:
        raise fault(path, f"has {len(raw):,} rows, and {MOST:,} are the most; check the file")
    given = [[] if isinstance(row.labels, InputError) else row.labels for row in raw]
    if together and single:  # an object has one label
        given = [_whole(labels) if isinstance(labels, str) else labels for labels in given]
    texts, decided = divide.divide(given, known, single=single)
    rows: list[Row] = []
    for row, labels in zip(raw, texts, strict=True):
        own: tuple[str, ...] | None = None
        if isinstance(row.labels, InputError):
            refuse(row.labels, row.image)
        elif isinstance(labels, divide.Doubt):
            where = f"line {row.line}: the labels {shown(str(row.labels))} of {shown(row.image)}"
            refuse(fault(path, f"{where} {labels}; {divide.HOW}"), row.image)
        else:
            own = labels
        rows.append(Row(row.image, own, row.line, row.split))
    return LabelTable(_joined(rows) if together else rows, [*notes, *(f"{path}: {note}" for note in decided)])


def _whole(text: str) -> str:
    """The text of one label, with what `divide` heeds behind it, if nothing but blanks could divide it."""
    blank = len(text.split()) > 1 and not any(mark in text for mark in divide.DIVIDERS) and text.strip()[0] not in "[{("
    return f"{text.strip()};" if blank else text


def _joined(rows: Iterable[Row]) -> list[Row]:
    found: dict[str, Row] = {}
    for row in rows:
        first = found.setdefault(row.image, row)
        if first is not row and first.labels is not None:
            both = None if row.labels is None else tuple(dict.fromkeys((*first.labels, *row.labels)))
            found[row.image] = first._replace(labels=both)
    return list(found.values())


class Matched(NamedTuple):
    """A table's labels, and the photographs of a folder."""

    labels: dict[Path, list[str]]
    """Of the photographs that have any."""
    bare: list[Path]
    """Those that have no row, or no label in it."""
    splits: dict[Path, str]
    """Of those that have labels, where the table names splits."""
    notes: list[str]
    found: Found
    """What else lies in the folder."""


def match(table: LabelTable, photos: Path, path: Path) -> Matched:
    """Find the photographs of a table, see `PhotoIndex.locate`.

    Args:
        table: The table.
        photos: Folder of the photographs.
        path: The table's file.

    Raises:
        InputError: a row names no photograph, several, or one that has a row.
    """
    found = walk(photos).check()
    seen: set[str] = set()
    for row in table.rows:
        if row.image in seen:
            raise InputError(f"{path}: {shown(row.image)} is listed twice; write its labels on one line.")
        seen.add(row.image)
    files, notes = PhotoIndex(photos, found.photographs).locate((row.image for row in table.rows), path)
    rows: dict[Path, Row] = {}
    for row in table.rows:
        first = rows.setdefault(files[row.image], row)
        if first is not row:
            both = f"{shown(row.image)} is listed twice, first as {shown(first.image)}"
            raise InputError(f"{path}: {both}; write its labels on one line.")
    labels = {file: list(row.labels) for file, row in rows.items() if row.labels}
    splits = {file: rows[file].split for file in labels if rows[file].split}
    bare = [file for file in found.photographs if file not in labels]
    others = [other for other in found.others if other.resolve() != path.resolve()]
    return Matched(labels, bare, splits, table.notes + notes, found._replace(others=others))


def labels_by_photograph(
    photos: Path, table: Path, *, unlabelled: bool = False
) -> tuple[dict[Path, list[str]], list[str], Found]:
    """The labels of a folder's photographs, found as `match` does; the table's notes; and what else lies there.

    Args:
        photos: The folder.
        table: The table.
        unlabelled: Take rows without a label too: photographs that show none of them.

    Raises:
        InputError: as `read_labels` and `match`; or a row has no label.
    """
    read = read_labels(table)
    empty = [row.image for row in read.rows if not row.labels]
    if empty and not unlabelled:
        raise InputError(f"{table}: '{empty[0]}' has no label; write one, or remove the line.")
    matched = match(read, photos, table)
    bare, _ = PhotoIndex(photos, matched.bare).locate(empty, table)
    return matched.labels | {file: [] for file in bare.values()}, matched.notes, matched.found


def _rows(sheet: Sheet, image: int, label: int) -> list[Raw]:
    """The rows of a table with a column of labels."""
    splits = splits_of(sheet)
    raw = []
    for (number, row), split in zip(sheet.rows, splits, strict=True):
        labels: str | InputError = row[label] if len(row) > label else ""
        if any(cell.strip() for cell in row[len(sheet.names) :]):
            sentence = f'line {number} has more columns than the first; put its labels in quotes, "cat;dog"'
            labels = fault(sheet.path, sentence)
        raw.append(named(row[image].strip() if len(row) > image else "", labels, number, sheet.path, split))
    return raw


def _one_hot(sheet: Sheet, image: int, known: Collection[str]) -> tuple[list[str], list[Raw]]:
    """A table with a column for each class, see `dsrg.data.one_hot`."""
    names, notes = one_hot.classes_of(sheet, image, known)
    images, splits = sheet.column(image), splits_of(sheet)
    given = one_hot.labels_of(sheet, names)
    rows = zip(images, given, (number for number, _ in sheet.rows), splits, strict=True)
    return notes, [named(name, labels, number, sheet.path, split) for name, labels, number, split in rows]


def splits_of(sheet: Sheet) -> list[str]:
    """The split of each row, '' where the table has no column whose cells are all names of splits."""
    place = sheet.place(columns.SPLIT)
    cells = (
        [""] * len(sheet.rows) if place is None else [SPLITS.get(cell.casefold(), "") for cell in sheet.column(place)]
    )
    return cells if all(cells) else [""] * len(sheet.rows)


def named(name: str, labels: str | list[str] | InputError, number: int, path: Path, split: str = "") -> Raw:
    """The row, if what it calls its photograph can be a name."""
    if not name:
        labels = fault(path, f"line {number} names no photograph; add its name or remove it")
    elif not is_text(name):
        labels = fault(path, f"line {number} calls its photograph {shown(name)}, which is no file's name; correct it")
        name = shown(name)
    return Raw(name, labels, number, split)


def _json_lines(text: str, path: Path) -> list[Raw]:
    raw = []
    for number, line in columns.lines_of(text, path):
        if line.strip():
            raw.append(json_row(disk.parse_json(line, f"{path}: line {number}", _GIVE), number, path))
    return raw


def json_row(value: Any, number: int, path: Path) -> Raw:
    """The row of a JSON object such as {"file_name": "a.jpg", "labels": ["cat", "dog"]}.

    Hugging Face writes objects as {"objects": {"bbox": [...], "category": ["cat", "dog"]}} too.

    Args:
        value: The object.
        number: Of its line, for the error.
        path: The file, for the error.

    Raises:
        InputError: its keys are not known.
    """
    names = {columns.key(name): name for name in value} if isinstance(value, dict) else {}
    image = next((names[name] for name in map(columns.key, columns.IMAGE) if name in names), None)
    label = [names[name] for name in map(columns.key, columns.LABEL) if name in names]
    label = label or [names[name] for name in map(columns.key, columns.NUMBER) if name in names][:1]
    if not label and isinstance(value, dict) and isinstance(value.get("objects"), dict):
        value = {**value, **{f"objects.{name}": part for name, part in value["objects"].items()}}
        label = [f"objects.{name}" for name in value["objects"] if columns.key(name) in map(columns.key, columns.LABEL)]
    if image is None or not label or (len(label) > 1 and columns.key(label[0]) != columns.LABEL[0]):
        keys = ", ".join(map(shown, list(names.values())[:8]))
        raise fault(path, f"line {number} has the keys {keys}, not 'file_name' and 'labels'; {_GIVE}")
    name, labels = value[image], value[label[0]]
    if isinstance(labels, str) and columns.key(label[0]) in map(columns.key, columns.ONE) and _whole(labels) != labels:
        labels = [labels]  # of several there would be a list
    if isinstance(labels, list):
        labels = [str(label) if _is_number(label) else label for label in labels]
    elif _is_number(labels):
        labels = [str(labels)]
    is_named = isinstance(name, str) and bool(name.strip())
    texts = isinstance(labels, str) or (isinstance(labels, list) and all(isinstance(label, str) for label in labels))
    if not is_named or not texts:
        what = "labels that are no text or list of texts" if is_named else "no photograph's name"
        return Raw(name if is_named else "", fault(path, f"line {number} has {what}; correct it"), number)
    split = next((value[name] for key, name in names.items() if key in map(columns.key, columns.SPLIT)), "")
    split = SPLITS.get(split.casefold(), "") if isinstance(split, str) else ""
    return named(name.strip(), labels, number, path, split)


def _is_number(value: Any) -> bool:
    """Whether it is a whole number, as the number of a class is."""
    return isinstance(value, int) and not isinstance(value, bool)
