"""Pseudo-labels of the training photographs from the DSRG network."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from dsrg import distributed, inference, networks, storage
from dsrg.data.voc import Photo, read_mask_for
from dsrg.metrics import ConfusionMatrix
from dsrg.run import Run, Stage


def make_masks(run: Run) -> Stage:
    """Write masks/<id>.png: several scales, mirror image, CRF at full size, the image's own classes alone.

    Where ground-truth masks exist, the figure masks_miou holds the training split's mIoU; it is measured only.
    """
    stage = run.stage("masks")
    if stage.finished:
        return stage
    run.require("dsrg", "tools/train_dsrg.py")
    stage.begin()
    model = networks.trained_segmenter(run, "dsrg")
    inference.write_masks(
        networks.predictor(run, model, run.cfg.masks),
        run.train,
        stage.directory,
        with_tags=True,
        crf=run.cfg.crf.arguments() if run.cfg.masks.crf else None,
        crf_tags=run.cfg.crf.tags,
        device=run.device,
        workers=run.cfg.workers,
    )
    distributed.barrier()
    stage.finish({"masks_miou": _measure(run, stage)} if run.folder.has_masks(run.train) else {})
    return stage


def _measure(run: Run, stage: Stage) -> float:
    def compare(photo: Photo) -> ConfusionMatrix:
        matrix = ConfusionMatrix(len(run.classes))
        mask = storage.read_mask(stage.directory / f"{photo.id}.png", len(run.classes))
        matrix.update(mask, read_mask_for(run.folder.mask_path(photo), mask.shape[::-1], len(run.classes), photo.path))
        return matrix

    total = ConfusionMatrix(len(run.classes))
    with ThreadPoolExecutor(max(1, run.cfg.workers)) as pool:
        for matrix in pool.map(compare, run.train):
            total += matrix
    return total.mean_iou()
