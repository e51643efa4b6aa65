"""Ordinary training on dense masks: on pseudo-labels, in rounds, and on ground truth for the upper bound."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dsrg import distributed
from dsrg.data.voc import Photo
from dsrg.errors import InputError
from dsrg.files import disk, pictures
from dsrg.labels import IGNORE
from dsrg.models.deeplab import DeepLab
from dsrg.run import corrections, inference, networks
from dsrg.run.folder import Figures, Run, Stage
from dsrg.run.records import LOG
from dsrg.run.table import CHECKPOINT
from dsrg.run.trainer import train
from dsrg.saliency import weigh_background
from dsrg.schema import Masks
from dsrg.stages.corrected import Gatherer, correct_masks, teaches
from dsrg.stages.masks import measure_masks, saliency_folder, write_masks
from dsrg.stages.seeds import saliency_grey


def retrain(run: Run) -> Stage:
    """Ordinary supervised training on the pseudo-labels in masks/ or, with corrections.teach, on what the true masks
    make of them (`corrected`).

    With retrain.rounds above 1 the trained network makes new masks, on which a new network trains, and so on
    (retrain/rounds/<number>/, its masks in masks/); the last one's checkpoint and log are the stage's.

    Figures, with corrections.teach: those of `corrected.correct_masks`. With several rounds: retrain_rounds, for each
    of them masks_coverage and, where ground-truth masks exist, masks_miou; from the second on agreement, the share of
    pixels that keep the label of the round before.

    Raises:
        InputError: the masks are not there, or retrain.distill or retrain.start needs a DSRG network that is not.
    """

    def prepare(stage: Stage) -> Callable[[], Figures]:
        masks, settings = run.require("masks"), run.cfg.retrain
        model = _new(run)
        if settings.start == "dsrg":
            _load_dsrg(run, "start = dsrg", model)
        teacher = _new(run) if settings.distill else None
        if teacher is not None:
            _load_dsrg(run, f"distill = {settings.distill}", teacher)
            _taught_saliency(run)
        gather = Gatherer(run, masks) if teaches(run) else None

        def work() -> Figures:
            labels, figures = masks, Figures()
            if gather is not None:
                labels, figures = correct_masks(run, gather, stage.directory)
                torch.manual_seed(run.cfg.seed + distributed.rank())  # whether or not the corrector had to be trained
            if settings.rounds > 1:
                return figures | {"retrain_rounds": _rounds(run, stage.directory, labels, model, teacher)}
            _train(run, stage.directory, labels, model, teacher)
            return figures

        return work

    return run.make("retrain", prepare)


def train_supervised(run: Run) -> Stage:
    """The same network and schedule on ground truth: the upper bound that weak supervision is measured against. Its
    length may be its own (supervised.iterations).

    Raises:
        InputError: the training split has no ground-truth masks.
    """

    def prepare(stage: Stage) -> Callable[[], Figures]:
        if not run.folder.has_masks(run.train):
            raise InputError(f"{run.folder.mask_dir}: holds no masks to train on; set supervised.enabled=false.")
        model = _new(run)

        def work() -> Figures:
            masks, length = run.folder.mask_dir, run.cfg.supervised.iterations
            _train(run, stage.directory, masks, model, None, length, corrected=False)
            return {}

        return work

    return run.make("supervised", prepare)


def _new(run: Run) -> DeepLab:
    return networks.new_deeplab(run, run.cfg.retrain.freeze_stages)


def _load_dsrg(run: Run, wanted_by: str, model: nn.Module) -> None:
    if not run.has_network("dsrg"):
        raise InputError(
            f"{run.directory_of('dsrg')}: holds no trained network, and retrain.{wanted_by} needs it; run dsrg "
            "train-dsrg first, or set retrain.distill=0 and retrain.start=fresh to learn from the masks alone."
        )
    networks.load_trained(run, "dsrg", model)


def _taught_saliency(run: Run) -> Path | None:
    """The saliency that the teacher's probabilities are weighed by: that of the masks, where the run makes them."""
    made = run.cfg.masks.saliency and not run.stage("masks").foreign
    return saliency_folder(run) if made else None


def _train(
    run: Run,
    directory: Path,
    masks: Path,
    model: nn.Module,
    teacher: nn.Module | None,
    iterations: int | None = None,
    *,
    corrected: bool = True,
) -> None:
    """Train on a folder of masks, for `iterations` where they are not retraining's; `corrected`, on the true masks of
    corrections.masks in their place where there are some."""
    settings = run.cfg.retrain
    if iterations is not None:
        settings = settings.model_copy(update={"iterations": iterations})
    if teacher is not None:
        teacher = teacher.to(run.device).to(memory_format=torch.channels_last).eval()
    folder = _taught_saliency(run) if teacher is not None else None
    step = functools.partial(
        _mask_step, grid=settings.grid, teacher=teacher, share=settings.distill, made=run.cfg.masks
    )
    true = run.true_masks if corrected else {}
    weight = corrections.weight(run.cfg.corrections, len(true), len(run.train) - len(true))
    train(
        run,
        directory,
        model,
        step,
        settings,
        masks,
        pixels=False,
        true_masks=true,
        true_weight=weight,
        saliency=None if folder is None else functools.partial(saliency_grey, folder),
    )


def _rounds(run: Run, directory: Path, masks: Path, model: DeepLab, teacher: DeepLab | None) -> list[dict[str, Any]]:
    """Train, make masks, train anew on them; until all rounds are done, or the masks hardly change."""
    settings, told = run.cfg.retrain, [measure_masks(run, masks)]
    for number in range(1, settings.rounds + 1):
        place = directory / "rounds" / f"round{number}"
        if number > 1:
            before, masks = masks, place / "masks"
            masks.mkdir(parents=True, exist_ok=True)
            write_masks(run, model.eval(), masks)
            distributed.barrier()
            agreement = _agreement(run, before, masks)
            told.append({"agreement": agreement} | measure_masks(run, masks))
            if distributed.is_main():
                print(f"round {number}: {agreement:.1%} of the masks' pixels keep their label", flush=True)
            if agreement >= settings.settled:
                break
            # As each stage begins; and a round that is resumed begins as one that was not interrupted.
            torch.manual_seed(run.cfg.seed + distributed.rank())
            teacher, model = (model if settings.distill else None), _new(run)
            if settings.start == "dsrg":
                _load_dsrg(run, "start = dsrg", model)
        place.mkdir(parents=True, exist_ok=True)
        _train(run, place, masks, model, teacher)
        last = place
    if distributed.is_main():
        for name in (CHECKPOINT, LOG):
            disk.write_bytes(directory / name, (last / name).read_bytes())
    return told


def _agreement(run: Run, before: Path, after: Path) -> float:
    """The share of pixels that have the same label in two folders of the training photographs' masks."""

    def compare(photo: Photo) -> tuple[int, int]:
        first, second = (pictures.read_mask(folder / f"{photo.id}.png", len(run.classes)) for folder in (before, after))
        return int((first == second).sum()), first.size

    with ThreadPoolExecutor(max(1, run.cfg.workers)) as pool:
        same, pixels = (sum(counts) for counts in zip(*pool.map(compare, run.train), strict=True))
    return float(same / pixels)


def _mask_step(
    model: nn.Module,
    batch: dict[str, Tensor],
    iteration: int,
    *,
    grid: int | None = None,
    teacher: nn.Module | None = None,
    share: float = 0.0,
    made: Masks | None = None,
) -> dict[str, Tensor]:
    """Cross-entropy on the grid, or without one at the input's resolution; 255 is left out.

    Args:
        grid: Pixels for each cell.
        teacher: The network whose probabilities, among the photograph's own classes, make up `share` of the target
            (Hinton et al. 2015, "Distilling the knowledge in a neural network"); None for the masks alone. Where the
            batch's "true" says so, a photograph's mask is all of its target.
        made: How the masks were made: with "saliency" in the batch, the teacher's probabilities are weighed by it as
            theirs were.
    """
    masks = batch["masks"]
    if grid is not None:
        masks = inference.on_grid(masks, [(side - 1) // grid + 1 for side in masks.shape[-2:]])
    logits = inference.enlarge(inference.forward(model, batch).float(), masks.shape[-2:])
    # The mean over no pixel at all would be nan: a crop can hold nothing but padding and void.
    labelled = masks != IGNORE
    count = labelled.sum().clamp(min=1)
    loss = functional.cross_entropy(logits, masks.long(), ignore_index=IGNORE, reduction="sum") / count
    if teacher is not None:
        with torch.no_grad():
            taught = inference.enlarge(inference.forward(teacher, batch).float(), masks.shape[-2:])
            taught = taught.masked_fill(~batch["tags"][:, :, None, None], -torch.inf).softmax(dim=1)
            if made is not None and "saliency" in batch:
                salient = inference.on_grid(batch["saliency"], masks.shape[-2:]) / 255
                taught = weigh_background(taught, salient, made.saliency, made.saliency_odds)
        surprise = functional.cross_entropy(logits, taught, reduction="none")
        if "true" in batch:
            sure = functional.cross_entropy(logits, masks.long(), ignore_index=IGNORE, reduction="none")
            surprise = torch.where(batch["true"][:, None, None], sure, surprise)
        loss = (1 - share) * loss + share * torch.where(labelled, surprise, 0).sum() / count
    return {"loss": loss}
