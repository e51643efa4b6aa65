"""Data sets in PASCAL VOC's layout: photographs, splits, image-level labels, masks, boxes."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from dsrg.data.annotations import read_boxes_for, read_label_names
from dsrg.data.classes import read_classes
from dsrg.data.ids import check_id, id_of, read_ids, shown
from dsrg.data.photograph import Found, is_photograph, walk
from dsrg.data.table import ENDINGS as TABLE_ENDINGS
from dsrg.data.table import read_labels
from dsrg.errors import InputError
from dsrg.files import pictures
from dsrg.labels import BACKGROUND, IGNORE, PRESETS, Classes

Item = TypeVar("Item")
Refuse = Callable[[InputError, Path, str], None]
"""Gets a fault, the file that has it, and the id of the photograph that it concerns ('' for none)."""


def raise_fault(error: InputError, file: Path, name: str) -> None:
    """Raise the fault: what every reader here does unless it is told to go on (`dsrg.data.check`)."""
    raise error


@dataclass(frozen=True)
class Photo:
    """A photograph of a split and its image-level labels."""

    id: str
    """File name without its extension."""
    path: Path
    """The photograph's file."""
    tags: np.ndarray
    """(C,) bool; index 0, background, is always True."""

    @property
    def own(self) -> np.ndarray:
        """(n,) int64, indices of its foreground classes, rising."""
        return np.flatnonzero(self.tags[1:]) + 1


@dataclass(frozen=True)
class Listing:
    """What a data folder holds, whatever the split; with many photographs, reading it takes most of a start."""

    files: Mapping[str, list[Path]]
    """Every photograph's file by id; the last is read where there are several, a.jpg and a.png say."""
    labels: Mapping[str, list[str] | None] | None
    """Names of the labels by id, None where they cannot be read; None for a folder of annotations, or a table that
    cannot be read."""


def spread(photos: Sequence[Item], count: int) -> list[Item]:
    """Up to `count` of the photographs, spread evenly over them: neighbours in a list often show the same scene."""
    places = np.linspace(0, len(photos) - 1, min(count, len(photos))).astype(int)
    return [photos[place] for place in places]


class VocFolder:
    """A data set folder.

    Args:
        root: The folder; the other paths are relative to it.
        images: Folder of photographs.
        masks: Folder of ground-truth masks, which may be missing.
        splits: Folder of <split>.txt, one id a line.
        classes: Class list file, or a preset's name.
        labels: Table of image-level labels (see `dsrg.data.table`), or a folder of VOC XML annotations.
        annotations: Folder of VOC XML annotations to read boxes from, which may be missing.

    Raises:
        InputError: the folder or its class list is missing or broken.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        images: str | Path = "JPEGImages",
        masks: str | Path = "SegmentationClass",
        splits: str | Path = "ImageSets/Segmentation",
        classes: str = "classes.txt",
        labels: str | Path = "image_labels.csv",
        annotations: str | Path = "Annotations",
    ) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise InputError(f"{self.root}: the data folder does not exist; set data.root (see data/README.md).")
        self.classes: Classes = read_classes(classes if classes in PRESETS else self.root / classes)
        self.mask_dir = self.root / masks
        self.image_dir = self.root / images
        self._split_dir = self.root / splits
        self._labels = self.root / labels
        self.annotation_dir = self.root / annotations

    def photos(self, split: str, refuse: Refuse = raise_fault, listing: Listing | None = None) -> list[Photo]:
        """The photographs of a split with their image-level labels, in the split file's order.

        Args:
            split: Its name.
            refuse: Gets every fault; where it does not raise, a photograph that exists is kept with what labels it has.
            listing: What `listing` has read, for another split say; read anew where it is None.

        Raises:
            InputError: an id has no photograph or no label, is listed twice, or a label is not a class.
        """
        ids = self.read_split(split, refuse)
        listing = listing or self.listing(refuse)
        files, names = listing.files, listing.labels
        if names is None:
            names = dict.fromkeys(ids) if self._has_table else self._names_from_xml(ids, refuse)
        photos = []
        shared: dict[bytes, np.ndarray] = {}  # a million photographs of a thousand classes would take a gigabyte
        for name in ids:
            if name not in files:
                missing = self.image_dir / f"{name}.jpg"
                sentence = (
                    f"{missing}: the photograph does not exist, but {self.split_file(split)} "
                    "names it; add the file or remove the line."
                )
                refuse(InputError(sentence, "photograph missing"), missing, name)
            tags = self._tags(name, names.get(name, []), refuse)
            tags = shared.setdefault(tags.tobytes(), tags)
            if name in files:
                photos.append(Photo(name, files[name][-1], tags))
        return photos

    def listing(self, refuse: Refuse = raise_fault) -> Listing:
        """List the folder of photographs and read the table of labels.

        Args:
            refuse: Gets every fault of the table.

        Raises:
            InputError: the table is missing or broken.
        """
        return Listing(self.photo_files(), self._names_from_table(refuse) if self._has_table else None)

    def photo_files(self) -> dict[str, list[Path]]:
        """Every photograph's file by id; the last is read where there are several, a.jpg and a.png say."""
        found = self.found()
        files: dict[str, list[Path]] = {}
        for path in found.photographs:
            files.setdefault(path.stem, []).append(path)
        for path in found.faults:  # whoever reads it is told what is wrong
            if is_photograph(path):
                files.setdefault(path.stem, [path])
        return files

    def found(self) -> Found:
        """What lies in the folder of photographs."""
        return walk(self.image_dir, recursive=False) if self.image_dir.is_dir() else Found([], [], [], {})

    def mask_path(self, photo: Photo) -> Path:
        """File of the photograph's ground-truth mask, whether it exists or not."""
        return pictures.mask_file(self.mask_dir, photo.id)

    def has_masks(self, photos: Sequence[Photo]) -> bool:
        """Whether every one of the photographs has a ground-truth mask.

        Where only some have, as in VOC's train_aug without SBD's masks, the answer is no, with a warning; and so it is
        where there are more classes than a mask can hold.
        """
        paths = [self.mask_path(photo) for photo in photos]
        if len(self.classes) > IGNORE and any(map(os.path.lexists, paths)):
            warnings.warn(
                f"{self.mask_dir}: the masks are not read, for 8 bits do not hold {len(self.classes) - 1:,} classes",
                stacklevel=2,
            )
            return False
        return _all_there(paths, "masks", "this split is not measured; weak training does not need them")

    def has_boxes(self, photos: Sequence[Photo]) -> bool:
        """Whether every one of the photographs has an XML annotation to read boxes from.

        Where only some have, the answer is no, with a warning.
        """
        paths = [self.annotation_path(photo) for photo in photos]
        return _all_there(paths, "annotations", "the boxes of this split are not read")

    def read(
        self, photo: Photo, *, masks: Path | None, boxes: bool = False, refuse: Refuse = raise_fault
    ) -> tuple[Image.Image | None, np.ndarray | None]:
        """Decode one photograph and what belongs to it.

        Args:
            photo: The photograph.
            masks: Folder of the mask to read too and to compare in size with the photograph.
            boxes: Read the XML annotation's boxes too.
            refuse: Gets every fault.

        Returns:
            The photograph and its mask (H, W) uint8; None for what is not read or cannot be.

        Raises:
            InputError: a file is broken, of the wrong size, or holds an index out of range.
        """
        image = mask = None
        with reporting(refuse, photo.path, photo.id):
            image = pictures.read_image(photo.path)
        if masks is not None:
            path = pictures.mask_file(masks, photo.id)
            with reporting(refuse, path, photo.id):
                mask = pictures.read_mask(path)
            if mask is not None:
                with reporting(refuse, path, photo.id):
                    pictures.check_indices(mask, len(self.classes), path)
                with reporting(refuse, path, photo.id):
                    size = mask.shape[::-1]
                    check_size("mask is", size, image.size if image else size, path, photo.path)
        if boxes and image is not None:
            with reporting(refuse, self.annotation_path(photo), photo.id):
                read_boxes_for(self.annotation_path(photo), image.size, self.classes, photo.path)
        return image, mask

    def annotation_path(self, photo: Photo) -> Path:
        """File of the photograph's XML annotation, whether it exists or not."""
        return self.annotation_dir / f"{photo.id}.xml"

    def split_file(self, split: str) -> Path:
        """File of a split, whether it exists or not."""
        return self._split_dir / f"{split}.txt"

    def read_split(self, split: str, refuse: Refuse = raise_fault) -> list[str]:
        """The ids of a split, each once, in the file's order.

        Raises:
            InputError: the file is missing, empty or not UTF-8, or lists an id twice.
        """
        path, ids = self.split_file(split), list[str]()

        def fault(sentence: str, kind: str, name: str = "") -> None:
            refuse(InputError(f"{path}: {sentence}", kind), path, name)

        if path.exists():
            try:
                ids = read_ids(path, "split")
            except InputError as error:
                refuse(InputError(str(error), "split unreadable"), path, "")
            else:
                if not ids:
                    fault("the split names no photograph; write one id a line.", "empty split")
        else:
            there = ", ".join(sorted(file.stem for file in self._split_dir.glob("*.txt"))) or "none"
            fault(f"the split does not exist; write one id a line (splits there: {there}).", "split missing")
        usable = []  # no path is ever made of a name that can be none
        for name, count in Counter(ids).items():
            with reporting(refuse, path, name):
                usable.append(check_id(name, path))
            if count > 1:
                fault(f"{shown(name)} is listed twice; remove one of the lines.", "name twice", name)
        return usable

    @property
    def _has_table(self) -> bool:
        """Whether the labels are a table's, and not annotations'."""
        return self._labels.suffix.lower() in TABLE_ENDINGS

    def _names_from_table(self, refuse: Refuse) -> Mapping[str, list[str] | None] | None:
        """The labels' names by id, None where a row's cannot be read; None where the table cannot."""
        names: dict[str, list[str] | None] = {}

        def fault(error: InputError, name: str = "") -> None:
            refuse(error, self._labels, name)

        if not self._labels.exists():
            sentence = f"{self._labels}: the image-level labels do not exist; write a CSV 'image,labels'."
            fault(InputError(sentence, "labels missing"))
            return None
        try:
            rows = read_labels(self._labels, self.classes.names, lambda error, image: fault(error, id_of(image))).rows
        except InputError as error:
            fault(InputError(str(error), "labels unreadable"))
            return None
        for image, labels, *_ in rows:
            name = id_of(image)
            if name in names:
                sentence = f"{self._labels}: '{name}' is listed twice; write its labels on one line."
                fault(InputError(sentence, "name twice"), name)
            before = names.get(name, [])
            names[name] = None if labels is None or before is None else [*before, *labels]
        return names

    def _names_from_xml(self, ids: Sequence[str], refuse: Refuse) -> Mapping[str, list[str] | None]:
        names: dict[str, list[str] | None] = dict.fromkeys(ids)
        for name in ids:
            path = self.label_file(name)
            with reporting(refuse, path, name):
                names[name] = read_label_names(path, "use a CSV of labels")
        return names

    def label_file(self, name: str) -> Path:
        """The file that holds the image-level labels of the photograph with this id."""
        return self._labels if self._has_table else self._labels / f"{name}.xml"

    def _tags(self, name: str, labels: Sequence[str] | None, refuse: Refuse) -> np.ndarray:
        tags = np.zeros(len(self.classes), bool)
        tags[BACKGROUND] = True
        for label in labels or ():
            with reporting(refuse, self.label_file(name), name):
                tags[self.classes.index(label, f"{self._labels} ({name})")] = True
        if labels is not None and {*labels} <= {self.classes.names[BACKGROUND]}:
            sentence = f"{self._labels}: '{name}' has no label; every photograph of a split needs at least one."
            refuse(InputError(sentence, "no label"), self.label_file(name), name)
        return tags


@contextmanager
def reporting(refuse: Refuse, file: Path, name: str) -> Iterator[None]:
    """Hand an InputError of the block to `refuse` with the file and the photograph's id."""
    try:
        yield
    except InputError as error:
        refuse(error, file, name)


def no_object(masks: Path, count: int) -> InputError:
    """The fault of a split whose masks could measure nothing: every figure would be that of background alone."""
    return InputError(
        f"{masks}: none of the masks of {count} photographs shows an object, they hold {BACKGROUND} and {IGNORE} "
        "(void) alone; write each object's class index in place of 255, or move the masks away: weak training needs "
        "none.",
        "no object",
    )


def read_mask_for(path: Path, size: tuple[int, int], num_classes: int, photo: Path) -> np.ndarray:
    """Read a mask that must be as large as its photograph.

    Args:
        path: The mask.
        size: (width, height) of the photograph, in pixels.
        num_classes: C; other indices than 0..C-1 and 255 are refused.
        photo: The photograph's file, for the error.

    Returns:
        (H, W) uint8.
    """
    mask = pictures.read_mask(path, num_classes)
    check_size("mask is", mask.shape[::-1], size, path, photo)
    return mask


def check_size(what: str, found: tuple[int, ...], size: tuple[int, ...], path: Path, photo: Path) -> None:
    """Refuse what is of another size than its photograph.

    Args:
        what: What it is, with its verb: "mask is".
        found: Its width and height in pixels.
        size: Those of the photograph.
        path, photo: Their files.
    """
    if found != size:
        raise InputError(
            f"{path}: the {what} {found[0]} x {found[1]} pixels, but its photograph {photo} is {size[0]} x {size[1]}; "
            "make them equal.",
            "size mismatch",
        )


def _all_there(paths: Sequence[Path], what: str, consequence: str) -> bool:
    """Whether all the files exist; warns where only some do."""
    missing = [path for path in paths if not os.path.lexists(path)]  # a link to nothing is refused when it is read
    if 0 < len(missing) < len(paths):
        warnings.warn(
            f"{missing[0]} and {len(missing) - 1} more of {len(paths)} {what} are missing, so {consequence}",
            stacklevel=3,
        )
    return not missing
