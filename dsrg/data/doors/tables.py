"""Tables beside their photographs: Hugging Face's metadata.csv and metadata.jsonl, Roboflow's CSV files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from dsrg.data.class_folders import split_named
from dsrg.data.own import Tagged
from dsrg.data.photograph import describe_left_out
from dsrg.data.table import LabelTable, Row, match, read_labels


def read_tables(photos: Path, tables: Sequence[Path]) -> Tagged:
    """The labels of tables that lie below `photos`; each names its photographs by their paths from its own folder.

    A photograph's split is what its table's column says, or else the first folder above it that is called as a split
    is. Where a photograph has none, no split is followed (`of_all`).

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
    # Of several tables, one may say no split: then its photographs' folders do.
    given = {file: matched.splits.get(file) or split_of(file.relative_to(photos)) for file in matched.labels}
    splits, lost = of_all(given, photos)
    left = describe_left_out(photos, others, matched.found.skipped)
    return Tagged(matched.labels, matched.notes + lost + left, splits, matched.bare)


def split_of(path: Path) -> str:
    """The split, 'train', 'val' or 'test', that one of a path's folders names; '' where none does."""
    return next(filter(None, map(split_named, path.parts[:-1])), "")


def of_all(splits: Mapping[Path, str], where: Path) -> tuple[dict[Path, str], list[str]]:
    """The splits of photographs, or none where one is in no split; and a sentence where others are.

    Args:
        splits: Each photograph's split, or ''.
        where: What names them.
    """
    lost = [photo for photo, split in splits.items() if not split]
    if not lost:
        return dict(splits), []
    sentence = f"{where}: {len(lost)} of {len(splits)} photographs are in no split, such as {lost[0].name}; so the "
    return {}, [f"{sentence}splits of the others were not followed."] * (len(lost) < len(splits))


def _below(folder: Path, name: str) -> str:
    """A name from a table in a folder, as a path from where that folder is."""
    return (folder / name.replace("\\", "/")).as_posix()
