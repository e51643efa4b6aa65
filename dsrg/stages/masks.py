"""Pseudo-labels of the training photographs from the DSRG network."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from torch import Tensor

from dsrg import distributed, tables
from dsrg.data.voc import Photo, read_mask_for
from dsrg.files import pictures
from dsrg.labels import IGNORE
from dsrg.metrics import ConfusionMatrix
from dsrg.run import inference, networks
from dsrg.run.folder import Figures, Run, Stage
from dsrg.saliency import weigh_background
from dsrg.stages.seeds import saliency_of


def make_masks(run: Run) -> Stage:
    """Write masks/<id>.png: several scales, mirror image, CRF at full size, the image's own classes alone; pixels of
    low confidence stay 255 where the configuration says so.

    Figures: masks_coverage, the share of labelled pixels; where ground-truth masks exist, masks_miou, the training
    split's mIoU over the labelled pixels. Both are measured only. The user's own masks are left as they are.
    """

    def prepare(stage: Stage) -> Callable[[], Figures]:
        model, settings = networks.trained_deeplab(run, "dsrg"), run.cfg.masks

        def work() -> Figures:
            inference.write_masks(
                networks.probabilities_of(run, model, settings),
                run.train,
                stage.directory,
                with_tags=True,
                crf=run.cfg.crf.arguments() if settings.crf else None,
                crf_tags=run.cfg.crf.tags,
                confidence=settings.confidence,
                device=run.device,
                workers=run.cfg.workers,
                weigh=weigher(run),
            )
            return {}

        return work

    return run.make("masks", prepare, lambda stage: _measure(run, stage) if distributed.is_main() else {})


def weigher(run: Run) -> Callable[[Photo, Tensor], Tensor] | None:
    """What brings a training photograph's saliency into its probabilities (C, H, W), where the run wants that."""
    folder, weight = run.seeds.saliency_dir, run.cfg.masks.saliency
    if not weight or folder is None or run.cfg.cue not in tables.SALIENCY_CUES:
        return None
    if run.cfg.makes_saliency:
        run.require("saliency")

    def weigh(photo: Photo, probs: Tensor) -> Tensor:
        saliency = saliency_of(folder, photo, (probs.shape[1], probs.shape[2])).to(probs.device)
        return weigh_background(probs[None], saliency, weight)[0]

    return weigh


def _measure(run: Run, stage: Stage) -> Figures:
    known = run.folder.has_masks(run.train)

    def compare(photo: Photo) -> tuple[ConfusionMatrix, int, int]:
        matrix = ConfusionMatrix(len(run.classes))
        mask = pictures.read_mask(stage.directory / f"{photo.id}.png", len(run.classes))
        labelled = mask != IGNORE
        if known:
            path = run.folder.mask_path(photo)
            truth = read_mask_for(path, mask.shape[::-1], len(run.classes), photo.path)
            matrix.update(mask[labelled], truth[labelled])
        return matrix, int(labelled.sum()), mask.size

    total, labelled, pixels = ConfusionMatrix(len(run.classes)), 0, 0
    with ThreadPoolExecutor(max(1, run.cfg.workers)) as pool:
        for matrix, some, all_of_it in pool.map(compare, run.train):
            total += matrix
            labelled += some
            pixels += all_of_it
    figures = {"masks_coverage": labelled / pixels}
    return figures | {"masks_miou": total.mean_iou()} if known else figures
