"""The one reader of tables of image-level labels: CSV in its dialects, a column a class, JSON Lines."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dsrg.data import divide
from dsrg.data.ids import MOST, is_text, shown
from dsrg.data.photograph import Found, PhotoIndex, walk
from dsrg.errors import InputError
from dsrg.files import disk

ENDINGS = (".csv", ".tsv", ".jsonl")
"""What the names of tables end in, in lower case."""
IMAGE_COLUMNS = ("image", "file_name", "filename", "image_name", "image_id", "id")
"""What the column of the photographs may be called, the first that is there, in any case."""
LABEL_COLUMNS = ("labels", "label", "tags", "tag", "classes", "class")
"""Likewise that of the labels; but for the first, two of them at once are refused."""
LONGEST_LINE = disk.MIB
"""Letters of a line."""
_WEIGHTS = ("confidence", "score", "probability")
_DELIMITERS = (",", ";", "\t")
_FLAGS = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}
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


class LabelTable(NamedTuple):
    """A table, read."""

    rows: list[Row]
    notes: list[str]
    """Sentences for the user: what was decided."""


class _Raw(NamedTuple):
    """What a row says of its photograph, not divided yet."""

    image: str
    labels: str | list[str] | InputError
    line: int


def raise_fault(error: InputError, image: str) -> None:
    """Raise the fault: what the reader does unless it is told to go on."""
    raise error


def read_labels(path: Path, known: Collection[str] = (), refuse: Refuse = raise_fault) -> LabelTable:
    """Read which photograph has which labels.

    Read are CSV files, with commas, semicolons or tabs, whose first line names a column of IMAGE_COLUMNS and one of
    LABEL_COLUMNS in any case; those with a column of 0 and 1 for each class; and JSON Lines with such keys. How a text
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
        raise _fault(path, f"is a JSON list, as Label Studio exports it, and no table; {_GIVE}")
    notes, raw = ([], _json_lines(text, path)) if begin == "{" else _csv(text, path, known)
    if len(raw) > MOST:
        raise _fault(path, f"has {len(raw):,} rows, and {MOST:,} are the most; check the file")
    divided, decided = divide.divide([[] if isinstance(row.labels, InputError) else row.labels for row in raw], known)
    rows = []
    for row, labels in zip(raw, divided, strict=True):
        if isinstance(row.labels, InputError):
            refuse(row.labels, row.image)
        elif isinstance(labels, divide.Doubt):
            where = f"line {row.line}: the labels {shown(str(row.labels))} of {shown(row.image)}"
            refuse(_fault(path, f"{where} {labels}; {divide.HOW}"), row.image)
        else:
            rows.append(Row(row.image, labels, row.line))
            continue
        rows.append(Row(row.image, None, row.line))
    return LabelTable(rows, notes + [f"{path}: {note}" for note in decided])


def labels_by_photograph(
    photos: Path, table: Path, *, unlabelled: bool = False
) -> tuple[dict[Path, list[str]], list[str], Found]:
    """The labels of a folder's photographs, found as `PhotoIndex` does; the table's notes; and what else lies there.

    Args:
        photos: The folder.
        table: The table.
        unlabelled: Take rows without a label too: photographs that show none of them.

    Raises:
        InputError: as `read_labels`; a row has no label, or names no photograph, several, or one that has a row.
    """
    rows, notes = read_labels(table)
    found = walk(photos).check()
    index = PhotoIndex(photos, found.photographs)
    labels: dict[Path, list[str]] = {}
    for image, names, _ in rows:
        file = index.only(image, table)
        if file in labels:
            raise InputError(f"{table}: '{image}' is listed twice; write its labels on one line.")
        if not names and not unlabelled:
            raise InputError(f"{table}: '{image}' has no label; write one, or remove the line.")
        labels[file] = list(names or ())
    others = [path for path in found.others if path.resolve() != table.resolve()]
    return labels, notes, found._replace(others=others)


def _csv(text: str, path: Path, known: Collection[str]) -> tuple[list[str], list[_Raw]]:
    head = next((line for line in text.split("\n", 1000) if line.strip()), "")
    delimiter, image, label = _columns(head, path)
    lines = csv.reader(_lines(text, path), delimiter=delimiter, strict=True)
    try:
        header = next(row for row in lines if any(field.strip() for field in row))
        rows = [(lines.line_num, row) for row in lines if any(field.strip() for field in row)]
    except csv.Error as error:
        raise _fault(
            path, f"line {lines.line_num} is no line of a CSV ({error}); save the table anew, in Excel as 'CSV UTF-8'"
        ) from None
    if label is None:
        return _one_hot(header, rows, image, path, known)
    return [], [_raw(row, number, len(header), image, label, path) for number, row in rows]


def _lines(text: str, path: Path) -> Iterator[str]:
    for number, line in enumerate(io.StringIO(text), 1):
        if len(line) > LONGEST_LINE:
            raise _fault(path, f"line {number} has more than {LONGEST_LINE:,} letters; check the file")
        yield line


def _columns(head: str, path: Path) -> tuple[str, int, int | None]:
    """The delimiter and the places of the two columns, which one delimiter alone must give; None: a column a class."""
    if len(head) > LONGEST_LINE:
        raise _fault(path, f"its first line has more than {LONGEST_LINE:,} letters; check the file")
    both, hot = [], []
    for delimiter in _DELIMITERS:
        try:
            names = next(csv.reader([head], delimiter=delimiter, strict=True), [])
        except csv.Error:
            continue
        names = ["_".join(name.casefold().replace("-", " ").split()) for name in names]
        image = _place(names, IMAGE_COLUMNS, path)
        if image is None:
            continue
        label = _place(names, LABEL_COLUMNS, path)
        doubtful = next((name for name in names if name in _WEIGHTS), None)
        if doubtful is not None:  # as in Open Images, where 0 says that the class is not there
            raise _fault(path, f"has a column '{doubtful}', which is not heeded; keep the rows that hold and remove it")
        if label is not None:
            both.append((delimiter, image, label))
        elif len([name for name in names if name]) > 2:
            hot.append((delimiter, image, None))
    fitting = both or hot
    if len(fitting) != 1:
        raise _header_fault(path, head)
    return fitting[0]


def _place(names: Sequence[str], wanted: Sequence[str], path: Path) -> int | None:
    there = [name for name in wanted if name in names]
    if not there:
        return None
    if names.count(there[0]) > 1 or (wanted is LABEL_COLUMNS and len(there) > 1 and there[0] != wanted[0]):
        twice = there[0] if names.count(there[0]) > 1 else f"{there[0]}' and '{there[1]}"
        raise _fault(path, f"its first line has several columns of the same meaning, '{twice}'; rename one of them")
    return names.index(there[0])


def _raw(row: Sequence[str], number: int, width: int, image: int, label: int, path: Path) -> _Raw:
    name = row[image].strip() if len(row) > image else ""
    labels: str | InputError = row[label] if len(row) > label else ""
    if any(field.strip() for field in row[width:]):
        labels = _fault(path, f'line {number} has more columns than the first; put its labels in quotes, "cat;dog"')
    return _named(name, labels, number, path)


def _named(name: str, labels: str | list[str] | InputError, number: int, path: Path) -> _Raw:
    """The row, if what it calls its photograph can be a name."""
    if not name:
        labels = _fault(path, f"line {number} names no photograph; add its name or remove it")
    elif not is_text(name):
        labels = _fault(path, f"line {number} calls its photograph {shown(name)}, which is no file's name; correct it")
        name = shown(name)
    return _Raw(name, labels, number)


def _one_hot(
    header: Sequence[str], rows: Sequence[tuple[int, list[str]]], image: int, path: Path, known: Collection[str]
) -> tuple[list[str], list[_Raw]]:
    """A table with a column for each class, 1 where the photograph shows it."""
    names = {place: name.strip() for place, name in enumerate(header) if name.strip() and place != image}
    flags = all(row[place].strip().casefold() in _FLAGS for _, row in rows for place in names if place < len(row))
    if not rows or not flags or len(set(names.values())) < len(names) or (known and not {*names.values()} <= {*known}):
        raise _header_fault(path, ",".join(header))
    raw = []
    for number, row in rows:
        given = [name for place, name in names.items() if place < len(row) and _FLAGS[row[place].strip().casefold()]]
        fault = _fault(path, f"line {number} has {len(row)} columns, and the first {len(header)}; correct it")
        name = row[image].strip() if len(row) > image else ""
        short = len(row) <= max(names) or any(field.strip() for field in row[len(header) :])
        raw.append(_named(name, fault if short else given, number, path))
    listed = ", ".join(list(names.values())[:6]) + (" …" if len(names) > 6 else "")
    return [f"{path}: read as a table with a column of 0 and 1 for each of {len(names)} classes: {listed}."], raw


def _json_lines(text: str, path: Path) -> list[_Raw]:
    raw = []
    for number, line in enumerate(_lines(text, path), 1):
        if not line.strip():
            continue
        value = disk.parse_json(line, f"{path}: line {number}", _GIVE)
        names = {key.casefold(): key for key in value} if isinstance(value, dict) else {}
        image = next((names[name] for name in IMAGE_COLUMNS if name in names), None)
        label = [names[name] for name in LABEL_COLUMNS if name in names]
        if image is None or not label or (len(label) > 1 and label[0] != names.get(LABEL_COLUMNS[0])):
            keys = ", ".join(map(shown, list(names)[:8]))
            raise _fault(path, f"line {number} has the keys {keys}, not 'file_name' and 'labels'; {_GIVE}")
        raw.append(_json_row(value[image], value[label[0]], number, path))
    return raw


def _json_row(name: Any, labels: Any, number: int, path: Path) -> _Raw:
    named = isinstance(name, str) and bool(name.strip())
    texts = isinstance(labels, str) or (isinstance(labels, list) and all(isinstance(label, str) for label in labels))
    if not named or not texts:
        what = "labels that are no text or list of texts" if named else "no photograph's name"
        return _Raw(name if named else "", _fault(path, f"line {number} has {what}; correct it"), number)
    return _named(name.strip(), labels, number, path)


def _header_fault(path: Path, head: str) -> InputError:
    return _fault(
        path,
        f"the first line must be 'image,labels', but it is {shown(head, 80)}; name the column of the photographs "
        "'image' and that of their labels 'labels', or give each class a column of 0 and 1",
    )


def _fault(path: Path, sentence: str) -> InputError:
    return InputError(f"{path}: {sentence}.", "labels unreadable")
