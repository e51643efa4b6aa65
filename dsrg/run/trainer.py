"""From a run's settings to a training: data, optimiser and schedule for the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from dsrg import distributed
from dsrg.data.training import Cached, ResumableBatches, TrainingSet, joint_transform, make_loader
from dsrg.data.voc import Photo
from dsrg.errors import InputError
from dsrg.run import engine, optim
from dsrg.run.features import frozen_features
from dsrg.run.folder import Run
from dsrg.run.stage import flatten
from dsrg.schema import Config, Train


def train(
    run: Run,
    directory: Path,
    model: nn.Module,
    step: engine.Step,
    settings: Train,
    mask_dir: Path | None,
    pictures: engine.Pictures | None = None,
    *,
    pixels: bool = True,
    true_masks: Mapping[str, Path] | None = None,
    true_weight: int = 1,
    saliency: Callable[[Photo, tuple[int, int]], np.ndarray] | None = None,
) -> None:
    """Train `model` on the run's training split, continuing the folder's checkpoint where there is one.

    Args:
        run: Gives photographs, seed, device.
        directory: For checkpoint and log.
        model: A network with `last_layers`.
        step: The loss of one batch.
        settings: Input size, augmentation, optimiser, schedule.
        mask_dir: Folder of the dense labels to train on; None for image-level labels alone.
        pictures: What to show in TensorBoard.
        pixels: Whether step or pictures look at the photographs beside giving them to the network.
        true_masks: Files of true masks by photograph's id, to train on in place of the labels in `mask_dir`.
        true_weight: How often a photograph of those is drawn where each of the others is drawn once.
        saliency: What gives the step each photograph's saliency, see `TrainingSet`.

    Raises:
        InputError: the batch cannot be divided among the processes, a file is broken, or the loss diverges.
    """
    world = distributed.world_size()
    if settings.batch % world:
        raise InputError(f"batch = {settings.batch} cannot be divided among {world} processes; make it a multiple.")
    model.to(run.device).to(memory_format=torch.channels_last)
    cached = run.cfg.model.cache_features
    transform = joint_transform(
        size=settings.size,
        resize=settings.resize,
        scale=settings.scale,
        mirror=settings.mirror and not cached,
        colour=settings.colour,
    )
    given = Cached(frozen_features(run, model, settings.size).of, settings.mirror, pixels) if cached else None
    samples = TrainingSet(run.train, mask_dir, transform, run.cfg.seed, given, true_masks, saliency)
    engine.fit(
        model,
        step,
        _batches(run, samples, settings, true_weight),
        engine.Course(*_optimiser(model, settings), settings.iterations),
        engine.Journal(
            directory, settings.log_every, settings.checkpoint_every, pictures, run.cfg.trackers, _told(run.cfg)
        ),
        engine.Machine(run.device, run.cfg.amp, run.cfg.compile),
    )


def _batches(
    run: Run, samples: TrainingSet, settings: Train, true_weight: int
) -> Callable[[int], Iterable[engine.Batch]]:
    """From an iteration to this process's share of the batches that follow it."""
    weights = [true_weight if photo.id in samples.true_masks else 1 for photo in run.train]

    def batches(start: int) -> Iterable[engine.Batch]:
        order = ResumableBatches(
            len(samples),
            settings.batch,
            start,
            settings.iterations,
            run.cfg.seed,
            distributed.rank(),
            distributed.world_size(),
            weights,
        )
        return make_loader(samples, order, run.cfg.workers, pin=run.device.type == "cuda")

    return batches


def _told(cfg: Config) -> dict[str, Any]:
    return dict(flatten(cfg.model_dump(mode="json")))


def _optimiser(model: nn.Module, settings: Train) -> tuple[Optimizer, LRScheduler]:
    groups = optim.parameter_groups(
        model,
        model.last_layers,  # type: ignore[arg-type]  # nn.Module types every attribute as a tensor or a module
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        bias_multiplier=settings.bias_multiplier,
        last_multiplier=settings.last_multiplier,
        backbone_multiplier=settings.backbone_multiplier,
    )
    optimizer: Optimizer
    if settings.optimizer == "sgd":
        optimizer = torch.optim.SGD(groups, settings.lr, settings.momentum)
    else:
        optimizer = torch.optim.AdamW(groups, settings.lr)
    scheduler = optim.scheduler(
        optimizer,
        schedule=settings.schedule,
        iterations=settings.iterations,
        step_every=settings.step_every,
        step_gamma=settings.step_gamma,
        power=settings.power,
        warmup=settings.warmup,
    )
    return optimizer, scheduler
