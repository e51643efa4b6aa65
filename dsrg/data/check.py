"""A data folder read once as a whole: every fault of every file, and what the folder holds."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dsrg.data import boxed as boxed_files
from dsrg.data import segments as segment_files
from dsrg.data.annotations import read_boxes_for
from dsrg.data.faults import DataCheck, Fault, SplitSummary, noter
from dsrg.data.photograph import describe_left_out, is_system
from dsrg.data.voc import Photo, VocFolder, no_object, reporting
from dsrg.files import pictures
from dsrg.labels import BACKGROUND, IGNORE, shows_object

DIFFER = "labels differ from mask"
_CROWDED = 100
"""Photographs from which on a progress bar is shown, on a terminal."""


def check_data(
    folder: VocFolder,
    train: str,
    val: str,
    *,
    masks: bool = True,
    boxes: bool = True,
    segments: Path | None = None,
    threads: int = 4,
) -> DataCheck:
    """Read every file of both splits once, and list all that is wrong with them.

    A fault is told once, at the file to mend, and what merely follows from it is not: where the labels cannot be read,
    no class is said to have no photograph.

    Args:
        folder: The data folder.
        train: Split to learn from.
        val: Split to measure on.
        masks: Read the masks that are there. A split whose photographs have none at all is no fault, one in which only
            some have is.
        boxes: Read the XML annotations that are there.
        segments: Folder of the training photographs' segments (masks.segments), to be read too; None for none.
        threads: Files to read at a time; decoding leaves Python's lock.
    """
    begun = time.monotonic()
    found: list[Fault] = []
    note = noter(found)
    ids = {split: folder.read_split(split, note) for split in (train, val)}
    listing = folder.listing(note)
    splits = {split: folder.photos(split, note, listing) for split in ids}
    found += _names(folder, ids, listing.files)
    found += _classes(folder, splits, train)
    doubtful = {fault.photo for fault in found}
    photos = {photo.id: photo for own in splits.values() for photo in own}
    masked = _masked(folder, splits, train, found) if masks else set()
    boxed = {name for name, photo in photos.items() if boxes and folder.annotation_path(photo).is_file()}
    found += _without_annotation(folder, photos, boxed)
    found += _left_out(folder, photos, masks)
    faults, sizes, blank = _read_all(folder, photos, masked=masked, boxed=boxed, doubtful=doubtful, threads=threads)
    found += faults
    if segments is not None:
        segment_files.check(segments, splits[train], sizes, note)
    for own in splits.values():
        if own and {photo.id for photo in own} <= blank:
            error = no_object(folder.mask_dir, len(own))
            found.append(Fault(error.kind, folder.mask_dir, "", str(error)))
    return DataCheck(
        folder.root,
        folder.classes.names,
        {split: _summary(folder, own, masked, sizes) for split, own in splits.items()},
        len(listing.files.keys() - photos.keys()),
        tuple(dict.fromkeys(found)),  # what both splits read, they tell both
        time.monotonic() - begun,
    )


def _read_all(
    folder: VocFolder,
    photos: Mapping[str, Photo],
    *,
    masked: set[str],
    boxed: set[str],
    doubtful: set[str],
    threads: int,
) -> tuple[list[Fault], dict[str, tuple[int, int]], set[str]]:
    """Decode every file.

    Args:
        folder: The data folder.
        photos: By id.
        masked: Ids of those whose mask to read.
        boxed: Ids of those whose annotation to read.
        doubtful: Ids of those whose labels are known to be faulty, and are not compared with anything.
        threads: Files to read at a time.

    Returns:
        The faults in the order of the photographs; width and height of those that can be read; and the ids of those
        whose mask shows no object.
    """
    found: list[Fault] = []
    sizes: dict[str, tuple[int, int]] = {}
    blank: set[str] = set()
    read = functools.partial(_read, folder, masked=masked, boxed=boxed, doubtful=doubtful)
    pool = ThreadPoolExecutor(max(1, threads))
    try:
        quiet = True if len(photos) < _CROWDED else None  # None: on a terminal alone
        readings = tqdm(pool.map(read, photos.values()), "checking files", len(photos), leave=False, disable=quiet)
        for name, (faults, size, is_blank) in zip(photos, readings, strict=True):
            found += faults
            if size is not None:
                sizes[name] = size
            if is_blank:
                blank.add(name)
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C ends it at once
    return found, sizes, blank


def _read(
    folder: VocFolder, photo: Photo, *, masked: set[str], boxed: set[str], doubtful: set[str]
) -> tuple[list[Fault], tuple[int, int] | None, bool]:
    """Decode one photograph's files, as `_read_all` does.

    Returns:
        The faults; width and height where it can be read; and whether its mask shows no object.
    """
    found: list[Fault] = []
    told = photo.id in doubtful and folder.label_file(photo.id) == folder.annotation_path(photo)
    image, mask = folder.read(
        photo,
        masks=folder.mask_dir if photo.id in masked else None,
        boxes=photo.id in boxed and not told,
        refuse=noter(found),
    )
    is_blank = mask is not None and not found and not shows_object(mask)
    if mask is not None and not found and photo.id not in doubtful:
        found += _differences(folder, photo, mask)
    if image is None:
        return found, None, is_blank
    if photo.id in boxed and not found and photo.id not in doubtful:
        found += _of_boxes(folder, photo, image.size)
    turn = pictures.orientation(image)
    if turn != 1:
        sentence = (
            f"{photo.path}: is stored turned or mirrored (EXIF orientation {turn}), and is read as it is stored; store "
            "it upright."
        )
        found.append(Fault("photograph turned", photo.path, photo.id, sentence, warning=True))
    return found, image.size, is_blank


def _of_boxes(folder: VocFolder, photo: Photo, size: tuple[int, int]) -> Iterator[Fault]:
    """What in a photograph's boxes stops the runs that learn from boxes, and no other."""
    path = folder.annotation_path(photo)
    boxes = read_boxes_for(path, size, folder.classes, photo.path)
    sentence = boxed_files.difference(boxes, folder.classes, photo)
    if sentence:
        yield Fault(boxed_files.DIFFER, path, photo.id, f"{path}: {sentence}", warning=True)


def _summary(
    folder: VocFolder, photos: Sequence[Photo], masked: set[str], sizes: Mapping[str, tuple[int, int]]
) -> SplitSummary:
    known = np.array([sizes[photo.id] for photo in photos if photo.id in sizes], np.int64).reshape(-1, 2)
    masks = sum(photo.id in masked for photo in photos)
    return SplitSummary(len(photos), masks, known, _label_counts(folder, photos))


def _label_counts(folder: VocFolder, photos: Sequence[Photo]) -> np.ndarray:
    """(C,) photographs with each label."""
    tags = np.array([photo.tags for photo in photos], bool).reshape(-1, len(folder.classes))
    return np.asarray(tags.sum(axis=0, dtype=np.int64))


def _names(folder: VocFolder, ids: Mapping[str, Sequence[str]], files: Mapping[str, Sequence[Path]]) -> Iterator[Fault]:
    """Photographs in both splits, and names that are one but for their case or their ending."""
    train, val = next(iter(ids)), list(ids)[-1]
    file = folder.split_file(val)
    for name in sorted({*ids[train]} & {*ids[val]}) if train != val else ():
        sentence = (
            f"{file}: '{name}' is in {folder.split_file(train)} too, where it is learnt from; remove one of them."
        )
        yield Fault("in both splits", file, name, sentence)
    by_split = {split: {*own} for split, own in ids.items()}
    used = {*ids[train], *ids[val]}
    for name in sorted(used & files.keys()):
        for path in files[name][1:]:
            other = files[name][0].name
            sentence = f"{path}: has the same name as {other} but for the ending; remove or rename one of them."
            yield Fault("name twice", path, name, sentence)
    alike: dict[str, set[str]] = {}
    for name in used | files.keys():
        alike.setdefault(name.casefold(), set()).add(name)
    for _, names in sorted(alike.items()):
        if len(names & used) > 1 or (names & used and len(names & files.keys()) > 1):
            listed = "' and '".join(sorted(names))
            file = next(folder.split_file(split) for split, own in by_split.items() if names & own)
            sentence = f"{file}: '{listed}' differ in capitals alone, and are one file on some systems; rename one."
            yield Fault("name twice", file, min(names & used), sentence)


def _classes(folder: VocFolder, splits: Mapping[str, Sequence[Photo]], train: str) -> Iterator[Fault]:
    """Classes without a photograph: a fault where they are learnt, a warning where they are measured."""
    told: set[int] = set()  # of train, so that val does not tell it again
    for split, photos in splits.items():
        counts = _label_counts(folder, photos)
        if not counts[1:].any():
            continue  # no label could be read, or no photograph: told already
        file = folder.split_file(split)
        for index in sorted({*np.flatnonzero(counts == 0).tolist()} - told):
            told.add(index)
            name = folder.classes.names[index]
            sentence = (
                f"{file}: no photograph of the split has the label '{name}'; add some, or take the class off "
                f"{folder.classes.source}."
            )
            yield Fault("class without photograph", file, "", sentence, warning=split != train)


def _masked(folder: VocFolder, splits: Mapping[str, Sequence[Photo]], train: str, found: list[Fault]) -> set[str]:
    """Ids of the photographs whose mask is to be read; notes the masks that are missing, and more classes than masks
    hold."""
    masked: set[str] = set()
    for split, photos in splits.items():
        masked |= _with_masks(folder, photos, found, learnt=split == train)
    if masked and len(folder.classes) > IGNORE:
        with reporting(noter(found), folder.mask_dir, ""):
            folder.classes.check_masks()
        return set()
    return masked


def _with_masks(folder: VocFolder, photos: Sequence[Photo], found: list[Fault], *, learnt: bool) -> set[str]:
    """Ids of the photographs that have a mask; notes the others where only some have. Of a split to learn from few may
    have one, those that somebody has corrected."""
    there = {photo.id for photo in photos if os.path.lexists(folder.mask_path(photo))}
    if learnt and 0 < 2 * len(there) < len(photos):
        sentence = (
            f"{folder.mask_dir}: {len(there)} of the {len(photos)} photographs to learn from have a true mask, so this "
            "split is not measured."
        )
        found.append(Fault("mask missing", folder.mask_dir, "", sentence, warning=True))
        return there
    for photo in photos if there else ():
        if photo.id not in there:
            path = folder.mask_path(photo)
            sentence = (
                f"{path}: the mask does not exist, but {len(there)} of the split's {len(photos)} photographs have one; "
                "add it, or leave masks out of the check (--no-masks): the split is not measured then."
            )
            found.append(Fault("mask missing", path, photo.id, sentence))
    return there


def _without_annotation(folder: VocFolder, photos: Mapping[str, Photo], there: set[str]) -> Iterator[Fault]:
    """Where only some photographs have an annotation, the others; but for labels, whose reader has told them."""
    for name, photo in photos.items() if there else ():
        path = folder.annotation_path(photo)
        if name not in there and path != folder.label_file(name):
            sentence = f"{path}: the annotation does not exist, though others do; without it no box is read."
            yield Fault("annotation missing", path, name, sentence, warning=True)


def _left_out(folder: VocFolder, photos: Mapping[str, Photo], masks: bool) -> Iterator[Fault]:
    """What lies among the photographs and masks, and is read as neither."""
    lying = folder.found()
    read = {photo.path for photo in photos.values()}
    for path, error in lying.faults.items():
        if path not in read:
            yield Fault(error.kind or "left out", path, "", str(error), warning=True)
    for sentence in describe_left_out(folder.image_dir, lying.others, lying.skipped):
        yield Fault("left out", folder.image_dir, "", sentence, warning=True)
    if masks and folder.mask_dir.is_dir():
        names = sorted(path.name for path in folder.mask_dir.iterdir() if not is_system(path.name))
        strange = [name for name in names if Path(name).suffix.lower() != ".png"]
        if strange:
            more = f" and {len(strange) - 3} more" if len(strange) > 3 else ""
            sentence = (
                f"{folder.mask_dir}: {len(strange)} files are no masks, which end in .png, and are left out: "
                f"{', '.join(strange[:3])}{more}."
            )
            yield Fault("left out", folder.mask_dir, "", sentence, warning=True)


def _differences(folder: VocFolder, photo: Photo, mask: np.ndarray) -> Iterator[Fault]:
    """Classes that the mask alone has, and labels that it lacks."""
    if not photo.tags[1:].any():
        return  # the labels could not be read
    present = np.bincount(mask.ravel(), minlength=IGNORE + 1)[: len(folder.classes)] > 0
    present[BACKGROUND] = True
    path = folder.mask_path(photo)
    for tags, sentence in (
        (present & ~photo.tags, "shows '{}', not among the photograph's labels; add the label or mend the mask."),
        (photo.tags & ~present, "does not show '{}' of the photograph's labels; take the label off or mend the mask."),
    ):
        if tags.any():
            names = "', '".join(folder.classes.names[index] for index in np.flatnonzero(tags))
            yield Fault(DIFFER, path, photo.id, f"{path}: {sentence.format(names)}", warning=True)
