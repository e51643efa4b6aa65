"""What a classifier's map lies on: its mass, and its high region, over the labels of a mask.

Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, Sect. 4.2, count which objects of a
scene overlap the region where the scene's map is high. The same sums say whether a class's map lies on the class's
object or on its surroundings.

Shapes: N maps of one photograph, h x w cells; H x W pixels; L labels, background first.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor
from torch.nn import functional

from dsrg.data.checked import check_files
from dsrg.data.classes import read_classes
from dsrg.data.voc import Photo, read_mask_for
from dsrg.errors import InputError
from dsrg.files import pictures
from dsrg.labels import IGNORE, Classes
from dsrg.models.acol import ACoL
from dsrg.models.classifier import Classifier
from dsrg.models.own_head import OwnHead
from dsrg.run import networks
from dsrg.run.folder import Run
from dsrg.study.show_cams import method_of, raw_maps


class LabelSums(NamedTuple):
    """Sums over the pixels of each label of one photograph; void pixels are in none."""

    mass: np.ndarray
    """(N, L) float64, the rectified map."""
    region: np.ndarray
    """(N, L) int64, pixels of the high region."""
    area: np.ndarray
    """(L,) int64, pixels."""


@dataclass(frozen=True)
class LabelSet:
    """Masks, and what their labels are called."""

    directory: Path
    classes: Classes

    def read(self, photo: Photo) -> np.ndarray | None:
        """The photograph's mask (H, W) uint8; None where there is none.

        Raises:
            InputError: it is broken, holds an index out of range, or is of another size than the photograph.
        """
        path = pictures.mask_file(self.directory, photo.id)
        if not path.is_file():
            return None
        return read_mask_for(path, pictures.read_size(photo.path), len(self.classes), photo.path)


class MapMass:
    """A trained classifier's maps, and what they lie on.

    Args:
        run: A run whose classifier is trained.
        masks: Folder of other masks than the data set's own, <id>.png: of the objects of scenes, say.
        labels: Their class list, a file or a preset's name; given with `masks`.
        method: One of `tables.MAPS`; None for ACoL's where that is the head, and else CAM.
        split: The split; None for data.val_split.
        threshold: The high region of a map is above this share of its maximum, in [0, 1).

    Attributes:
        photos: The photographs of the split.
        masked: Those of them that have a mask.

    Raises:
        InputError: the classifier is not trained or lacks the method, no photograph has a mask, a file is missing or
            broken, or an argument does not fit.
    """

    def __init__(
        self, run: Run, masks: Path | None, labels: str | None, method: str | None, split: str | None, threshold: float
    ) -> None:
        if not 0 <= threshold < 1:
            raise InputError(f"--threshold {threshold}: give a share of the map's maximum, from 0 to below 1.")
        self.run = run
        self.method = method_of(run, method)
        self.split = split or run.cfg.data.val_split
        self.threshold = threshold
        self.source = label_set(run, masks, labels)
        run.require("classifier")
        if self.split == run.cfg.data.val_split:
            self.photos = run.val
        else:
            self.photos = run.folder.photos(self.split)
            check_files(run.folder, self.photos, masks=None)  # the validation split has been read by Run.start
        self.masked = with_masks(self.source, self.photos)

    @functools.cached_property
    def model(self) -> Classifier | ACoL | OwnHead:
        """The classifier, read when the first photograph asks for it."""
        return networks.trained_classifier(self.run)

    def sums(self, photo: Photo, labels: Sequence[int]) -> LabelSums:
        """Those of the maps of some classes, 0..K-1, of a photograph that has a mask."""
        maps = raw_maps(self.run, self.model, photo, labels, self.method)
        return label_sums(maps, self.mask(photo), len(self.source.classes), self.threshold)

    def large(self, photo: Photo, label: int) -> np.ndarray:
        """A class's map, rectified, at the photograph's size, (H, W) float32."""
        (large,) = enlarged(raw_maps(self.run, self.model, photo, [label], self.method), self.mask(photo).shape)
        found: np.ndarray = large
        return found

    def mask(self, photo: Photo) -> np.ndarray:
        """The mask (H, W) uint8 of a photograph that has one."""
        mask = self.source.read(photo)
        if mask is None:
            raise InputError(f"{self.source.directory}: the mask of '{photo.id}' is gone; put it back.")
        return mask


def label_set(run: Run, masks: Path | None, labels: str | None) -> LabelSet:
    """The data set's own masks, or others.

    Args:
        run: Whose photographs they are of.
        masks: Folder of <id>.png; None for the data set's.
        labels: Their class list, a file or a preset's name; given with `masks`.

    Raises:
        InputError: one of the two is given without the other, or the folder or the list is missing or broken.
    """
    if (masks is None) != (labels is None):
        lacking, other = ("--labels", "--masks") if labels is None else ("--masks", "--labels")
        raise InputError(f"{other}: needs {lacking} too: a folder of masks, and the list of their classes.")
    if masks is None or labels is None:
        return LabelSet(run.folder.mask_dir, run.classes)
    if not masks.is_dir():
        raise InputError(f"{masks}: the folder of masks does not exist; check --masks.")
    return LabelSet(masks, read_classes(labels))


def with_masks(source: LabelSet, photos: Sequence[Photo]) -> list[Photo]:
    """The photographs that have a mask; all masks are read here once, before any map is made.

    Raises:
        InputError: as `LabelSet.read`; or no photograph has a mask.
    """
    found = [photo for photo in photos if source.read(photo) is not None]
    if not found:
        raise InputError(
            f"{source.directory}: holds no mask of the {len(photos)} photographs, and masks tell what a map lies on; "
            "name a folder of others with --masks, and their classes with --labels."
        )
    return found


def label_sums(maps: Tensor, mask: np.ndarray, num_labels: int, fraction: float) -> LabelSums:
    """Rectified maps summed over each label's pixels.

    The maps are rectified, then enlarged to the mask, bilinearly, corner on corner. The high region is what is above a
    fraction of the map's maximum over the photograph; a map without a positive value has neither region nor mass.

    Args:
        maps: (N, h, w) floating point, any range.
        mask: (H, W) uint8 of label indices, 255 = void.
        num_labels: L.
        fraction: Of the maximum, in [0, 1).

    Raises:
        ValueError: a shape or the fraction is out of range.
    """
    if maps.ndim != 3 or mask.ndim != 2 or not 0 <= fraction < 1:
        raise ValueError(f"maps {tuple(maps.shape)}, mask {mask.shape} and fraction {fraction} do not fit.")
    large = enlarged(maps, mask.shape)
    regions = high_regions(large, fraction)
    labels = mask.ravel()

    def over(weights: np.ndarray) -> np.ndarray:
        # 256 bins whatever the mask holds, so that those of void can be cut off.
        sums: np.ndarray = np.bincount(labels, weights, IGNORE + 1)[:num_labels]
        return sums

    rows = (len(maps), num_labels)
    mass = np.array([over(one.ravel()) for one in large.astype(np.float64)]).reshape(rows)
    region = np.array([over(one.ravel()) for one in regions]).reshape(rows)
    return LabelSums(mass, region.astype(np.int64), over(np.ones(labels.size)).astype(np.int64))


def enlarged(maps: Tensor, size: tuple[int, ...]) -> np.ndarray:
    """Maps (N, h, w) rectified and brought to (N, *size), bilinear, corner on corner, float32."""
    positive = maps.detach().float().relu()[:, None]
    if not len(positive):
        return np.zeros((0, *size), np.float32)
    large = functional.interpolate(positive, tuple(size), mode="bilinear", align_corners=True)
    return np.asarray(large[:, 0].cpu().numpy())


def high_regions(large: np.ndarray, fraction: float) -> np.ndarray:
    """(N, H, W) bool, where each map (N, H, W), not negative, is above a fraction of its maximum."""
    peak = large.max(axis=(1, 2), keepdims=True, initial=0)
    high: np.ndarray = (large > fraction * peak) & (peak > 0)
    return high


def shares(sums: np.ndarray) -> np.ndarray:
    """Each row of sums (..., L) divided by its total; nan where that is 0."""
    total = sums.sum(axis=-1, keepdims=True)
    divided: np.ndarray = np.divide(sums, total, out=np.full(sums.shape, np.nan), where=total > 0)
    return divided
