"""Ordinary training on dense masks: on the pseudo-labels, and on ground truth for the upper bound."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from dsrg.errors import InputError
from dsrg.labels import IGNORE
from dsrg.run import inference, networks
from dsrg.run.folder import Figures, Run, Stage
from dsrg.run.trainer import train


def retrain(run: Run) -> Stage:
    """Ordinary supervised training on the pseudo-labels in masks/."""
    return _train_on_masks(run, "retrain", lambda: run.require("masks"))


def train_supervised(run: Run) -> Stage:
    """The same network and schedule on ground truth: the upper bound that weak supervision is measured against. Its
    length may be its own (supervised.iterations).

    Raises:
        InputError: the training split has no ground-truth masks.
    """

    def truth() -> Path:
        if not run.folder.has_masks(run.train):
            raise InputError(f"{run.folder.mask_dir}: holds no masks to train on; set supervised.enabled=false.")
        return run.folder.mask_dir

    return _train_on_masks(run, "supervised", truth)


def _train_on_masks(run: Run, name: str, masks: Callable[[], Path]) -> Stage:
    def prepare(stage: Stage) -> Callable[[], Figures]:
        mask_dir, model, settings = masks(), networks.new_deeplab(run), run.cfg.retrain
        if name == "retrain" and settings.start == "dsrg":
            networks.load_trained(run, "dsrg", model)
        if name == "supervised" and run.cfg.supervised.iterations is not None:
            settings = settings.model_copy(update={"iterations": run.cfg.supervised.iterations})

        teacher = _teacher(run) if name == "retrain" and settings.distill else None

        def work() -> Figures:
            step = functools.partial(_mask_step, grid=settings.grid, teacher=teacher, share=settings.distill)
            train(run, stage, model, step, settings, mask_dir, pixels=False)
            return {}

        return work

    return run.make(name, prepare)


def _teacher(run: Run) -> nn.Module:
    """The DSRG network, frozen where the new one is: it reads the same cached features."""
    model = networks.new_deeplab(run)
    networks.load_trained(run, "dsrg", model)
    return model.to(run.device).to(memory_format=torch.channels_last).eval()


def _mask_step(
    model: nn.Module,
    batch: dict[str, Tensor],
    iteration: int,
    *,
    grid: int | None = None,
    teacher: nn.Module | None = None,
    share: float = 0.0,
) -> dict[str, Tensor]:
    """Cross-entropy on the grid, or without one at the input's resolution; 255 is left out.

    Args:
        grid: Pixels for each cell.
        teacher: The network whose probabilities, among the photograph's own classes, make up `share` of the target
            (Hinton et al. 2015, "Distilling the knowledge in a neural network"); None for the masks alone.
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
        surprise = functional.cross_entropy(logits, taught, reduction="none")
        loss = (1 - share) * loss + share * torch.where(labelled, surprise, 0).sum() / count
    return {"loss": loss}
