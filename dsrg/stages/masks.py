"""Pseudo-labels of the training photographs from the DSRG network."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from torch import Tensor

from dsrg import distributed, tables
from dsrg.data.voc import Photo, read_mask_for
from dsrg.files import pictures
from dsrg.labels import IGNORE
from dsrg.metrics import ConfusionMatrix
from dsrg.models.deeplab import DeepLab
from dsrg.run import inference, networks
from dsrg.run.boxing import Boxed
from dsrg.run.folder import Figures, Run, Stage
from dsrg.run.segmenting import Voter
from dsrg.saliency import weigh_background
from dsrg.stages.seeds import saliency_of


def make_masks(run: Run) -> Stage:
    """Write masks/<id>.png: several scales, mirror image, CRF at full size, the image's own classes alone; after a vote
    of segments where the configuration names some; each class inside of its boxes where the seeds are cut from such;
    pixels of low confidence stay 255 where the configuration says so, unless a segment decides on them.

    Figures: masks_coverage, the share of labelled pixels; where ground-truth masks exist, masks_miou, the training
    split's mIoU over the labelled pixels. Both are measured only. The user's own masks are left as they are.
    """

    def prepare(stage: Stage) -> Callable[[], Figures]:
        model = networks.trained_deeplab(run, "dsrg")
        require_segments(run)

        def work() -> Figures:
            write_masks(run, model, stage.directory)
            return {}

        return work

    return run.make("masks", prepare, lambda stage: measure_masks(run, stage.directory))


def write_masks(run: Run, model: DeepLab, directory: Path) -> None:
    """Write directory/<id>.png of each training photograph that has none yet, as the section masks says.

    Args:
        run: The run.
        model: The network that they come from, in eval mode on the run's device.
        directory: Where they go.
    """
    settings = run.cfg.masks
    inference.write_masks(
        networks.probabilities_of(run, model, settings),
        run.train,
        directory,
        with_tags=True,
        crf=run.cfg.crf.arguments() if settings.crf else None,
        crf_tags=run.cfg.crf.tags,
        confidence=settings.confidence,
        device=run.device,
        workers=run.cfg.workers,
        weigh=weigher(run),
        after=after_crf(run),
    )


def weigher(run: Run) -> Callable[[Photo, Tensor], Tensor] | None:
    """What brings a training photograph's saliency and boxes into its probabilities (C, H, W), where the run wants
    that."""
    by_saliency, boxed = _saliency_weigher(run), _boxed(run)
    if by_saliency is None or boxed is None:
        return by_saliency if boxed is None else boxed.weigh
    return lambda photo, probs: boxed.weigh(photo, by_saliency(photo, probs))


def require_segments(run: Run) -> None:
    """Check that the segments that vote on masks not yet made are there and sound, if any vote.

    Raises:
        InputError: a file is missing or broken; or scikit-image, which makes superpixels, is missing.
    """
    voter, stage = _voter(run), run.stage("masks")
    if voter is not None and distributed.is_main() and not stage.foreign and stage.missing():
        voter.require(run.train)


def after_crf(run: Run) -> Callable[[Photo, np.ndarray], np.ndarray] | None:
    """What happens to a training photograph's mask (H, W) after the CRF, where the run wants anything: segments vote,
    then each class is kept inside of its boxes."""
    voter, boxed = _voter(run), _boxed(run)
    steps = [*([] if voter is None else [voter.vote]), *([] if boxed is None else [boxed.clip])]
    return functools.partial(_in_turn, steps) if steps else None


def _in_turn(steps: Sequence[Callable[[Photo, np.ndarray], np.ndarray]], photo: Photo, mask: np.ndarray) -> np.ndarray:
    for step in steps:
        mask = step(photo, mask)
    return mask


def _voter(run: Run) -> Voter | None:
    return None if run.cfg.masks.segments is None else Voter(run.cfg.masks)


def _boxed(run: Run) -> Boxed | None:
    return run.boxed if run.cfg.masks.boxes else None


def saliency_folder(run: Run) -> Path | None:
    """The folder of the saliency maps that the run uses; None where it uses none."""
    folder = run.seeds.saliency_dir
    if folder is None or run.cfg.cue not in tables.SALIENCY_CUES:
        return None
    return run.require("saliency") if run.cfg.makes_saliency else folder


def _saliency_weigher(run: Run) -> Callable[[Photo, Tensor], Tensor] | None:
    weight, odds = run.cfg.masks.saliency, run.cfg.masks.saliency_odds
    folder = saliency_folder(run) if weight else None
    if folder is None:
        return None

    def weigh(photo: Photo, probs: Tensor) -> Tensor:
        saliency = saliency_of(folder, photo, (probs.shape[1], probs.shape[2])).to(probs.device)
        return weigh_background(probs[None], saliency, weight, odds)[0]

    return weigh


def measure_masks(run: Run, directory: Path, photos: Sequence[Photo] | None = None) -> Figures:
    """masks_coverage and, where ground-truth masks exist, masks_miou of a folder of masks, of all training photographs
    or of some; nothing in processes but the first."""
    photos = run.train if photos is None else photos
    if not distributed.is_main() or not photos:
        return {}
    known = run.folder.has_masks(photos)

    def compare(photo: Photo) -> tuple[ConfusionMatrix, int, int]:
        matrix = ConfusionMatrix(len(run.classes))
        mask = pictures.read_mask(directory / f"{photo.id}.png", len(run.classes))
        labelled = mask != IGNORE
        if known:
            path = run.folder.mask_path(photo)
            truth = read_mask_for(path, mask.shape[::-1], len(run.classes), photo.path)
            matrix.update(mask[labelled], truth[labelled])
        return matrix, int(labelled.sum()), mask.size

    total, labelled, pixels = ConfusionMatrix(len(run.classes)), 0, 0
    with ThreadPoolExecutor(max(1, run.cfg.workers)) as pool:
        for matrix, some, all_of_it in pool.map(compare, photos):
            total += matrix
            labelled += some
            pixels += all_of_it
    figures = {"masks_coverage": labelled / pixels}
    return figures | {"masks_miou": total.mean_iou()} if known else figures
