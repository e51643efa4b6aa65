"""Stage 1: the multi-label classifier."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dsrg import distributed, metrics, networks
from dsrg.data.training import TrainingSet, joint_transform, make_loader
from dsrg.inference import normalise
from dsrg.models.classifier import Classifier
from dsrg.run import Run, Stage
from dsrg.trainer import train


def classify(run: Run) -> Stage:
    """Train the classifier and measure its mean average precision on the validation split.

    Writes classifier/checkpoint.pt, metrics.jsonl, TensorBoard events; figures: classifier_map, and
    classifier_ap by class.
    """
    stage = run.stage("classifier")
    if stage.finished:
        return stage
    run.seed()
    model = networks.classifier(run)
    stage.begin()  # after the weights are read: a wrong path leaves nothing behind
    train(run, stage, model, _step, run.cfg.classifier, mask_dir=None)
    precision = _average_precision(run, model)
    names = run.classes.foreground
    stage.finish(
        {
            "classifier_map": float(np.nanmean(precision)),
            "classifier_ap": {name: float(value) for name, value in zip(names, precision, strict=True)},
        }
    )
    return stage


def _step(model: nn.Module, batch: dict[str, Tensor], iteration: int) -> dict[str, Tensor]:
    """Binary cross-entropy of each foreground class (background is always there and has no output)."""
    logits = model(normalise(batch["images"]))
    return {"loss": functional.binary_cross_entropy_with_logits(logits.float(), batch["tags"][:, 1:].float())}


@torch.no_grad()
def _average_precision(run: Run, model: Classifier) -> np.ndarray:
    settings = run.cfg.classifier
    model.eval()
    still = joint_transform(size=settings.size, resize="warp", scale=(1, 1), mirror=False, colour=0)
    samples = TrainingSet(run.val, None, still, run.cfg.seed)
    mine = [(0, index) for index in distributed.share(range(len(samples)))]
    batches = [mine[first : first + settings.batch] for first in range(0, len(mine), settings.batch)]
    loader = make_loader(samples, batches, run.cfg.workers, pin=run.device.type == "cuda")
    scores, tags = [], []
    for batch in loader:
        scores.append(model(normalise(batch["images"].to(run.device, non_blocking=True))).float().cpu())
        tags.append(batch["tags"][:, 1:])
    parts = distributed.gather((torch.cat(scores), torch.cat(tags)))
    return metrics.average_precision(*(torch.cat(part) for part in zip(*parts, strict=True)))
