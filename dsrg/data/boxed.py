"""The boxes that a photograph is learnt from: complete, and of the classes that its labels name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from dsrg.boxes import LabelledBoxes, object_boxes, whole_pixels
from dsrg.data.annotations import document, read_boxes_for
from dsrg.data.voc import Photo, VocFolder, read_mask_for
from dsrg.errors import InputError
from dsrg.files import disk, pictures
from dsrg.labels import Classes

DIFFER = "labels differ from boxes"


def read_own_boxes(path: Path, size: tuple[int, int], classes: Classes, photo: Photo) -> LabelledBoxes:
    """Read the boxes of a photograph that is learnt from.

    What lies in no box is taken for background, so a class without a box, or one that the labels deny, is refused.

    Args:
        path: The VOC XML annotation.
        size: (width, height) of the photograph, in pixels.
        classes: The data set's classes.
        photo: The photograph.

    Returns:
        Classes and boxes in the file's order, int64, in whole pixels (see `dsrg.boxes.whole_pixels`).

    Raises:
        InputError: as `read_boxes_for`, or the boxes' classes are not those of the labels.
    """
    found = read_boxes_for(path, size, classes, photo.path)
    sentence = difference(found, classes, photo)
    if sentence:
        raise InputError(f"{path}: {sentence}", DIFFER)
    return LabelledBoxes(found.classes, whole_pixels(found.boxes, size[::-1]))


def difference(found: LabelledBoxes, classes: Classes, photo: Photo) -> str:
    """What the photograph's labels and boxes do not agree on, after the file's name; '' where they do."""
    own, boxed = set(photo.own.tolist()), set(found.classes.tolist())
    for missing, words in (
        (own - boxed, "has no box of '{}', which the photograph's labels name; draw it, or take the label off."),
        (boxed - own, "has a box of '{}', not among the photograph's labels; add the label or remove the box."),
    ):
        if missing:
            return words.format("', '".join(classes.names[index] for index in sorted(missing)))
    return ""


def check_boxes(folder: VocFolder, photos: Sequence[Photo]) -> None:
    """Read the boxes of the photographs that have an annotation, before anything is made of them.

    Raises:
        InputError: as `read_own_boxes`, or there is no annotation at all.
    """
    boxed = annotated(folder, photos)
    if not boxed:
        raise InputError(
            f"{folder.annotation_dir}: holds no annotation of a training photograph, <id>.xml, but seeds.boxes takes "
            "seeds from boxes; set data.annotations, or seeds.boxes=null."
        )
    for photo in boxed:
        read_own_boxes(folder.annotation_path(photo), pictures.read_size(photo.path), folder.classes, photo)


def annotated(folder: VocFolder, photos: Sequence[Photo]) -> list[Photo]:
    """The photographs that have an annotation."""
    return [photo for photo in photos if os.path.lexists(folder.annotation_path(photo))]


def write_mask_boxes(folder: VocFolder, photos: Sequence[Photo], out: Path, smallest: float = 0.001) -> int:
    """Write out/<id>.xml, the boxes of the objects in each photograph's true mask (see `dsrg.boxes.object_boxes`).

    Boxes of classes that the labels do not name are left out, as those labels are all that may be learnt from.

    Args:
        folder: The data set.
        photos: Some of its photographs.
        out: Where the files go. One that is there already must hold the same.
        smallest: As in `object_boxes`, in 0..1.

    Returns:
        The number of boxes.

    Raises:
        InputError: a mask is missing or broken, or shows nothing of the labels; `smallest` is no share; or a file is
            there that would have to be overwritten.
    """
    if not 0 <= smallest < 1:
        raise InputError(f"--smallest {smallest:g}: must lie between 0 and 1, such as 0.001.")
    count = 0
    for photo in tqdm(photos, "boxes", disable=None):
        size = pictures.read_size(photo.path)
        mask = read_mask_for(folder.mask_path(photo), size, len(folder.classes), photo.path)
        found = object_boxes(mask, smallest)
        own = photo.tags[found.classes]
        if not own.any():
            raise InputError(
                f"{folder.mask_path(photo)}: shows no object of the photograph's labels, and so gives no box; correct "
                "the mask or the labels."
            )
        names = [folder.classes.names[index] for index in found.classes[own]]
        content, path = document(photo.path.name, size, names, found.boxes[own]), out / f"{photo.id}.xml"
        if not os.path.lexists(path):
            disk.write_bytes(path, content)
        elif disk.read_bytes(path, "annotation") != content:
            raise InputError(f"{path}: is there already and says something else; choose another --out.")
        count += len(names)
    return count
