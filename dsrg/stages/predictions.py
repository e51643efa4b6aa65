"""Measuring: predictions of a trained network for the validation split, and any two folders of masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dsrg.data.mask_folders import Colours, Pair, read_any_mask
from dsrg.errors import InputError
from dsrg.files import pictures
from dsrg.labels import BACKGROUND, IGNORE, Classes
from dsrg.metrics import ConfusionMatrix
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


def compare_folders(
    predictions: Path, truth: Path, classes: Classes, names: Sequence[str], threads: int = 2, *, objects: bool = True
) -> ConfusionMatrix:
    """One confusion matrix over all pixels of two folders of masks, <id>.png.

    Args:
        predictions: Folder of predicted masks.
        truth: Folder of ground-truth masks; may hold more.
        classes: The classes.
        names: The ids that must be there.
        threads: Files to decode at a time.
        objects: Refuse a truth that shows no object.

    Raises:
        InputError: a file is missing or broken, the sizes differ, an index is out of range, or no true mask shows an
            object.
    """
    pairs = [Pair(pictures.mask_file(predictions, name), pictures.mask_file(truth, name)) for name in names]
    matrix = compare_masks(pairs, classes, threads=threads)
    if objects:
        require_objects(matrix, truth)
    return matrix


def require_objects(matrix: ConfusionMatrix, truth: Path) -> None:
    """Refuse to measure with a truth in which no pixel is an object's: whatever is predicted, the mean says nothing.

    Raises:
        InputError: the counts of `matrix` have background alone, or nothing.
    """
    if not matrix.counts[BACKGROUND + 1 :].any():
        raise InputError(
            f"{truth}: no counted pixel of the true masks is an object's, they hold {BACKGROUND} and {IGNORE} (void) "
            "alone; write each object's class index, 1 for the first class, in place of 255.",
            "no object",
        )


def compare_masks(
    pairs: Sequence[Pair], classes: Classes, colours: Colours | None = None, *, threads: int = 2
) -> ConfusionMatrix:
    """One confusion matrix over all pixels of pairs of masks.

    Args:
        pairs: The files.
        classes: The classes.
        colours: What the colours of masks in colour mean; None where there are to be none.
        threads: Files to decode at a time.

    Raises:
        InputError: a file is missing or broken, the sizes differ, or an index is out of range.
    """

    def compare(pair: Pair, matrix: ConfusionMatrix) -> None:
        predicted, true = (read_any_mask(path, classes, colours) for path in pair)
        if predicted.shape != true.shape:
            sizes = " but ".join(f"{mask.shape[1]} x {mask.shape[0]} pixels" for mask in (predicted, true))
            raise InputError(f"{pair.predicted}: is {sizes} in {pair.true}; predict at the photograph's size.")
        try:
            matrix.update(predicted, true)
        except ValueError as error:
            raise InputError(f"{pair.predicted}: {error}") from None

    def compare_some(some: Sequence[Pair]) -> ConfusionMatrix:
        matrix = ConfusionMatrix(len(classes))
        for pair in some:
            compare(pair, matrix)
        return matrix

    total = ConfusionMatrix(len(classes))
    # A few at a time: handing over a single one to a thread costs a tenth of decoding it.
    batches = [pairs[start : start + 8] for start in range(0, len(pairs), 8)]
    with ThreadPoolExecutor(max(1, threads)) as pool:
        for matrix in pool.map(compare_some, batches):
            total += matrix
    return total
