"""The one reader of tables of image-level labels: CSV in its dialects, a column a class, JSON Lines."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dsrg.data import columns, divide, label_columns, one_hot
from dsrg.data.class_folders import SPLITS
from dsrg.data.columns import Sheet, fault
from dsrg.data.ids import MOST, is_text, shown
from dsrg.data.label_columns import LabelColumns
from dsrg.data.photo_index import PhotoIndex
from dsrg.data.photograph import Found, fold, walk
from dsrg.errors import InputError
from dsrg.files import disk

ENDINGS = (".csv", ".tsv", ".jsonl")
"""What the names of tables end in, in lower case."""
_OBJECTS = "objects."
"""What stands here before the keys of Hugging Face's objects."""
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

    Read are CSV files, with commas, semicolons or tabs, whose first line names a column of the photographs and one or
    more of the labels (`columns.IMAGE`, `dsrg.data.label_columns`); those with a column of 0 and 1 for each class; and
    JSON Lines with such keys. Of a table of objects, which has columns of boxes too, or of labels that hold or not, a
    photograph has the labels of all its rows. How a text is divided into labels, `dsrg.data.divide` tells.

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
        raw, notes = json_rows(_json_lines(text, path), path)
        return divided(raw, path, known, refuse, notes, wide=True)
    sheet = columns.read_sheet(text, path)
    image = sheet.place(columns.IMAGE)
    assert image is not None  # else it had no rank
    found = label_columns.find(sheet, image, known)
    splits, notes = splits_of(sheet)
    if found is None:
        said, raw = _one_hot(sheet, image, known, splits)
        return divided(raw, path, known, refuse, [*said, *notes])
    raw = _rows(sheet, image, found, splits)
    together = sheet.has_boxes or found.holds is not None
    wide = len(found.labels) > 1  # then its columns divide, and blanks no more than where there is one label
    single = wide or columns.stem(sheet.names[found.labels[0]]) in map(columns.key, (*columns.ONE, *columns.NUMBER))
    notes = [*found.notes, *notes]
    return divided(raw, path, known, refuse, notes, together=together, wide=wide, single=single)


def divided(
    raw: Iterable[Raw],
    path: Path,
    known: Collection[str] = (),
    refuse: Refuse = raise_fault,
    notes: Iterable[str] = (),
    *,
    together: bool = False,
    wide: bool = False,
    single: bool = False,
) -> LabelTable:
    """The table of rows whose labels are not divided yet.

    Args:
        raw: The rows.
        path, known, refuse: As in `read_labels`.
        notes: Sentences that were noted before.
        together: Join the rows of a photograph, each of which is one of its objects.
        wide: Join the rows of a line, each of which has the labels of one of its columns.
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
    if together or wide:
        rows = _joined(rows, lambda row: row.image if together else (row.image, row.line))
    return LabelTable(rows, [*notes, *(f"{path}: {note}" for note in decided)])


def _whole(text: str) -> str:
    """The text of one label, with what `divide` heeds behind it, if nothing but blanks could divide it."""
    blank = len(text.split()) > 1 and not any(mark in text for mark in divide.DIVIDERS) and text.strip()[0] not in "[{("
    return f"{text.strip()};" if blank else text


def _joined(rows: Iterable[Row], of: Callable[[Row], Hashable]) -> list[Row]:
    """One row in place of those that have the same `of`, with the labels of all."""
    found: dict[Hashable, Row] = {}
    for row in rows:
        first = found.setdefault(of(row), row)
        if first is not row and first.labels is not None:
            both = None if row.labels is None else tuple(dict.fromkeys((*first.labels, *row.labels)))
            found[of(row)] = first._replace(labels=both)
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


def _rows(sheet: Sheet, image: int, found: LabelColumns, splits: Sequence[str]) -> list[Raw]:
    """The rows of a table with columns of labels; a line gives one for each label column that has any."""
    raw = []
    said: dict[tuple[str, str], bool] = {}
    for (number, row), split in zip(sheet.rows, splits, strict=True):
        cells = [cell.strip() for cell in row] + [""] * (len(sheet.names) - len(row))
        given: list[str | InputError] = [cells[place] for place in found.labels if cells[place]]
        holds = "1" if found.holds is None else cells[found.holds].casefold()
        if any(cells[len(sheet.names) :]):
            sentence = f'line {number} has more columns than the first; put its labels in quotes, "cat;dog"'
            given = [fault(sheet.path, sentence)]
        elif found.holds is not None and holds not in columns.ON | columns.OFF:
            name = sheet.names[found.holds]
            sentence = f"line {number} has {shown(holds)} in the column '{name}', which must be 0 or 1"
            given = [fault(sheet.path, f"{sentence}; correct it, or remove the column")]
        elif found.holds is not None:
            twice = [
                text
                for text in given
                if said.setdefault((cells[image], str(text)), holds in columns.ON) != (holds in columns.ON)
            ]
            given = [] if holds in columns.OFF else given
            if twice:
                sentence = f"line {number} says of {shown(str(twice[0]))} in {shown(cells[image])} the contrary of"
                given = [fault(sheet.path, f"{sentence} a line above; remove one of the two")]
        raw += [named(cells[image], labels, number, sheet.path, split) for labels in given or [""]]
    return raw


def _one_hot(sheet: Sheet, image: int, known: Collection[str], splits: Sequence[str]) -> tuple[list[str], list[Raw]]:
    """A table with a column for each class, see `dsrg.data.one_hot`."""
    names, notes = one_hot.classes_of(sheet, image, known)
    given = one_hot.labels_of(sheet, names)
    rows = zip(sheet.column(image), given, (number for number, _ in sheet.rows), splits, strict=True)
    return notes, [named(name, labels, number, sheet.path, split) for name, labels, number, split in rows]


def splits_of(sheet: Sheet) -> tuple[list[str], list[str]]:
    """The split of each row, '' where the table has no column whose cells are all names of splits; and a sentence if it
    has one with other cells."""
    none = [""] * len(sheet.rows)
    place = sheet.place(columns.SPLIT)
    cells = none if place is None else sheet.column(place)
    if place is None or not any(cells):
        return none, []
    splits = [SPLITS.get(fold(cell), "") for cell in cells]
    if all(splits):
        return splits, []
    row = splits.index("")
    what = (
        f"the column '{sheet.names[place]}' was not followed, since line {sheet.rows[row][0]} has {shown(cells[row])}"
    )
    return none, [f"{sheet.path}: {what} in it, which is no split; write train, val or test in every line."]


def named(name: str, labels: str | list[str] | InputError, number: int, path: Path, split: str = "") -> Raw:
    """The row, if what it calls its photograph can be a name."""
    if not name:
        labels = fault(path, f"line {number} names no photograph; add its name or remove it")
    elif not is_text(name):
        labels = fault(path, f"line {number} calls its photograph {shown(name)}, which is no file's name; correct it")
        name = shown(name)
    return Raw(name, labels, number, split)


def _json_lines(text: str, path: Path) -> Iterator[tuple[int, Any]]:
    for number, line in columns.lines_of(text, path):
        if line.strip():
            yield number, disk.parse_json(line, f"{path}: line {number}", _GIVE)


def json_rows(values: Iterable[tuple[int, Any]], path: Path) -> tuple[list[Raw], list[str]]:
    """The rows of JSON objects such as {"file_name": "a.jpg", "labels": ["cat", "dog"]}, and sentences on their keys.

    Hugging Face writes objects as {"objects": {"bbox": [...], "category": ["cat", "dog"]}} too. The keys mean what
    columns of the same names do, see `dsrg.data.label_columns`.

    Args:
        values: The number of each object's line, and the object.
        path: The file, for the error.

    Raises:
        InputError: its keys are not known, or one says something of the labels that cannot be followed.
    """
    raw: list[Raw] = []
    left: dict[str, None] = {}
    odd = ""
    for number, value in values:
        image, labels, holds, split = _json_keys(value, number, path)
        used = [image, *labels, holds, split, "objects" if labels[0].startswith(_OBJECTS) else None]
        left |= dict.fromkeys(name for name in value if name not in used)
        given = [_json_labels(value, name, number, path) for name in labels]
        if holds is not None and not _holds(value, holds, number, path):
            given = [""]
        name = value[image]
        if not isinstance(name, str) or not name.strip():
            name, given = "", [fault(path, f"line {number} has no photograph's name; correct it")]
        said = "" if split is None else SPLITS.get(fold(str(value[split])), "")
        if split is not None and value[split] and not said:
            where = f"{shown(str(value[split]))} in line {number}"
            odd = odd or f"the key {shown(split)} was not followed, since {where} is no split; write train, val or test"
        raw += [named(name.strip(), own, number, path, said) for own in given]
    names = ", ".join(map(shown, list(left)[:8])) + (f" and {len(left) - 8} more" if len(left) > 8 else "")
    notes = [f"the keys {names} were left out"] * bool(left) + [odd] * bool(odd)
    return [row._replace(split="") if odd else row for row in raw], [f"{path}: {note}." for note in notes]


def _json_keys(value: Any, number: int, path: Path) -> tuple[str, list[str], str | None, str | None]:
    """The keys of an object's photograph, labels, whether these hold, and split."""
    names = {columns.key(name): name for name in value} if isinstance(value, dict) else {}

    def first(wanted: Iterable[str]) -> str | None:
        return next((names[name] for name in map(columns.key, wanted) if name in names), None)

    image = first(columns.IMAGE)
    labels = [names[name] for name in map(columns.key, columns.LABEL) if name in names]
    further = [name for name in names.values() if columns.stem(name) in map(columns.key, columns.LABEL)]
    labels = labels or further[:1] or [name for name in (first(columns.NUMBER),) if name is not None]
    if not labels and isinstance(value, dict) and isinstance(value.get("objects"), dict):
        value |= {f"{_OBJECTS}{name}": part for name, part in value["objects"].items()}
        labels = [
            f"{_OBJECTS}{name}" for name in value["objects"] if columns.key(name) in map(columns.key, columns.LABEL)
        ]
    if image is None or not labels or (len(labels) > 1 and columns.key(labels[0]) != columns.LABEL[0]):
        keys = ", ".join(map(shown, list(names.values())[:8]))
        raise fault(path, f"line {number} has the keys {keys}, not 'file_name' and 'labels'; {_GIVE}")
    numbered = [name for name in further if name != labels[0] and columns.stem(name) != columns.key(name)]
    labels = [labels[0], *(name for name in numbered if label_columns.are_of_one(name, labels[0]))]
    weight = next(
        (name for name in names.values() if label_columns.is_weight(name) and not label_columns.is_sure(value[name])),
        None,
    )
    if weight is not None:
        raise fault(path, label_columns.weight_sentence("key", weight, value[weight], number))
    return image, labels, first(label_columns.HOLDS), first(columns.SPLIT)


def _json_labels(value: Any, name: str, number: int, path: Path) -> str | list[str] | InputError:
    """What an object's key holds: a text to be divided, or labels."""
    labels = value[name]
    if isinstance(labels, str) and columns.stem(name) in map(columns.key, columns.ONE) and _whole(labels) != labels:
        labels = [labels]  # of several there would be a list
    if isinstance(labels, list):
        labels = [str(label) if _is_number(label) else label for label in labels]
    elif _is_number(labels):
        labels = [str(labels)]
    if isinstance(labels, str) or (isinstance(labels, list) and all(isinstance(label, str) for label in labels)):
        return labels
    return fault(path, f"line {number} has labels that are no text or list of texts; correct it")


def _holds(value: Any, name: str, number: int, path: Path) -> bool:
    """Whether the labels of an object hold."""
    if value[name] not in (0, 1):
        sentence = f"line {number} has {shown(str(value[name]))} below '{name}', which must be 0 or 1; correct it"
        raise fault(path, sentence)
    return bool(value[name])


def _is_number(value: Any) -> bool:
    """Whether it is a whole number, as the number of a class is."""
    return isinstance(value, int) and not isinstance(value, bool)
