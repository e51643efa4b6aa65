"""Segments vote on the masks of the training photographs (masks.segments)."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dsrg import segments
from dsrg.data import segments as segment_files
from dsrg.data.voc import Photo
from dsrg.errors import InputError
from dsrg.files import pictures
from dsrg.run import large
from dsrg.schema import Masks


@dataclass(frozen=True)
class Voter:
    """Lets segments vote on masks. It travels to other processes, as a Run could not."""

    settings: Masks

    def require(self, photos: Sequence[Photo]) -> None:
        """Check that there are segments of all the training photographs, and read them once.

        Raises:
            InputError: one has none, or broken ones; or scikit-image, which makes superpixels, is not installed.
        """
        folder = self.settings.segment_dir
        if folder is not None:
            segment_files.require(folder, photos)
        elif importlib.util.find_spec("skimage") is None:
            raise InputError(
                f"masks.segments = {self.settings.segments} needs scikit-image; run python -m pip install "
                "'dsrg[segments]', name a folder of segments in its place, or set it to null."
            )

    def vote(self, photo: Photo, mask: np.ndarray) -> np.ndarray:
        """A training photograph's mask (H, W) after the vote.

        Raises:
            InputError: as `segment_files.read_for`.
        """
        settings, folder = self.settings, self.settings.segment_dir
        if folder is not None:
            found = segment_files.read_for(folder, photo, (mask.shape[1], mask.shape[0]))
            return segments.vote(mask, found, share=settings.segment_share, region_share=settings.region_share)
        # A superpixel is a part, never an object: that it holds all of a class says nothing of the rest of it.
        made = _superpixels_of(photo.path, settings.superpixel)
        return segments.vote(mask, made, share=settings.segment_share)


def superpixels(picture: np.ndarray, side: int) -> np.ndarray:
    """Superpixels by SLIC (Achanta et al., "SLIC Superpixels Compared to State-of-the-Art Superpixel Methods", PAMI
    2012), as scikit-image makes them.

    Args:
        picture: (H, W, 3) uint8. Those of a photograph that is segmented as a copy (`large.copy_of`) are the copy's.
        side: Pixels of the side of a square as large as a superpixel is on average.

    Returns:
        (H, W) whole numbers from 1 on.
    """
    from skimage.segmentation import slic  # an extra

    height, width = picture.shape[:2]
    seen = large.copy_of(picture, picture.shape[2])
    count = max(1, round(height * width / side**2))
    labels: np.ndarray = slic(seen, n_segments=count, compactness=10, start_label=1)
    if seen.shape == picture.shape:
        return labels
    rows, columns = np.arange(height) * seen.shape[0] // height, np.arange(width) * seen.shape[1] // width
    enlarged: np.ndarray = labels[rows[:, None], columns]
    return enlarged


@functools.lru_cache(maxsize=1)
def _superpixels_of(path: Path, side: int) -> list[np.ndarray]:
    """A photograph's superpixels, kept for several masks of it in turn (dsrg compare-masks)."""
    return segments.of_labels(superpixels(np.array(pictures.read_image(path)), side))
