"""Boxes as labels: the seeds of a photograph that has some, and where its classes may be."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from dsrg import box_seeds, cam, tables
from dsrg.boxes import LabelledBoxes, whole_pixels
from dsrg.crf import dense_crf
from dsrg.data.boxed import read_own_boxes
from dsrg.data.voc import Photo
from dsrg.files import pictures
from dsrg.labels import BACKGROUND, Classes
from dsrg.schema import Boxes, Crf


@dataclass(frozen=True)
class Boxed:
    """Makes seeds of boxes. It travels to other processes, as a Run could not."""

    directory: Path
    """Folder of the annotations."""
    classes: Classes
    way: str
    """Of `tables.BOXES`."""
    settings: Boxes
    crf: Crf

    def read(self, photo: Photo, size: Sequence[int]) -> LabelledBoxes | None:
        """The boxes of a photograph (H, W) in whole pixels; None where it has no annotation.

        Raises:
            InputError: as `read_own_boxes`.
        """
        path = self.directory / f"{photo.id}.xml"
        if not os.path.lexists(path):
            return None
        return read_own_boxes(path, (size[1], size[0]), self.classes, photo)

    def seeds(self, photo: Photo, pixels: Tensor) -> np.ndarray | None:
        """The seeds of a photograph (3, H, W) uint8 from its boxes, (H, W) uint8; None where it has none.

        Raises:
            InputError: as `read_own_boxes`.
        """
        picture = pixels.permute(1, 2, 0).numpy()
        found = self.read(photo, picture.shape[:2])
        if found is None:
            return None
        parts = [self.cut(picture, box) for box in found.boxes]
        return box_seeds.paint(parts, found.classes, found.boxes, picture.shape[:2])

    def cut(self, picture: np.ndarray, box: np.ndarray) -> np.ndarray:
        """What each pixel of a box is, (h, w) uint8 as `box_seeds.checked` gives it.

        Args:
            picture: The photograph, (H, W, 3) uint8.
            box: (4,) int64, whole pixels.
        """
        left, top, right, bottom = box_seeds.crop_of(box, picture.shape[:2])
        crop = picture[top:bottom, left:right]
        scale = min(1.0, self.settings.size / max(crop.shape[:2]))
        height, width = (max(1, round(side * scale)) for side in crop.shape[:2])
        small = cv2.resize(crop, (width, height), interpolation=cv2.INTER_AREA)
        # each side by its own factor, for they are rounded to whole pixels
        factors = np.tile([width / crop.shape[1], height / crop.shape[0]], 2)
        edges = np.rint((box - [left, top, left, top]) * factors).astype(np.int64)
        edges[:2] = np.minimum(edges[:2], [width - 1, height - 1])
        edges[2:] = np.maximum(edges[2:], edges[:2] + 1)
        share = tables.part(tables.BOXES[self.way])(small, edges, core=self.settings.core, cuts=self.settings.cuts)
        found = None if share is None else self._states(share, small, self.crf.on_grid(1 / scale, picture.shape[:2]))
        if found is not None:
            found = cv2.resize(found, crop.shape[1::-1], interpolation=cv2.INTER_NEAREST_EXACT)
            found = found[box[1] - top : box[3] - top, box[0] - left : box[2] - left]
        sides = (int(box[3] - box[1]), int(box[2] - box[0]))
        return box_seeds.checked(found, sides, fill=self.settings.fill, core=self.settings.core)

    def _states(self, share: np.ndarray, small: np.ndarray, crf: dict[str, Any]) -> np.ndarray:
        """The states of a crop's pixels, the CRF being asked where the settings want that."""
        settings = self.settings
        cut = functools.partial(box_seeds.states, share, foreground=settings.foreground, background=settings.background)
        if not settings.crf:
            return cut()
        high, low = share > settings.foreground, (share >= settings.background) & (share > 0)
        return cut(object_kept=self._refined(high, small, crf), background_kept=~self._refined(low, small, crf))

    def _refined(self, is_object: np.ndarray, small: np.ndarray, crf: dict[str, Any]) -> np.ndarray:
        """Where the CRF says object, (h, w) bool, of what is object and background to it."""
        tags = torch.ones(1, 2, dtype=torch.bool)
        unary = cam.label_probs(torch.from_numpy(is_object.astype(np.uint8))[None], tags)
        images = torch.from_numpy(small).permute(2, 0, 1)[None].float()
        refined = dense_crf(unary, images, **crf)
        return np.asarray((refined.argmax(dim=1)[0] != BACKGROUND).numpy())

    def weigh(self, photo: Photo, probs: Tensor) -> Tensor:
        """Probabilities (C, h, w) of a training photograph, or of a smaller copy of it, with no class outside of its
        boxes: those of one without boxes as they are."""
        width, height = pictures.read_size(photo.path)
        found = self.read(photo, (height, width))
        if found is None:
            return probs
        size = probs.shape[1], probs.shape[2]
        scale = np.tile([size[1] / width, size[0] / height], 2)
        inside = box_seeds.allowed(found.classes, whole_pixels(found.boxes * scale, size), len(self.classes), size)
        return probs * torch.from_numpy(inside).to(probs.device)

    def clip(self, photo: Photo, mask: np.ndarray) -> np.ndarray:
        """A training photograph's mask (H, W) in which what lies outside of its class's boxes is background, where the
        photograph has boxes: neither a CRF nor an enlargement can bring a class there."""
        found = self.read(photo, mask.shape)
        return mask if found is None else box_seeds.clip(mask, found.classes, found.boxes)
