"""Data sets in PASCAL VOC's layout: photographs, splits, image-level labels, masks, boxes."""

from __future__ import annotations

import csv
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dsrg import storage
from dsrg.boxes import LabelledBoxes
from dsrg.errors import InputError
from dsrg.labels import BACKGROUND, PRESETS, Classes, read_classes


@dataclass(frozen=True)
class Photo:
    """A photograph of a split and its image-level labels."""

    id: str
    """File name without its extension."""
    path: Path
    """The photograph's file."""
    tags: np.ndarray
    """(C,) bool; index 0, background, is always True."""


class VocFolder:
    """A data set folder.

    Args:
        root: The folder; the other paths are relative to it.
        images: Folder of photographs.
        masks: Folder of ground-truth masks, which may be missing.
        splits: Folder of <split>.txt, one id a line.
        classes: Class list file, or a preset's name.
        labels: CSV of image-level labels, or a folder of VOC XML annotations.
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
        self._image_dir = self.root / images
        self._split_dir = self.root / splits
        self._labels = self.root / labels
        self._annotations = self.root / annotations

    def photos(self, split: str) -> list[Photo]:
        """The photographs of a split with their image-level labels, in the split file's order.

        Raises:
            InputError: an id has no photograph or no label, is listed twice, or a label is not a class.
        """
        ids = self._read_split(split)
        files = {
            path.stem: path
            for path in sorted(self._image_dir.glob("*"))
            if path.suffix.lower() in storage.IMAGE_EXTENSIONS
        }
        names = self._names_from_csv() if self._labels.suffix.lower() == ".csv" else self._names_from_xml(ids)
        photos = []
        for name in ids:
            if name not in files:
                raise InputError(
                    f"{self._image_dir / name}.jpg: the photograph does not exist, but {self._split_file(split)} "
                    "names it; add the file or remove the line."
                )
            photos.append(Photo(name, files[name], self._tags(name, names.get(name, ()))))
        return photos

    def mask_path(self, photo: Photo) -> Path:
        """File of the photograph's ground-truth mask, whether it exists or not."""
        return self.mask_dir / f"{photo.id}.png"

    def has_masks(self, photos: Sequence[Photo]) -> bool:
        """Whether every one of the photographs has a ground-truth mask.

        Where only some have, as in VOC's train_aug without SBD's masks, the answer is no, with a warning.
        """
        paths = [self.mask_path(photo) for photo in photos]
        return _all_there(paths, "masks", "this split is not measured; weak training does not need them")

    def has_boxes(self, photos: Sequence[Photo]) -> bool:
        """Whether every one of the photographs has an XML annotation to read boxes from.

        Where only some have, the answer is no, with a warning.
        """
        paths = [self._annotation_path(photo.id) for photo in photos]
        return _all_there(paths, "annotations", "the boxes of this split are not read")

    def boxes(self, photo: Photo, size: tuple[int, int]) -> LabelledBoxes:
        """The boxes of a photograph's XML annotation, see `read_boxes_for`.

        Args:
            photo: The photograph.
            size: Its width and height in pixels.
        """
        return read_boxes_for(self._annotation_path(photo.id), size, self.classes, photo.path)

    def check(self, photos: Sequence[Photo], *, masks: Path | None, boxes: bool = False, threads: int = 4) -> None:
        """Decode every file once, so that a broken one stops the run before it has written anything.

        Args:
            photos: What to read.
            masks: Folder of masks to read too and to compare in size with the photographs.
            boxes: Read the XML annotations' boxes too.
            threads: Files to read at a time; decoding leaves Python's lock.

        Raises:
            InputError: the first file that is broken, of the wrong size, or holds an index out of range.
        """

        def read(photo: Photo) -> None:
            image = storage.read_image(photo.path)
            if masks is not None:
                read_mask_for(masks / f"{photo.id}.png", image.size, len(self.classes), photo.path)
            if boxes:
                self.boxes(photo, image.size)

        with ThreadPoolExecutor(threads) as pool:
            # disable=None: on a terminal only, for a log to hold the error alone.
            quiet = True if len(photos) < 100 else None
            for _ in tqdm(pool.map(read, photos), "checking files", len(photos), leave=False, disable=quiet):
                pass

    def _annotation_path(self, name: str) -> Path:
        return self._annotations / f"{name}.xml"

    def _split_file(self, split: str) -> Path:
        return self._split_dir / f"{split}.txt"

    def _read_split(self, split: str) -> list[str]:
        path = self._split_file(split)
        if not path.is_file():
            there = ", ".join(sorted(file.stem for file in self._split_dir.glob("*.txt"))) or "none"
            raise InputError(f"{path}: the split does not exist; write one id a line (splits there: {there}).")
        try:
            ids = path.read_text(encoding="utf-8-sig").split()
        except UnicodeDecodeError:
            raise InputError(f"{path}: the split is not in UTF-8; save it anew in that encoding.") from None
        if not ids:
            raise InputError(f"{path}: the split names no photograph; write one id a line.")
        if len(set(ids)) < len(ids):
            twice = next(name for name in ids if ids.count(name) > 1)
            raise InputError(f"{path}: '{twice}' is listed twice; remove one of the lines.")
        return ids

    def _names_from_csv(self) -> dict[str, list[str]]:
        if not self._labels.is_file():
            raise InputError(f"{self._labels}: the image-level labels do not exist; write a CSV 'image,labels'.")
        names: dict[str, list[str]] = {}
        try:
            with self._labels.open(newline="", encoding="utf-8-sig") as file:
                reader = csv.DictReader(file)
                if not {"image", "labels"} <= set(reader.fieldnames or ()):
                    raise InputError(f"{self._labels}: the first line must be 'image,labels'.")
                for row in reader:
                    photo = Path((row["image"] or "").strip())  # an id, which may hold points, or a file name
                    name = photo.stem if photo.suffix.lower() in storage.IMAGE_EXTENSIONS else photo.name
                    if name in names:
                        raise InputError(f"{self._labels}: '{name}' is listed twice; write its labels on one line.")
                    names[name] = self._divide(row["labels"] or "")
        except (csv.Error, UnicodeDecodeError) as error:
            raise InputError(f"{self._labels}: not a readable CSV in UTF-8 ({error}); save it anew.") from None
        return names

    def _divide(self, text: str) -> list[str]:
        # Names with a blank in them ("traffic light") stand alone or are divided by semicolons.
        if ";" in text:
            return [name.strip() for name in text.split(";") if name.strip()]
        return [text.strip()] if text.strip() in self.classes.names else text.split()

    def _names_from_xml(self, ids: Sequence[str]) -> dict[str, list[str]]:
        names = {}
        for name in ids:
            names[name] = read_label_names(self._labels / f"{name}.xml", "use a CSV of labels")
        return names

    def _tags(self, name: str, labels: Iterable[str]) -> np.ndarray:
        tags = np.zeros(len(self.classes), bool)
        tags[BACKGROUND] = True
        for label in labels:
            tags[self.classes.index(label, f"{self._labels} ({name})")] = True
        if not tags[1:].any():
            raise InputError(f"{self._labels}: '{name}' has no label; every photograph of a split needs at least one.")
        return tags


def read_label_names(path: Path, otherwise: str) -> list[str]:
    """The names of the objects of a VOC XML annotation, difficult and truncated ones too.

    Args:
        path: The annotation.
        otherwise: What helps where it is missing, for the error.

    Raises:
        InputError: the file is missing or broken.
    """
    return [element.findtext("name", "").strip() for element in _read_objects(path, otherwise)]


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
    mask = storage.read_mask(path, num_classes)
    if mask.shape[::-1] != size:
        width, height = mask.shape[::-1]
        raise InputError(
            f"{path}: the mask is {width} x {height} pixels, but its photograph {photo} is {size[0]} x {size[1]}; "
            "make them equal."
        )
    return mask


def read_boxes_for(path: Path, size: tuple[int, int], classes: Classes, photo: Path) -> LabelledBoxes:
    """Read the boxes of a VOC XML annotation; those of difficult and truncated objects too, as the labels are.

    VOC counts pixels from 1 and names the last one: xmin 1, xmax 10 are the first ten columns, here 0 and 10. Some of
    VOC 2012's coordinates are fractions, which stay.

    Args:
        path: The annotation.
        size: (width, height) of the photograph, in pixels.
        classes: The data set's classes.
        photo: The photograph's file, for the error.

    Returns:
        Classes and boxes in the file's order, float64 x0, y0, x1, y1, half-open (see `dsrg.boxes`).

    Raises:
        InputError: the file is missing or broken, names no object or an unknown class, or a box does not lie in the
            photograph.
    """
    indices, boxes = [], []
    for element in _read_objects(path, "measure with masks"):
        name = element.findtext("name", "").strip()
        indices.append(classes.index(name, str(path)))
        edges = [element.findtext(f"bndbox/{edge}", "none").strip() for edge in ("xmin", "ymin", "xmax", "ymax")]
        try:
            left, top, right, bottom = map(float, edges)
        except ValueError:
            raise InputError(
                f"{path}: the box of a '{name}' is xmin, ymin, xmax, ymax = {', '.join(edges)}; write four numbers."
            ) from None
        # A fraction of a pixel beyond the edge is rounding; nan fails every comparison.
        if not (0 < left <= right < size[0] + 1 and 0 < top <= bottom < size[1] + 1):
            raise InputError(
                f"{path}: the box {left:g}, {top:g}, {right:g}, {bottom:g} of a '{name}' does not lie in {photo}, "
                f"which is {size[0]} x {size[1]}; count pixels from 1, and annotate the photograph at this size."
            )
        boxes.append((left - 1, top - 1, right, bottom))
    if not boxes:
        raise InputError(f"{path}: the annotation has no object; every photograph of a split needs at least one.")
    return LabelledBoxes(np.array(indices, np.int64), np.array(boxes, np.float64))


def _all_there(paths: Sequence[Path], what: str, consequence: str) -> bool:
    """Whether all the files exist; warns where only some do."""
    missing = [path for path in paths if not path.is_file()]
    if 0 < len(missing) < len(paths):
        warnings.warn(
            f"{missing[0]} and {len(missing) - 1} more of {len(paths)} {what} are missing, so {consequence}",
            stacklevel=3,
        )
    return not missing


def _read_objects(path: Path, otherwise: str) -> list[ElementTree.Element]:
    """The objects of a VOC XML annotation; `otherwise` says what helps where the file is missing."""
    try:
        return ElementTree.parse(path).findall("object")
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path}: the annotation does not exist; add it or {otherwise}.") from None
    except ElementTree.ParseError as error:
        raise InputError(f"{path}: not valid XML ({error}); replace the file.") from None
