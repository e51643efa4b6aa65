"""Writes a planned data set in the layout that the stages read; an interrupted one continues."""

from __future__ import annotations

import csv
import functools
import io
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from dsrg.data.ids import check_id, plain
from dsrg.data.photograph import Link, check_size, ending_of, fold, put_file, put_photograph
from dsrg.errors import InputError
from dsrg.files import disk, locks, pictures
from dsrg.files.manifest import FILE as MANIFEST
from dsrg.files.manifest import Manifest, Recorder, identity
from dsrg.labels import IGNORE, MOST_CLASSES, fault_of_name

RECORD = "source.json"
"""In an unfinished folder: what it is made from."""
ASIDE = {name: f".{name}.finished.tmp" for name in (RECORD, MANIFEST)}
"""What is no part of the data set, and its names while the folder takes its own: a kill then leaves temporary files."""


@dataclass(frozen=True)
class Item:
    """A photograph of a planned data set, and what goes with it."""

    id: str
    """The name in the data set, without an ending."""
    photo: Path
    labels: tuple[str, ...]
    """Its image-level labels: one at least, background not among them."""
    mask: Path | Callable[[], np.ndarray] | None = None
    """A mask's file to copy, or what makes the mask, (H, W) uint8."""
    size: tuple[int, int] | None = None
    """Width and height in pixels that the annotation is for, where one gives them."""
    annotation: Path | Callable[[], bytes] | None = None
    """A VOC XML annotation to copy, or what makes its content."""


@dataclass(frozen=True)
class Plan:
    """A data set to be written: everything that is known before a photograph is opened."""

    classes: tuple[str, ...]
    """Class names, background first."""
    items: Sequence[Item]
    splits: Mapping[str, Sequence[str]]
    """Ids of each split."""
    source: Mapping[str, Any]
    """What the data set is made from. An unfinished folder is continued only where this is the same."""
    notes: list[str] = field(default_factory=list)
    """Sentences for the user: what was left out or decided."""

    @property
    def counts(self) -> dict[str, int]:
        """Number of photographs of each foreground class, in the classes' order."""
        found = Counter(name for item in self.items for name in set(item.labels))
        return {name: found[name] for name in self.classes[1:]}


def check_root(root: Path, *, tidy: bool = True) -> None:
    """Refuse a folder that is in use.

    Args:
        root: The new data folder.
        tidy: Remove the temporary files of processes that are dead.

    Raises:
        InputError: root is a file, or a folder with something in it.
    """
    if tidy:
        locks.remove_leftovers(root)
    if root.exists() and (
        not root.is_dir() or any(tidy or not locks.is_leftover(path.name) for path in root.iterdir())
    ):
        raise InputError(f"{root}: is not empty; choose another --root.")


def check_names(names: Sequence[str], where: str | Path, *, masks: bool = False) -> tuple[str, ...]:
    """The class list for foreground classes: background first, then `names`.

    Args:
        names: Names of the foreground classes.
        where: What holds them, for the error.
        masks: Whether the data set has masks, which hold fewer classes.

    Raises:
        InputError: there is none or there are too many, two differ at most in case, or one cannot stand in a list of
            labels.
    """
    if not names:
        raise InputError(f"{where}: holds no class; there must be one at least.")
    if masks and len(names) >= IGNORE:
        raise InputError(f"{where}: {len(names)} classes are too many, 8-bit masks hold {IGNORE - 1} and background.")
    if len(names) >= MOST_CLASSES:
        raise InputError(f"{where}: {len(names):,} classes are too many; {MOST_CLASSES - 1:,} are the most.")
    seen: dict[str, str] = {"background": "background, class 0 of every data set"}
    for name in names:
        if fault_of_name(name):
            raise InputError(f"{where}: the class {name[:60]!r} {fault_of_name(name)}; rename it.")
        if fold(name) in seen:
            raise InputError(
                f"{where}: the class '{name}' has the same name as {seen[fold(name)]}; rename one of them."
            )
        seen[fold(name)] = f"'{name}'"
    return ("background", *names)


def name_ids(files: Iterable[Path]) -> dict[Path, str]:
    """A name of its own for each photograph: its stem, without blanks, since a split file has one id a line.

    Where several photographs have the same (in any case, since some file systems mind none), the names of their folders
    stand before it, as many as tell them apart: cat_001, dog_001.

    Raises:
        InputError: two photographs of one folder have the same name, or one has a name that cannot be kept
            (see `check_id`).
    """
    groups: dict[str, list[Path]] = {}
    for file in files:
        groups.setdefault(fold(plain(file.stem)), []).append(file)
    ids: dict[Path, str] = {}
    taken: dict[str, Path] = {}
    for group in groups.values():
        names = _tell_apart(group)
        for file, name in zip(group, names, strict=True):
            if fold(name) in taken:
                raise InputError(f"{file}: has the same name as {taken[fold(name)]}; rename one of them.")
            taken[fold(name)] = file
            ids[file] = check_id(name, file)
    return ids


def split_off(labels: Mapping[str, Sequence[str]], share: float, seed: int = 0) -> dict[str, list[str]]:
    """Divide photographs by chance into train and val; every class keeps a photograph to learn from.

    Args:
        labels: Labels of each photograph, by id.
        share: Part of the photographs for val, in 0..1; one at least is taken, and one at least is left.
        seed: Chooses them.

    Returns:
        Sorted ids of 'train' and 'val'. Where a class has one photograph only, that one is for training, and val may be
        smaller than its share; only where every photograph is its class's only one does val take one of those.

    Raises:
        InputError: the share is not between 0 and 1, or there are fewer than two photographs.
    """
    if not 0 < share < 1:
        raise InputError(f"--val {share:g}: must be between 0 and 1, such as 0.1 for a tenth of the photographs.")
    if len(labels) < 2:
        raise InputError("two photographs are the least, one to learn from and one to measure on; add some.")
    order = [str(name) for name in np.random.default_rng(seed).permutation(sorted(labels))]
    wanted = min(max(1, round(share * len(order))), len(order) - 1)
    left = Counter(label for own in labels.values() for label in set(own))
    val: set[str] = set()
    for name in order:
        if len(val) < wanted and all(left[label] > 1 for label in labels[name]):
            val.add(name)
            left.subtract(set(labels[name]))
    val = val or {order[0]}
    return {"train": sorted(set(labels) - val), "val": sorted(val)}


def choose_splits(
    where: Path, items: Iterable[Item], given: Mapping[str, str], share: float
) -> tuple[dict[str, list[str]], list[str]]:
    """The splits that a source names; where it names none, or 'train' alone, some photographs are set aside.

    Args:
        where: The source, for the error.
        items: The photographs.
        given: The split of each, 'train', 'val' or 'test', by its id; nothing where the source names none.
        share: As in `split_off`.

    Returns:
        Sorted ids of each split, val those of test where there is no val; and what there is to say of them.

    Raises:
        InputError: there is none to learn from; or as `split_off`.
    """
    if {*given.values()} <= {"train"}:
        return split_off({item.id: item.labels for item in items}, share), []
    splits = {name: sorted(key for key, split in given.items() if split == name) for name in ("train", "val", "test")}
    if not splits["train"]:
        raise InputError(f"{where}: holds no folder 'train' of photographs to learn from; add it.")
    notes = [f"{where}: its splits decide on what is learnt from; --val is not heeded."]
    if not splits["val"]:
        notes.append("there is no validation split, so the photographs of test are val too.")
        splits["val"] = splits["test"]
    return {name: ids for name, ids in splits.items() if ids}, notes


def write_set(root: Path, plan: Plan, *, link: Link | None = None, threads: int = 4) -> list[str]:
    """Write a data set below `root`: photographs, masks, annotations, class list, image-level labels and splits.

    Everything is written to a hidden folder beside `root`, which takes its name when all is there. After an error or
    an interruption that folder stays, and the same call continues with what is missing.

    Args:
        root: The new data folder; must not exist, or be empty.
        plan: What to write.
        link: Link photographs, masks and annotations in place of copying them. Files of the source are never altered.
        threads: Photographs at a time; decoding leaves Python's lock.

    Returns:
        Sentences for the user.

    Raises:
        InputError: root is in use; a photograph would be written elsewhere; one cannot be decoded, or a mask is broken
            or of another size.
    """
    check_root(root)
    partial, held = _open_partial(root, {**plan.source, "link": link})
    try:
        _keep_within(partial, plan)
        rewritten = _put_items(partial, plan, link, threads)
    except InputError as error:
        raise InputError(f"{error} What is done lies in {partial}; the same command continues.") from None
    for split, names in plan.splits.items():
        disk.write_text(partial / f"ImageSets/Segmentation/{split}.txt", "\n".join(names) + "\n")
    disk.write_text(partial / "classes.txt", "\n".join(plan.classes) + "\n")
    disk.write_text(partial / "image_labels.csv", _labels_table(plan.items))
    _remove_strangers(partial, plan.items)
    root = root.resolve()  # an empty folder gives way, and so it does behind a link
    if root.exists():
        root.rmdir()
    (partial / locks.LOCK_FILE).unlink()
    for name, aside in ASIDE.items():
        if (partial / name).exists():
            (partial / name).replace(partial / aside)
    partial.replace(root)
    for aside in ASIDE.values():
        (root / aside).unlink(missing_ok=True)
    held.release()
    if not rewritten:
        return []
    return [f"{rewritten} photographs were turned upright or brought into PNG; all others are as they were."]


def _tell_apart(files: Sequence[Path]) -> list[str]:
    """The stems of files, behind the names of as many of their folders as make them differ, if any do."""
    parts = [[*map(plain, file.parent.parts), plain(file.stem)] for file in files]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["_".join(own[-depth:]) for own in parts]
        if len(set(map(fold, names))) == len(files):
            return names
    return [own[-1] for own in parts]


def _open_partial(root: Path, source: Mapping[str, Any]) -> tuple[Path, locks.FolderLock]:
    """The folder beside root in which the set grows, and its lock; an old one of another source is emptied."""
    root = root.resolve()  # '..' and links too, for `_keep_within` compares paths as they are spelt
    partial = root.parent / f".{root.name}.partial"
    record = partial / RECORD
    if partial.is_symlink():
        raise InputError(f"{partial}: is a link; remove it, the new data folder is built under that name.")
    for name, aside in ASIDE.items():  # killed just before it took its name
        if (partial / aside).is_file() and not (partial / name).exists():
            (partial / aside).replace(partial / name)
    locks.remove_leftovers(partial, deep=True)
    there = partial.is_dir() and any(path.name != locks.LOCK_FILE for path in partial.iterdir())
    if there and not record.is_file():
        raise InputError(f"{partial}: was not made here; move it away, the new data folder is built under that name.")
    held = locks.lock_folder(partial)
    if there and disk.read_json(record, mend=f"delete {partial}") != dict(source):
        for path in partial.iterdir():
            if path.name != locks.LOCK_FILE:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    disk.write_json(record, dict(source))
    return partial, held


def _keep_within(partial: Path, plan: Plan) -> None:
    """Make the folders of the set, and refuse every file that would not lie in its own.

    The ids were checked where they were read, so this is a second wall: against a source that forgot to, and against
    a folder that somebody has made a link of.

    Raises:
        InputError: a file would lie elsewhere, or two photographs would be one file.
    """
    taken: set[str] = set()
    folders: set[Path] = set()
    for item in plan.items:
        check_id(item.id, item.photo)
        for target in _targets(partial, item):
            folders.add(target.parent)
            if target.parent.parent != partial or os.path.normpath(target) != str(target):
                raise InputError(f"{item.photo}: would be written to {target}, outside its folder; rename it.")
        if fold(item.id) in taken:
            raise InputError(f"{item.photo}: another photograph has the name '{item.id}' too; rename one of them.")
        taken.add(fold(item.id))
    for folder in folders:
        if folder.is_symlink():
            raise InputError(f"{folder}: is a link to another folder; remove it, then run the same command again.")
        folder.mkdir(exist_ok=True)


def _put_items(partial: Path, plan: Plan, link: Link | None, threads: int) -> int:
    """Photographs, masks and annotations; returns how many photographs were written anew."""
    put = functools.partial(_put, Manifest(partial), num_classes=len(plan.classes), link=link)
    with ThreadPoolExecutor(threads) as pool:
        # disable=None: on a terminal only, for a log to hold the error alone.
        return sum(tqdm(pool.map(put, plan.items), "photographs", len(plan.items), disable=None))


def _targets(partial: Path, item: Item) -> list[Path]:
    targets = [partial / "JPEGImages" / f"{item.id}{ending_of(item.photo)}"]
    if item.mask is not None:
        targets.append(partial / "SegmentationClass" / f"{item.id}.png")
    if item.annotation is not None:
        targets.append(partial / "Annotations" / f"{item.id}.xml")
    return targets


def _put(manifest: Manifest, item: Item, *, num_classes: int, link: Link | None) -> bool:
    """One photograph with its mask and annotation; returns whether the photograph was written anew.

    The photograph comes last, and is noted when it is there: so is then all the rest.
    """
    partial = manifest.folder
    photo, *_ = _targets(partial, item)
    sources = (item.photo, item.mask, item.annotation)
    made_from = [identity(source) if isinstance(source, Path) else None for source in sources]
    if manifest.state(photo, made_from) == "fresh":
        return False
    size = item.size
    if item.mask is not None:
        target = partial / "SegmentationClass" / f"{item.id}.png"
        if isinstance(item.mask, Path):
            mask = pictures.read_mask(item.mask, num_classes)
            put_file(item.mask, target, link)
        else:
            if item.size is not None:
                check_size(item.photo, item.size)  # before a canvas of that size is painted
            mask = item.mask()
            pictures.write_mask(target, mask)
        size = (mask.shape[1], mask.shape[0])
    if item.annotation is not None:
        target = partial / "Annotations" / f"{item.id}.xml"
        if isinstance(item.annotation, Path):
            put_file(item.annotation, target, link)
        else:
            disk.write_bytes(target, item.annotation())
    anew = put_photograph(item.photo, photo, link=link, size=size)
    Recorder(partial).note(photo, made_from, photo)
    return anew


def _labels_table(items: Sequence[Item]) -> str:
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(["image", "labels"])
    # A semicolon after every label keeps "traffic light" one label where it stands alone.
    writer.writerows([item.id, "".join(f"{label};" for label in item.labels)] for item in items)
    return table.getvalue()


def _remove_strangers(partial: Path, items: Sequence[Item]) -> None:
    """Remove what an interrupted run left: photographs that are no longer in the source, files half written."""
    kept = {path for item in items for path in _targets(partial, item)}
    for folder in ("JPEGImages", "SegmentationClass", "Annotations"):
        for path in (partial / folder).glob("*"):
            if path not in kept:
                path.unlink()
