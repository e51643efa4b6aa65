"""Predictions of a trained network for the validation split, measured."""

from __future__ import annotations

from collections.abc import Callable

from dsrg.data.mask_folders import compare_folders
from dsrg.run import inference, networks
from dsrg.run.folder import Figures, Run, Stage
from dsrg.run.table import predictions_of


def evaluate(run: Run, network: str) -> Stage:
    """Predict the validation split without its image-level labels and measure it.

    Args:
        run: The run.
        network: The stage that trained the network: 'dsrg', 'retrain' or 'supervised'.

    Figures, where ground-truth masks exist: <network>_miou, and <network>_iou by class. The user's own predictions are
    measured and left as they are.
    """

    def prepare(stage: Stage) -> Callable[[], Figures]:
        probs_of, settings = networks.predictor(run, network), run.cfg.test

        def work() -> Figures:
            inference.write_masks(
                probs_of,
                run.val,
                stage.directory,
                with_tags=False,
                crf=run.cfg.crf.arguments() if settings.crf else None,
                device=run.device,
                workers=run.cfg.workers,
            )
            return {}

        return work

    def measure(stage: Stage) -> Figures:
        if not run.folder.has_masks(run.val):
            return {}
        matrix = compare_folders(
            stage.directory, run.folder.mask_dir, run.classes, [photo.id for photo in run.val], run.cfg.workers
        )
        return {f"{network}_miou": matrix.mean_iou(), f"{network}_iou": run.classes.by_name(matrix.iou())}

    return run.make(predictions_of(network), prepare, measure)


def require_gate(run: Run, network: str) -> None:
    """See before a network is trained that the classifier is there, where it gates the predictions that follow.

    Raises:
        InputError: it is not, and the predictions are still to be made.
    """
    if run.cfg.test.gate:
        stage = run.stage(predictions_of(network))
        if not (stage.foreign or stage.finished):
            run.require("classifier")
