"""Photographs of one's own with image-level labels: one folder a class, or a table."""

from __future__ import annotations

import filecmp
from pathlib import Path
from typing import NamedTuple

from dsrg.data.class_folders import read_class_folders
from dsrg.data.photograph import describe_left_out
from dsrg.data.prepare import Item, Plan, check_names, name_ids, split_off
from dsrg.data.table import labels_by_photograph
from dsrg.errors import InputError


class Tagged(NamedTuple):
    """Photographs and their labels."""

    labels: dict[Path, list[str]]
    notes: list[str]
    """Sentences for the user: what was left out or decided."""
    splits: dict[Path, str] = {}
    """Each photograph's split, where its folders say so."""


def read_folders(photos: Path) -> Tagged:
    """Labels from one folder a class: photos/<class>/<any>.jpg, or photos/<split>/<class>/, see `read_class_folders`.

    The same photograph in two folders has both labels. Photographs of one name that differ stay two photographs.

    Raises:
        InputError: as `read_class_folders`; or a photograph lies in two splits.
    """
    if not photos.is_dir():
        raise InputError(f"{photos}: the folder does not exist; check --photos.")
    photographs, found = read_class_folders(photos)
    copies: dict[str, list[tuple[Path, list[str]]]] = {}
    splits: dict[Path, str] = {}
    for file, name, split in photographs:
        same = copies.setdefault(file.name, [])
        for first, labels in same:
            if filecmp.cmp(first, file, shallow=False):
                if splits[first] != split:
                    raise InputError(f"{file}: is the same photograph as {first} of another split; remove one of them.")
                labels += [name] * (name not in labels)
                break
        else:
            same.append((file, [name]))
            splits[file] = split
    notes = describe_left_out(photos, found.others, found.skipped)
    apart = sum(len(same) > 1 for same in copies.values())
    if apart:
        notes.append(
            f"{apart} file names stand for different photographs in several folders; the folder's name is put before."
        )
    labels_of = dict(sorted(pair for same in copies.values() for pair in same))
    return Tagged(labels_of, notes, splits if any(splits.values()) else {})


def read_table(photos: Path, table: Path) -> Tagged:
    """Labels from a table, see `dsrg.data.table.labels_by_photograph`.

    Raises:
        InputError: as there; or a photograph has no row.
    """
    labels, notes, found = labels_by_photograph(photos, table)
    missing = [path for path in found.photographs if path not in labels]
    if missing:
        raise InputError(f"{missing[0]}: has no row in {table}; add one or remove the photograph.")
    return Tagged(labels, notes + describe_left_out(photos, found.others, found.skipped))


def plan_own(photos: Path, table: Path | None = None, *, val: float = 0.1) -> Plan:
    """Plan the data set of photographs with labels; the classes are all labels, in alphabetical order.

    Args:
        photos: Folder of the photographs.
        table: Table of their labels; None for one folder a class.
        val: Share of the photographs set aside for measuring the classifier, in 0..1 (see `split_off`).

    Raises:
        InputError: as `read_table` and `read_folders`; a photograph has no label; two share a name; or there are too
            few photographs.
    """
    labels, notes, given = read_table(photos, table) if table else read_folders(photos)
    for file, own in labels.items():
        if "background" in own:  # true of every photograph, so it says nothing
            own.remove("background")
        if not own:
            raise InputError(f"{file}: has no label; give it at least one besides background.")
    classes = check_names(sorted({name for own in labels.values() for name in own}), table or photos)
    ids = name_ids(labels)
    items = sorted(
        (Item(ids[file], file, tuple(sorted(own))) for file, own in labels.items()), key=lambda item: item.id
    )
    if {*given.values()} <= {"train"}:
        splits = split_off({item.id: item.labels for item in items}, val)
    else:
        splits = _splits(photos, {ids[file]: split for file, split in given.items()})
        notes.append(f"{photos}: the folders of splits decide on what is learnt from; --val is not heeded.")
        if {*given.values()} == {"train", "test"}:
            notes.append("there is no folder of a validation split, so the photographs of test are val too.")
    learnt = {name for item in items if item.id in set(splits["train"]) for name in item.labels}
    notes += [f"'{name}' has no photograph to learn from; add some." for name in classes[1:] if name not in learnt]
    source = {"kind": "own", "photos": str(photos.resolve()), "table": str(table.resolve()) if table else None}
    return Plan(classes, items, splits, source, notes)


def _splits(photos: Path, given: dict[str, str]) -> dict[str, list[str]]:
    """Sorted ids of the splits that the folders name, by the split of each id; val is test where there is none."""
    splits = {name: sorted(key for key, split in given.items() if split == name) for name in ("train", "val", "test")}
    if not splits["train"]:
        raise InputError(f"{photos}: holds no folder 'train' of photographs to learn from; add it.")
    splits["val"] = splits["val"] or splits["test"]
    return {name: ids for name, ids in splits.items() if ids}
