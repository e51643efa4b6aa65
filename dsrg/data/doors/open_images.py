"""Open Images' CSV files: a row for each photograph and label, with 1 where it is there and 0 where it is not."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from dsrg.data.columns import LONGEST_LINE, fault, key
from dsrg.data.doors.tables import of_all, split_of
from dsrg.data.ids import shown
from dsrg.data.own import Tagged
from dsrg.data.photo_index import PhotoIndex
from dsrg.data.photograph import describe_left_out, walk
from dsrg.errors import InputError
from dsrg.files import disk

LARGEST = 8 * 2**30
"""Bytes of a table; that of the training photographs' verified labels has 2 GB. It is read line by line."""
NAMES = "*class-descriptions*.csv"
"""The table of the labels' names, beside that of the labels."""
_NEEDED = ("imageid", "labelname", "confidence")
_FLAGS = {"1": True, "1.0": True, "0": False, "0.0": False}
MOST_LABELS = 2_000
"""Labels of one photograph."""


def is_header(names: Sequence[str]) -> bool:
    """Whether these are the columns of a table of Open Images: of labels or of boxes."""
    return {*_NEEDED} <= {*map(key, names)}


def read_tables(photos: Path, tables: Sequence[Path]) -> Tagged:
    """The labels of the photographs of a folder; a table has those of millions more.

    A photograph of which the tables say alone what it does not show is left out, and so is one of which they say both
    of the same label.

    Args:
        photos: Folder of the photographs.
        tables: The tables; those of their labels' names ('/m/01yrx,Cat') may lie beside them. A photograph's split is
            what a folder above it is called, where all lie in such.

    Raises:
        InputError: a row is broken, has another confidence than 1 and 0, or none is of a photograph of the folder.
    """
    found = walk(photos).check()
    index = PhotoIndex(photos, found.photographs)
    names: dict[str, str] = {}
    said: dict[Path, dict[str, bool]] = {}
    doubtful: dict[Path, str] = {}
    for table in tables:
        names |= read_names(table.parent)
        _read(table, index, said, doubtful)
    where = tables[0] if len(tables) == 1 else tables[0].parent
    if not said:
        raise fault(where, f"none of its rows is of a photograph in {photos}; check the path")
    labels = {
        file: sorted({names.get(label, label) for label, holds in own.items() if holds})
        for file, own in said.items()
        if file not in doubtful
    }
    nothing = [file for file, own in labels.items() if not own]
    notes = _notes(where, names, {label for own in said.values() for label in own}, doubtful, nothing)
    bare = [file for file in found.photographs if file not in said]
    others = [path for path in found.others if path not in tables and not path.match(NAMES)]
    notes += describe_left_out(photos, others, found.skipped)
    kept = {file: own for file, own in labels.items() if own}
    splits, lost = of_all({file: split_of(file.relative_to(photos)) for file in kept}, photos)
    return Tagged(kept, notes + lost, splits, bare)


def _read(table: Path, index: PhotoIndex, said: dict[Path, dict[str, bool]], doubtful: dict[Path, str]) -> None:
    """Put what a table says of photographs to the rest, and labels that it contradicts to the doubtful."""
    known: dict[str, Path | None] = {}
    for image, label, holds in _rows(table):
        if image not in known:
            known[image] = next(iter(index.find(image)), None)
        file = known[image]
        if file is None:
            continue
        own = said.setdefault(file, {})
        if own.setdefault(label, holds) != holds:
            doubtful.setdefault(file, label)
        if len(own) > MOST_LABELS:
            raise fault(table, f"has more than {MOST_LABELS:,} labels of {shown(image)}; check the file")


def read_names(folder: Path) -> dict[str, str]:
    """The names of labels by their ids, from the tables of them in a folder; empty where there is none.

    Raises:
        InputError: a table is no text.
    """
    names: dict[str, str] = {}
    for path in sorted(folder.glob(NAMES)):
        text = disk.read_text(path, "table of names")
        try:
            rows = [row for row in csv.reader(io.StringIO(text), strict=True) if row]
        except csv.Error as error:
            raise fault(path, f"is no CSV ({error}); get it anew") from None
        for row in rows:
            if len(row) < 2:
                raise fault(path, f"has a line without a name, {shown(row[0])}; get it anew")
            names[row[0].strip()] = row[1].strip()
    return names


def _rows(table: Path) -> Iterator[tuple[str, str, bool]]:
    """The photograph, the label and whether it holds, of each row."""
    with disk.open_regular(table, "table of labels", limit=LARGEST) as file:
        reader = csv.reader(_lines(io.TextIOWrapper(file, "utf-8-sig", newline=""), table), strict=True)
        try:
            header = next(reader, [])
            if not is_header(header):
                raise fault(table, "lacks Open Images' columns ImageID, LabelName and Confidence; check the file")
            places = [list(map(key, header)).index(name) for name in _NEEDED]
            for row in tqdm(reader, f"rows of {table.name}", disable=None):
                if not any(map(str.strip, row)):
                    continue
                where = f"line {reader.line_num}"
                if len(row) <= max(places):
                    raise fault(table, f"{where} has {len(row)} columns; get the file anew")
                image, label, confidence = (row[place].strip() for place in places)
                if confidence not in _FLAGS:
                    sentence = (
                        f"{where} has the confidence {shown(confidence)}; keep the rows that people have verified"
                    )
                    raise fault(table, f"{sentence}, of 1 and 0, and remove the others")
                yield image, label, _FLAGS[confidence]
        except csv.Error as error:
            raise fault(table, f"line {reader.line_num} is no line of a CSV ({error}); get the file anew") from None
        except UnicodeDecodeError:
            raise InputError(f"{table}: the table of labels is not in UTF-8; save it anew in that encoding.") from None


def _lines(file: io.TextIOWrapper, table: Path) -> Iterator[str]:
    while line := file.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE or "\0" in line:
            raise fault(table, "is no table of text; check the file")
        yield line


def _notes(
    table: Path, names: dict[str, str], labels: set[str], doubtful: dict[Path, str], nothing: Sequence[Path]
) -> list[str]:
    notes = []
    nameless = sorted(labels - names.keys())
    if nameless:
        sentence = f"labels have no name in a {NAMES} beside it and keep their ids, such as {shown(nameless[0])}."
        notes.append(f"{table}: {len(nameless)} {sentence}")
    if nothing:
        sentence = f"photographs show none of their labels and were left out, such as {nothing[0].name}."
        notes.append(f"{table}: {len(nothing)} {sentence}")
    if doubtful:
        file, label = next(iter(doubtful.items()))
        notes.append(
            f"{table}: {len(doubtful)} photographs are said both to show a label and not to, and were left out, such "
            f"as {file.name} ({shown(label)}); remove one of the two rows to keep it."
        )
    return notes
