"""The one reader of tables of image-level labels: CSV in its dialects, a column a class, JSON Lines."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dsrg.data import columns, divide, label_columns, one_hot, table_rows
from dsrg.data.columns import Sheet, fault
from dsrg.data.ids import MOST, shown
from dsrg.data.json_rows import GIVE, json_rows
from dsrg.data.label_columns import LabelColumns
from dsrg.data.photo_index import PhotoIndex
from dsrg.data.photograph import Found, walk
from dsrg.data.table_rows import Raw, named
from dsrg.errors import InputError
from dsrg.files import disk

ENDINGS = (".csv", ".tsv", ".jsonl")
"""What the names of tables end in, in lower case."""
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
        raise fault(path, f"is a JSON list, as Label Studio exports it, and no table; {GIVE}")
    if begin == "{":
        return read_objects(_json_lines(text, path), path, known, refuse)
    sheet = columns.read_sheet(text, path)
    image = sheet.place(columns.IMAGE)
    assert image is not None  # else it had no rank
    found = label_columns.find(sheet, image, known)
    place = sheet.place(columns.SPLIT)
    cells = [""] * len(sheet.rows) if place is None else sheet.column(place)
    what = "" if place is None else f"column {shown(sheet.names[place])}"
    splits, notes = table_rows.follow(cells, [number for number, _ in sheet.rows], what, path)
    if found is None:
        said, raw = _one_hot(sheet, image, known, splits)
        return divided(raw, path, known, refuse, [*said, *notes])
    raw = _rows(sheet, image, found, splits)
    together = sheet.has_boxes or found.holds is not None
    wide = len(found.labels) > 1  # then its columns divide, and blanks no more than where there is one label
    single = wide or columns.stem(sheet.names[found.labels[0]]) in columns.ONES | columns.NUMBERS
    notes = [*found.notes, *notes]
    return divided(raw, path, known, refuse, notes, together=together, wide=wide, single=single)


def read_objects(
    values: Iterable[tuple[int, Any]], path: Path, known: Collection[str] = (), refuse: Refuse = raise_fault
) -> LabelTable:
    """The table of JSON objects and the numbers of their lines, see `dsrg.data.json_rows`.

    Raises:
        InputError: as `json_rows` and `divided`.
    """
    read = json_rows(values, path)
    together, single = read.together, read.single
    return divided(read.rows, path, known, refuse, read.notes, together=together, wide=True, single=single)


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
        given = [divide.whole(labels) if isinstance(labels, str) else labels for labels in given]
    texts, decided = divide.divide(given, known, single=single)
    rows: list[Row] = []
    said: dict[tuple[str, str], bool] | None = None if all(row.holds for row in raw) else {}
    for row, labels in zip(raw, texts, strict=True):
        own: tuple[str, ...] | None = None
        if isinstance(row.labels, InputError):
            refuse(row.labels, row.image)
        elif isinstance(labels, divide.Doubt):
            where = f"line {row.line}: the labels {shown(str(row.labels))} of {shown(row.image)}"
            refuse(fault(path, f"{where} {labels}; {divide.HOW}"), row.image)
        elif said is not None and (contrary := _contradicted(row, labels, said)) is not None:
            about = f"{shown(contrary)} in {shown(row.image)}"
            sentence = f"line {row.line} contradicts an earlier line about {about}; remove one of the two"
            refuse(fault(path, sentence), row.image)
        else:
            own = labels if row.holds else ()
        rows.append(Row(row.image, own, row.line, row.split))
    if together or wide:
        rows = _joined(rows, lambda row: row.image if together else (row.image, row.line))
    return LabelTable(rows, [*notes, *(f"{path}: {note}" for note in decided)])


def _contradicted(row: Raw, labels: Iterable[str], said: dict[tuple[str, str], bool]) -> str | None:
    """The label of which earlier rows of the photograph say the contrary; what the row says is noted in `said`."""
    return next((label for label in labels if said.setdefault((row.image, label), row.holds) != row.holds), None)


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
    for (number, row), split in zip(sheet.rows, splits, strict=True):
        cells = [cell.strip() for cell in row] + [""] * (len(sheet.names) - len(row))
        given: list[str | InputError] = [cells[place] for place in found.labels if cells[place]]
        holds: bool | InputError = True
        if found.holds is not None:
            name = sheet.names[found.holds]
            holds = table_rows.read_holds(cells[found.holds], "column", name, number, sheet.path)
        if any(cells[len(sheet.names) :]):
            sentence = f'line {number} has more columns than the first; put its labels in quotes, "cat;dog"'
            given = [fault(sheet.path, sentence)]
        elif isinstance(holds, InputError):
            given = [holds]
        holding = holds is not False
        raw += [named(cells[image], labels, number, sheet.path, split, holds=holding) for labels in given or [""]]
    return raw


def _one_hot(sheet: Sheet, image: int, known: Collection[str], splits: Sequence[str]) -> tuple[list[str], list[Raw]]:
    """A table with a column for each class, see `dsrg.data.one_hot`."""
    names, notes = one_hot.classes_of(sheet, image, known)
    given = one_hot.labels_of(sheet, names)
    rows = zip(sheet.column(image), given, (number for number, _ in sheet.rows), splits, strict=True)
    return notes, [named(name, labels, number, sheet.path, split) for name, labels, number, split in rows]


def _json_lines(text: str, path: Path) -> Iterator[tuple[int, Any]]:
    for number, line in columns.lines_of(text, path):
        if line.strip():
            yield number, disk.parse_json(line, f"{path}: line {number}", GIVE)
