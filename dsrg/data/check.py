"""A data folder read once as a whole: every fault of every file, and what the folder holds."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from dsrg.data import boxed as boxed_files
from dsrg.data import segments as segment_files
from dsrg.data.annotations import read_boxes_for
from dsrg.data.photograph import describe_left_out, is_system
from dsrg.data.voc import Photo, Refuse, VocFolder, no_object, reporting, shows_object
from dsrg.errors import InputError
from dsrg.files import pictures
from dsrg.labels import BACKGROUND, IGNORE

DIFFER = "labels differ from mask"
_CROWDED = 100
"""Photographs from which on a progress bar is shown, on a terminal."""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with one file."""

    kind: str
    """What is wrong, in a word or two."""
    file: Path
    photo: str
    """Id of the photograph that it concerns; '' for none."""
    message: str
    """One sentence that names the file and says what to do."""
    warning: bool = False
    """It stops no stage, but is likely not meant so."""


@dataclass(frozen=True)
class SplitSummary:
    """What one split holds."""

    photographs: int
    masks: int
    sizes: np.ndarray
    """(N, 2) width and height in pixels of each photograph that could be read."""
    labels: np.ndarray
    """(C,) photographs with each image-level label; index 0, background, counts all."""


@dataclass(frozen=True)
class DataCheck:
    """What a check of a data folder has found."""

    root: Path
    classes: tuple[str, ...]
    splits: Mapping[str, SplitSummary]
    unused: int
    """Photographs in the folder that are in none of the splits."""
    found: tuple[Fault, ...]
    seconds: float

    @property
    def faults(self) -> list[Fault]:
        """What stops a stage, or makes its figures wrong."""
        return [fault for fault in self.found if not fault.warning]

    @property
    def warnings(self) -> list[Fault]:
        """What is likely not meant so."""
        return [fault for fault in self.found if fault.warning]

    def table(self) -> str:
        """Photographs, masks and sizes of each split, and photographs by class and split, as text."""
        lines = []
        for name, split in self.splits.items():
            (narrow, low), (wide, high) = _ends(split.sizes)
            size = f"{narrow} x {low}" if (narrow, low) == (wide, high) else f"{narrow}-{wide} x {low}-{high}"
            lines.append(f"{name}: {split.photographs:,} photographs of {size} pixels, {split.masks:,} masks")
        lines.append(f"in no split: {self.unused:,} photographs")
        width = max(len("class"), *map(len, self.classes))
        lines += ["", f"{'class':{width}}" + "".join(f"{name:>12}" for name in self.splits)]
        for index, name in enumerate(self.classes[1:], 1):
            counts = "".join(f"{split.labels[index]:12,}" for split in self.splits.values())
            lines.append(f"{name:{width}}{counts}")
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """The same for machines."""

        def rows(faults: Sequence[Fault]) -> list[dict[str, str]]:
            return [{"kind": f.kind, "file": str(f.file), "photo": f.photo, "message": f.message} for f in faults]

        splits = {}
        for name, split in self.splits.items():
            low, high = _ends(split.sizes)
            classes = dict(zip(self.classes[1:], split.labels[1:].tolist(), strict=True))
            splits[name] = {
                "photographs": split.photographs,
                "masks": split.masks,
                "width": [low[0], high[0]],
                "height": [low[1], high[1]],
                "classes": classes,
            }
        return {
            "root": str(self.root),
            "faults": rows(self.faults),
            "warnings": rows(self.warnings),
            "splits": splits,
            "unused": self.unused,
            "seconds": round(self.seconds, 2),
        }


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
    note = _noter(found)
    ids = {split: folder.read_split(split, note) for split in (train, val)}
    listing = folder.listing(note)
    splits = {split: folder.photos(split, note, listing) for split in ids}
    found += _names(folder, ids, listing.files)
    found += _classes(folder, splits, train)
    doubtful = {fault.photo for fault in found}
    photos = {photo.id: photo for own in splits.values() for photo in own}
    masked: set[str] = set()
    for split, own in splits.items() if masks else ():
        masked |= _with_masks(folder, own, found, learnt=split == train)
    if masked and len(folder.classes) > IGNORE:
        with reporting(note, folder.mask_dir, ""):
            folder.classes.check_masks()
        masked = set()
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

    def read(photo: Photo) -> list[Fault]:
        own: list[Fault] = []
        told = photo.id in doubtful and folder.label_file(photo.id) == folder.annotation_path(photo)
        image, mask = folder.read(
            photo,
            masks=folder.mask_dir if photo.id in masked else None,
            boxes=photo.id in boxed and not told,
            refuse=_noter(own),
        )
        if mask is not None and not own and not shows_object(mask):
            blank.add(photo.id)
        if mask is not None and not own and photo.id not in doubtful:
            own += _differences(folder, photo, mask)
        if image is not None and photo.id in boxed and not own and photo.id not in doubtful:
            path = folder.annotation_path(photo)
            sentence = boxed_files.difference(
                read_boxes_for(path, image.size, folder.classes, photo.path), folder.classes, photo
            )
            if sentence:  # stops the runs that learn from boxes, and no other
                own.append(Fault(boxed_files.DIFFER, path, photo.id, f"{path}: {sentence}", warning=True))
        if image is not None:
            sizes[photo.id] = image.size
            turn = pictures.orientation(image)
            if turn != 1:
                sentence = (
                    f"{photo.path}: is stored turned or mirrored (EXIF orientation {turn}), and is read as it is "
                    "stored; store it upright."
                )
                own.append(Fault("photograph turned", photo.path, photo.id, sentence, warning=True))
        return own

    pool = ThreadPoolExecutor(max(1, threads))
    try:
        quiet = True if len(photos) < _CROWDED else None  # None: on a terminal alone
        for faults in tqdm(pool.map(read, photos.values()), "checking files", len(photos), leave=False, disable=quiet):
            found += faults
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C ends it at once
    return found, sizes, blank


def _noter(found: list[Fault]) -> Refuse:
    """Appends each fault that a reader meets."""

    def note(error: InputError, file: Path, name: str) -> None:
        found.append(Fault(error.kind or "fault", file, name, str(error)))

    return note


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


def _ends(sizes: np.ndarray) -> tuple[list[int], list[int]]:
    """Least and greatest width and height; zeros of no sizes."""
    if not len(sizes):
        return [0, 0], [0, 0]
    return sizes.min(axis=0).tolist(), sizes.max(axis=0).tolist()
