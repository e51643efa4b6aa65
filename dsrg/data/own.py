"""Photographs of one's own with image-level labels: one folder a class, or a table."""

from __future__ import annotations

import filecmp
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from dsrg.data import drawn
from dsrg.data.class_folders import read_class_folders
from dsrg.data.mask_folders import is_void
from dsrg.data.photograph import LEFT_OUT, check_folder, describe_left_out, walk
from dsrg.data.prepare import Item, Plan, check_names, choose_splits, name_ids
from dsrg.data.table import match, read_labels
from dsrg.errors import InputError

Unlabelled = Literal["stop", "leave-out"]
"""What becomes of photographs without a label."""


class Tagged(NamedTuple):
    """Photographs and their labels."""

    labels: dict[Path, list[str]]
    notes: list[str]
    """Sentences for the user: what was left out or decided."""
    splits: dict[Path, str] = {}
    """Each photograph's split, where its folders or a table's column say so."""
    bare: Sequence[Path] = ()
    """Photographs without a label."""


def read_folders(photos: Path) -> Tagged:
    """Labels from one folder a class: photos/<class>/<any>.jpg, or photos/<split>/<class>/, see `read_class_folders`.

    The same photograph in two folders has both labels. Photographs of one name that differ stay two photographs.

    Raises:
        InputError: as `read_class_folders`; or a photograph lies in two splits.
    """
    check_folder(photos, "photographs", "--photos")
    bare: list[Path] = []
    photographs, found = read_class_folders(photos, bare)
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
    return Tagged(labels_of, notes, splits if any(splits.values()) else {}, bare)


def read_table(photos: Path, table: Path) -> Tagged:
    """Labels from a table, see `dsrg.data.table.read_labels` and `match`; raises InputError as these."""
    matched = match(read_labels(table), photos, table)
    notes = matched.notes + describe_left_out(photos, matched.found.others, matched.found.skipped)
    return Tagged(matched.labels, notes, matched.splits, matched.bare)


def plan_own(
    photos: Path,
    table: Path | None = None,
    *,
    val: float = 0.1,
    unlabelled: Unlabelled = "stop",
    boxes: Path | None = None,
) -> Plan:
    """Plan the data set of photographs in folders of classes, or with a table of labels.

    Args:
        photos: Folder of the photographs.
        table: Table of their labels; None for one folder a class.
        val, unlabelled, boxes: As in `plan_tagged`.

    Raises:
        InputError: as `read_table`, `read_folders` and `plan_tagged`.
    """
    tagged = read_table(photos, table) if table else read_folders(photos)
    where = table or photos
    return plan_tagged(tagged, photos, where, val=val, unlabelled=unlabelled, boxes=boxes, by_folder=table is None)


def plan_tagged(
    tagged: Tagged,
    photos: Path,
    where: Path,
    *,
    val: float = 0.1,
    unlabelled: Unlabelled = "stop",
    files: Mapping[str, Any] | None = None,
    boxes: Path | None = None,
    by_folder: bool = False,
) -> Plan:
    """Plan the data set of photographs with labels; the classes are all labels, in alphabetical order.

    Args:
        tagged: The photographs and their labels; `background` counts as none, for it is true of every photograph, and
            nor does what stands for void, such as `ignore`.
        photos: Folder of the photographs.
        where: What holds the labels.
        val: Share of the photographs set aside for measuring the classifier, in 0..1 (see `prepare.split_off`).
        unlabelled: Whether a photograph without a label stops the command, or is left out.
        files: What else identifies the source, as values of JSON.
        boxes: Folder of annotations, VOC XML or LabelMe JSON, of some or all of the photographs. Each names all objects
            of its photograph, so it has the last word on the labels.
        by_folder: The labels are the names of folders, for the error.

    Raises:
        InputError: a photograph has no label, and is not to be left out; two share a name; or there are too few. With
            boxes also as `drawn.read_folder`.
    """
    tagged, boxed = _with_boxes(tagged, photos, where, boxes)
    void = sorted({name for own in tagged.labels.values() for name in own if is_void(name)})
    labels = {file: [name for name in own if name not in ("background", *void)] for file, own in tagged.labels.items()}
    bare = sorted({*tagged.bare, *(file for file, own in labels.items() if not own)})
    labels = {file: own for file, own in labels.items() if own}
    notes = [
        *tagged.notes,
        *(f"{where}: '{name}' stands for what is not counted, and is no class." for name in void),
        *_describe_bare(bare, len(bare) + len(labels), photos, None if by_folder else where, unlabelled),
    ]
    classes = check_names(sorted({name for own in labels.values() for name in own}), where)
    ids = name_ids(labels)
    items = sorted(
        (
            Item(ids[file], file, tuple(sorted(own)), None, boxed.sizes.get(file), boxed.annotations.get(file))
            for file, own in labels.items()
        ),
        key=lambda item: item.id,
    )
    lost = next((file for file in labels if tagged.splits and file not in tagged.splits), None)
    if lost is not None:
        raise InputError(f"{lost}: is in no split, as others are; put it into one.")
    given = {ids[file]: tagged.splits[file] for file in labels if tagged.splits}
    splits, said = choose_splits(where, items, given, val)
    notes += said
    train = set(splits["train"])
    learnt = {name for item in items if item.id in train for name in item.labels}
    notes += [f"'{name}' has no photograph to learn from; add some." for name in classes[1:] if name not in learnt]
    table = None if where == photos else str(where.resolve())
    source = {"kind": "own", "photos": str(photos.resolve()), "table": table, **(files or {})}
    source |= {"boxes": str(boxes.resolve())} if boxes else {}
    return Plan(classes, items, splits, source, notes)


def _with_boxes(tagged: Tagged, photos: Path, where: Path, boxes: Path | None) -> tuple[Tagged, drawn.Boxed]:
    """Labels and boxes from a folder of annotations, see `plan_tagged`; nothing without one."""
    if boxes is None:
        return tagged, drawn.Boxed({}, {}, {}, [])
    boxed = drawn.read_folder(boxes, photos, [*tagged.labels, *tagged.bare], tagged.labels)
    bare = [photo for photo in tagged.bare if photo not in boxed.labels]
    labels = {**tagged.labels, **boxed.labels}
    notes = [note for note in tagged.notes if not note.startswith(f"{photos}: ") or LEFT_OUT not in note]
    if len(notes) < len(tagged.notes):  # annotations may lie among the photographs, and are not left out
        read = {*drawn.annotations_in(boxes), *([where] if where.is_file() else [])}
        notes += describe_left_out(photos, [path for path in walk(photos).others if path not in read])
    return tagged._replace(labels=labels, bare=bare, notes=list(dict.fromkeys([*notes, *boxed.notes]))), boxed


def _describe_bare(
    bare: Sequence[Path], total: int, photos: Path, where: Path | None, unlabelled: Unlabelled
) -> list[str]:
    """The sentence on photographs without a label that are left out; raises InputError if they are not to be."""
    if not bare:
        return []
    names = ", ".join(path.relative_to(photos).as_posix() for path in bare[:3])
    names += f" and {len(bare) - 3} more" if len(bare) > 3 else ""
    what = f"have no label in {where}" if where else "lie in no class's folder"
    sentence = f"{photos}: {len(bare)} of {total} photographs {what}"
    if unlabelled == "stop":
        mend = "add their labels" if where else "move them into one"
        raise InputError(f"{sentence}: {names}; {mend}, or go on without them: --unlabelled leave-out.")
    return [f"{sentence} and were left out (--unlabelled leave-out): {names}."]
