"""Stage 1: the classifier, of several labels a photograph or of one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dsrg import distributed, metrics
from dsrg.data.training import TrainingSet, joint_transform, make_loader
from dsrg.errors import InputError
from dsrg.run import networks
from dsrg.run.folder import Figures, Run, Stage
from dsrg.run.inference import forward, normalise
from dsrg.run.trainer import train

TOP = 5
"""The second of the classification errors counts the photographs whose class is not among that many likeliest."""


def classify(run: Run) -> Stage:
    """Train the classifier and measure it on the validation split.

    Writes classifier/checkpoint.pt, metrics.jsonl, TensorBoard events. Figures: classifier_map, the mean average
    precision, and classifier_ap by class; with loss = single_label also classifier_top1_error and, where there are
    more than five classes, classifier_top5_error.

    Raises:
        InputError: loss = single_label, but a photograph has several labels.
    """
    settings = run.cfg.classifier

    def prepare(stage: Stage) -> Callable[[], Figures]:
        if settings.loss == "single_label":
            _refuse_several_labels(run)
        model = networks.new_classifier(run)
        step = functools.partial(_step, head=settings.head, loss=settings.loss)

        def work() -> Figures:
            train(run, stage.directory, model, step, settings, mask_dir=None, pixels=False)
            return _figures(*_scores(run, model), run.classes.foreground, settings.loss)

        return work

    return run.make("classifier", prepare)


def label_loss(logits: Tensor, tags: Tensor, loss: str) -> Tensor:
    """Classification loss, the mean over the batch (background is always there and has no logit).

    Args:
        logits: (B, K).
        tags: (B, C) bool; with "single_label" one foreground class each.
        loss: "multi_label", the binary cross-entropy of each class's sigmoid, mean over the classes too; or
            "single_label", the cross-entropy of the softmax.
    """
    own = tags[:, 1:].float()
    if loss == "single_label":
        return functional.cross_entropy(logits.float(), own.argmax(dim=1))
    return functional.binary_cross_entropy_with_logits(logits.float(), own)


def top_error(scores: Tensor, tags: Tensor, top: int) -> float:
    """Share of the photographs whose class is not among the `top` with the largest scores.

    Args:
        scores: (N, K).
        tags: (N, K) bool, one class each.
        top: At most K.
    """
    right = tags.gather(1, scores.topk(top, dim=1).indices).any(dim=1)
    return 1 - float(right.double().mean())


def _figures(scores: Tensor, tags: Tensor, names: Sequence[str], loss: str) -> Figures:
    precision = metrics.average_precision(scores, tags)
    figures: Figures = {
        "classifier_map": float(np.nanmean(precision)),
        "classifier_ap": {name: float(value) for name, value in zip(names, precision, strict=True)},
    }
    if loss == "single_label":
        figures["classifier_top1_error"] = top_error(scores, tags, 1)
        if len(names) > TOP:  # with five classes or fewer it would be 0 whatever the network says
            figures["classifier_top5_error"] = top_error(scores, tags, TOP)
    return figures


def _refuse_several_labels(run: Run) -> None:
    for photo in (*run.train, *run.val):
        own = np.flatnonzero(photo.tags[1:])
        if len(own) > 1:
            names = ", ".join(run.classes.foreground[index] for index in own)
            raise InputError(
                f"{photo.path}: has the labels {names}, but classifier.loss = single_label takes one label a "
                "photograph; leave it one, or take it off the split, or set classifier.loss=multi_label."
            )


def _step(model: nn.Module, batch: dict[str, Tensor], iteration: int, *, head: str, loss: str) -> dict[str, Tensor]:
    """The loss of one batch; of ACoL, the sum of its two classifiers'."""
    tags = batch["tags"]
    if head != "acol":
        return {"loss": label_loss(forward(model, batch), tags, loss)}
    first, second = (label_loss(logits, tags, loss) for logits in forward(model, batch, tags))
    return {"loss": first + second, "loss_a": first, "loss_b": second}


@torch.no_grad()
def _scores(run: Run, model: nn.Module) -> tuple[Tensor, Tensor]:
    """Logits and own classes of the validation photographs, (N, K) each, of all processes."""
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
    all_scores, all_tags = (torch.cat(part) for part in zip(*parts, strict=True))
    return all_scores, all_tags
