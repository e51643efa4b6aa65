"""PASCAL VOC 2012 with the masks of SBD (Hariharan et al. 2011): the official lists, and train_aug made from them."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm import tqdm

from dsrg.data.annotations import read_label_names
from dsrg.data.ids import check_id, read_ids
from dsrg.data.matlab import read_mat
from dsrg.data.prepare import Item, Plan
from dsrg.errors import InputError
from dsrg.files import pictures
from dsrg.labels import BACKGROUND, IGNORE, VOC, Classes

TRAIN_AUG_SIZE = 10582
"""Photographs of train_aug with the official lists (Chen et al., DeepLab, ICLR 2015)."""
LabelSource = Literal["xml", "masks"]


def train_aug(
    sbd_train: Iterable[str], sbd_val: Iterable[str], voc_train: Iterable[str], voc_val: Iterable[str]
) -> list[str]:
    """The training photographs of the papers: all of SBD and VOC's train, without VOC's val, which measures.

    Returns:
        Sorted ids.
    """
    return sorted((set(sbd_train) | set(sbd_val) | set(voc_train)) - set(voc_val))


def find_voc(directory: Path) -> Path:
    """The folder of VOC 2012 that holds JPEGImages: `directory`, or where the archive's folders put it below.

    Raises:
        InputError: it is in none of these.
    """
    for folder in (directory, directory / "VOC2012", directory / "VOCdevkit/VOC2012"):
        if (folder / "JPEGImages").is_dir() and (folder / "ImageSets/Segmentation").is_dir():
            return folder
    raise InputError(
        f"{directory}: holds no VOCdevkit/VOC2012 with JPEGImages and ImageSets/Segmentation; check --voc, or add "
        "--download."
    )


def find_sbd(directory: Path) -> Path:
    """The folder of SBD that holds cls: `directory` (as torchvision unpacks it), or benchmark_RELEASE/dataset below it.

    Raises:
        InputError: it is in none of these.
    """
    for folder in (directory, directory / "dataset", directory / "benchmark_RELEASE/dataset"):
        if (folder / "cls").is_dir() and (folder / "train.txt").is_file() and (folder / "val.txt").is_file():
            return folder
    raise InputError(
        f"{directory}: holds no benchmark_RELEASE/dataset with cls, train.txt and val.txt; check --sbd, or add "
        "--download."
    )


def read_sbd_mask(path: Path) -> np.ndarray:
    """Read the class mask of an SBD annotation: MATLAB's struct GTcls, field Segmentation.

    Returns:
        (H, W) uint8 in 0..20; SBD marks no void.

    Raises:
        InputError: the file is missing or broken, or holds another index.
    """
    if not path.exists():
        raise InputError(f"{path}: the annotation of SBD does not exist; unpack the archive anew.")
    struct = read_mat(path, "GTcls", "annotation of SBD")
    try:
        mask = np.asarray(struct[0, 0]["Segmentation"])
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a readable annotation of SBD ({error}); unpack the archive anew.") from None
    if mask.ndim != 2 or mask.dtype.kind not in "ui" or mask.size == 0 or mask.max() >= len(VOC):
        raise InputError(
            f"{path}: its Segmentation is no mask of the classes 0 to {len(VOC) - 1}; unpack the archive anew."
        )
    return mask.astype(np.uint8)


def plan_voc(voc: Path, sbd: Path | None = None, *, label_source: LabelSource = "xml", threads: int = 4) -> Plan:
    """Plan the data set of VOC 2012's segmentation lists, and of train_aug where SBD is given.

    Masks are VOC's own where there is one, else SBD's.

    Args:
        voc: Folder of VOC 2012, see `find_voc`.
        sbd: Folder of SBD, see `find_sbd`; None for VOC's train and val alone.
        label_source: Read the image-level labels from VOC's XML annotations, or from the masks.
        threads: Files to read at a time.

    Raises:
        InputError: a list, photograph, annotation or mask is missing or broken.
    """
    voc = find_voc(voc)
    sets = voc / "ImageSets/Segmentation"
    splits = {name: _read_list(sets / f"{name}.txt") for name in ("train", "val")}
    notes = []
    if sbd is not None:
        sbd = find_sbd(sbd)
        train, val = (_read_list(sbd / f"{name}.txt") for name in ("train", "val"))
        splits["train_aug"] = train_aug(train, val, splits["train"], splits["val"])
        count = len(splits["train_aug"])
        if count != TRAIN_AUG_SIZE:
            notes.append(f"train_aug has {count} photographs; with the official lists it has {TRAIN_AUG_SIZE}.")
    ids = sorted({name for names in splits.values() for name in names})
    find = functools.partial(_plan_item, voc, sbd, label_source)
    with ThreadPoolExecutor(threads) as pool:
        items = list(tqdm(pool.map(find, ids), "labels", len(ids), disable=None))
    source = {"kind": "voc", "voc": str(voc.resolve()), "sbd": str(sbd.resolve()) if sbd else None}
    return Plan(VOC, items, splits, {**source, "label_source": label_source}, notes)


def _read_list(path: Path) -> list[str]:
    """Sorted ids of a list."""
    ids = read_ids(path, "list")
    if not ids:
        raise InputError(f"{path}: the list is empty; unpack the archive anew.")
    return sorted({check_id(name, path) for name in ids})


def _plan_item(voc: Path, sbd: Path | None, label_source: LabelSource, name: str) -> Item:
    mask = voc / f"SegmentationClass/{name}.png"
    photo, annotation = voc / f"JPEGImages/{name}.jpg", voc / f"Annotations/{name}.xml"
    from_sbd = not mask.is_file() and sbd is not None
    mat = sbd / f"cls/{name}.mat" if sbd is not None else mask
    if not photo.is_file() and sbd is not None and (sbd / f"img/{name}.jpg").is_file():
        photo = sbd / f"img/{name}.jpg"
    if not photo.is_file():
        raise InputError(f"{photo}: the photograph does not exist, but a list names it; unpack the archive anew.")
    if not (mat if from_sbd else mask).is_file():
        raise InputError(
            f"{mat if from_sbd else mask}: the mask does not exist, but a list names it; unpack the archive anew."
        )
    if label_source == "xml":
        known = Classes(VOC, "the classes of VOC")
        found = read_label_names(annotation, "add --label-source masks")
        indices = {known.index(label, str(annotation)) for label in found}
    else:
        pixels = read_sbd_mask(mat) if from_sbd else pictures.read_mask(mask, len(VOC))
        indices = {int(index) for index in np.unique(pixels)} - {BACKGROUND, IGNORE}
    if not indices:
        raise InputError(
            f"{annotation if label_source == 'xml' else mask}: shows no object; every photograph needs one."
        )
    own = tuple(VOC[index] for index in sorted(indices))
    made = functools.partial(read_sbd_mask, mat) if from_sbd else mask
    return Item(name, photo, own, made, None, annotation if annotation.is_file() else None)
