"""Pseudo-labels of the training photographs from the DSRG network."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from dsrg import distributed
from dsrg.data.voc import Photo, read_mask_for
from dsrg.files import pictures
from dsrg.labels import IGNORE
from dsrg.metrics import ConfusionMatrix
from dsrg.run import inference, networks
from dsrg.run.folder import Run, Stage


def make_masks(run: Run) -> Stage:
    """Write masks/<id>.png: several scales, mirror image, CRF at full size, the image's own classes alone; pixels of
    low confidence stay 255 where the configuration says so.

    Figures: masks_coverage, the share of labelled pixels; where ground-truth masks exist, masks_miou, the training
    split's mIoU over the labelled pixels. Both are measured only. The user's own masks are left as they are.
    """
    stage = run.stage("masks")
    if stage.finished:
        return stage
    if stage.foreign:
        run.require("masks", "dsrg make-masks")
    else:
        _write_masks(run, stage)
    distributed.barrier()
    stage.finish(_measure(run, stage) if distributed.is_main() else {})
    return stage


def _write_masks(run: Run, stage: Stage) -> None:
    run.require("dsrg", "dsrg train-dsrg")
    stage.begin()
    model = networks.trained_segmenter(run, "dsrg")
    inference.write_masks(
        networks.predictor(run, model, run.cfg.masks),
        run.train,
        stage.directory,
        with_tags=True,
        crf=run.cfg.crf.arguments() if run.cfg.masks.crf else None,
        crf_tags=run.cfg.crf.tags,
        confidence=run.cfg.masks.confidence,
        device=run.device,
        workers=run.cfg.workers,
    )


def _measure(run: Run, stage: Stage) -> dict[str, float]:
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
