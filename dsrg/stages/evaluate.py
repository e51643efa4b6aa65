"""Measuring: predictions of a trained network for the validation split, and any two folders of masks."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from dsrg import distributed, inference, networks, pictures
from dsrg.errors import InputError
from dsrg.labels import Classes
from dsrg.metrics import ConfusionMatrix
from dsrg.run import Run, Stage


def evaluate(run: Run, network: str) -> Stage:
    """Predict the validation split without its image-level labels and measure it.

    Args:
        run: The run.
        network: The stage that trained the network: 'dsrg', 'retrain' or 'supervised'.

    Figures, where ground-truth masks exist: <network>_miou, and <network>_iou by class. The user's own predictions are
    measured and left as they are.
    """
    stage = run.predictions(network)
    if stage.finished:
        return stage
    if stage.foreign:
        stage.require_foreign()
        stage.read_files()
    else:
        _predict(run, network, stage)
    distributed.barrier()
    figures: dict[str, Any] = {}
    if run.folder.has_masks(run.val):
        matrix = compare_folders(
            stage.directory, run.folder.mask_dir, run.classes, [photo.id for photo in run.val], run.cfg.workers
        )
        figures = {f"{network}_miou": matrix.mean_iou(), f"{network}_iou": run.classes.by_name(matrix.iou())}
    stage.finish(figures)
    return stage


def _predict(run: Run, network: str, stage: Stage) -> None:
    run.require(network, f"the stage '{network}'")
    stage.begin()
    model = networks.trained_segmenter(run, network)
    inference.write_masks(
        networks.predictor(run, model, run.cfg.test),
        run.val,
        stage.directory,
        with_tags=False,
        crf=run.cfg.crf.arguments() if run.cfg.test.crf else None,
        device=run.device,
        workers=run.cfg.workers,
    )


def compare_folders(
    predictions: Path, truth: Path, classes: Classes, names: Sequence[str] | None = None, threads: int = 2
) -> ConfusionMatrix:
    """One confusion matrix over all pixels of two folders of masks, <id>.png.

    Args:
        predictions: Folder of predicted masks.
        truth: Folder of ground-truth masks; may hold more than `predictions`.
        classes: The classes.
        names: The ids that must be there; None for all of `predictions`.
        threads: Files to decode at a time.

    Raises:
        InputError: a folder or file is missing or broken, the sizes differ, or an index is out of range.
    """
    for folder in (predictions, truth):
        if not folder.is_dir():
            raise InputError(f"{folder}: the folder of masks does not exist; check --pred and --gt.")
    if names is None:
        names = sorted(path.stem for path in predictions.glob("*.png"))
    if not names:
        raise InputError(f"{predictions}: holds no .png; check --pred.")

    def compare(name: str, matrix: ConfusionMatrix) -> None:
        predicted = pictures.read_mask(pictures.mask_file(predictions, name), len(classes))
        true = pictures.read_mask(pictures.mask_file(truth, name), len(classes))
        if predicted.shape != true.shape:
            sizes = " but ".join(f"{mask.shape[1]} x {mask.shape[0]} pixels" for mask in (predicted, true))
            raise InputError(f"{predictions / name}.png: is {sizes} in {truth}; predict at the photograph's size.")
        try:
            matrix.update(predicted, true)
        except ValueError as error:
            raise InputError(f"{predictions / name}.png: {error}") from None

    def compare_some(some: Sequence[str]) -> ConfusionMatrix:
        matrix = ConfusionMatrix(len(classes))
        for name in some:
            compare(name, matrix)
        return matrix

    total = ConfusionMatrix(len(classes))
    # A few names at a time: handing over a single one to a thread costs a tenth of decoding it.
    batches = [names[start : start + 8] for start in range(0, len(names), 8)]
    with ThreadPoolExecutor(max(1, threads)) as pool:
        for matrix in pool.map(compare_some, batches):
            total += matrix
    return total
