"""Tables beside their photographs: Hugging Face's metadata.csv and metadata.jsonl, Roboflow's CSV files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dsrg.data.class_folders import SPLITS
from dsrg.data.own import Tagged
from dsrg.data.photograph import describe_left_out, fold
from dsrg.data.table import LabelTable, Row, match, read_labels


def read_tables(photos: Path, tables: Sequence[Path]) -> Tagged:
    """The labels of tables that lie below `photos`; each names its photographs by their paths from its own folder.

    A photograph's split is the first folder above it that is called as a split is, or what a table's column says.

    Raises:
        InputError: as `dsrg.data.table.read_labels` and `match`.
    """
    rows: list[Row] = []
    notes: list[str] = []
    for table in tables:
        read = read_labels(table)
        below = table.parent.relative_to(photos)
        rows += [row._replace(image=_below(below, row.image)) for row in read.rows]
        notes += read.notes
    matched = match(LabelTable(rows, notes), photos, tables[0])
    others = [path for path in matched.found.others if path not in tables]
    splits = matched.splits or {file: split_of(file.relative_to(photos)) for file in matched.labels}
    left = describe_left_out(photos, others, matched.found.skipped)
    return Tagged(matched.labels, matched.notes + left, splits if any(splits.values()) else {}, matched.bare)


def split_of(path: Path) -> str:
    """The split, 'train', 'val' or 'test', that one of a path's folders names; '' where none does."""
    return next((SPLITS[fold(part)] for part in path.parts[:-1] if fold(part) in SPLITS), "")


def _below(folder: Path, name: str) -> str:
    """A name from a table in a folder, as a path from where that folder is."""
    return (folder / name.replace("\\", "/")).as_posix()
