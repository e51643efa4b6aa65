"""What a few true masks say of all the others: a small network that reads the evidence of a mask anew.

Masks made from tags err in ways of their own: legs are lost, the sofa is kept with the cat. The true masks of a few
photographs show which. The corrector looks at one class of a photograph at a time, as "this class" against "the
photograph's other classes", and its weights are the same for all classes: a cat that a person has corrected teaches it
about cows.

True masks alone would mislead it, for people correct the worst masks first. So it learns as much from photographs
without a true mask, from the masks that they have. (Networks trained on a few true masks to label many photographs are
known from Ibrahim et al. 2020, "Semi-supervised semantic image segmentation with self-correcting networks"; theirs
reads the photograph and a box.)

Shapes: C classes with background, n of them a photograph's own, D channels of evidence, g x g cells, whatever the
photograph's shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dsrg.labels import BACKGROUND, IGNORE
from dsrg.shapes import check_probs

GRID = 81
"""Cells a side, g."""
SUREST = 12.0
"""Log odds are held between this and minus this."""
CHANNELS = 9
"""D: the class's log odds, the largest of the others', the class's CAM, the largest of the others', log odds of
saliency, how many other classes there are, red, green, blue."""
SMALLEST, LEAST = 0.005, 0.25
"""See `loses_class`."""
WIDTH = 24
"""Channels within the network."""
DILATIONS = (1, 2, 4, 8, 1)
"""Of its five convolutions; together they see 33 cells."""


@dataclass(frozen=True)
class Evidence:
    """What is known of one photograph's mask."""

    own: Tensor
    """(n,) int64, its own foreground classes."""
    channels: Tensor
    """(n, D, g, g) float16, see CHANNELS."""
    labels: Tensor
    """(g, g) uint8, what to learn: background, the index of one of its own classes, or 255."""


def evidence(
    probs: Tensor, own: Tensor, pixels: Tensor, maps: Tensor | None = None, saliency: Tensor | None = None
) -> Tensor:
    """The channels of one photograph.

    Args:
        probs: (C, g, g), the network's class probabilities and whatever has been weighed into them.
        own: (n,) int64, the photograph's own foreground classes.
        pixels: (3, g, g) of 0..255.
        maps: (n, g, g) in 0..1, the CAMs of its own classes; None where there are none.
        saliency: (g, g) in 0..1; None where there is none.

    Returns:
        (n, D, g, g) float16.

    Raises:
        ValueError: the shapes do not fit together.
    """
    check_probs(probs[None])
    size = probs.shape[1:]
    for name, given, shape in (
        ("pixels", pixels, (3, *size)),
        ("maps", maps, (len(own), *size)),
        ("saliency", saliency, size),
    ):
        if given is not None and given.shape != shape:
            raise ValueError(f"{name} {tuple(given.shape)} does not fit probs {tuple(probs.shape)}: expected {shape}.")
    logs = probs.clamp(min=torch.finfo(torch.float32).tiny).log()
    odds = (logs[own] - logs[BACKGROUND]).clamp(-SUREST, SUREST) / SUREST
    cams = torch.zeros_like(odds) if maps is None else maps
    salient = probs.new_zeros(size) if saliency is None else torch.logit(saliency, eps=0.02) / 3
    each = [
        odds,
        _largest_other(odds, -1.0),
        cams,
        _largest_other(cams, 0.0),
        salient.expand_as(odds),
        torch.full_like(odds, len(own) - 1),
    ]
    colours = (pixels / 255 - 0.45).expand(len(own), -1, -1, -1)
    return torch.cat([torch.stack(each, dim=1), colours], dim=1).half()


def _largest_other(maps: Tensor, alone: float) -> Tensor:
    """For each of n maps the largest of the others, cell by cell; `alone` where there is none."""
    if len(maps) < 2:
        return torch.full_like(maps, alone)
    others = maps.expand(len(maps), -1, -1, -1).clone()
    others[range(len(maps)), range(len(maps))] = -torch.inf
    return others.amax(dim=1)


class Corrector(nn.Module):
    """From a class's evidence to its log odds against background.

    Before it has learnt anything they are those of the evidence's first channel.
    """

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv2d(CHANNELS, WIDTH, 1)
        self.blocks = nn.ModuleList(_block(dilation) for dilation in DILATIONS)
        self.leave = nn.Conv2d(WIDTH, 1, 1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]  # there is a bias
        self.trust = nn.Parameter(torch.ones(()))

    def forward(self, channels: Tensor) -> Tensor:
        """(n, D, g, g) float32 -> (n, g, g)."""
        hidden = self.enter(channels)
        for block in self.blocks:
            hidden = hidden + block(hidden)
        found: Tensor = self.trust * SUREST * channels[:, 0] + self.leave(hidden)[:, 0]
        return found


def _block(dilation: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(WIDTH, WIDTH, 3, padding=dilation, dilation=dilation, padding_mode="replicate", bias=False),
        nn.GroupNorm(4, WIDTH),
        nn.ReLU(),
        nn.Dropout2d(0.2),
    )


def class_scores(model: nn.Module, batch: Sequence[Evidence], num_classes: int) -> Tensor:
    """Logits of all classes, (B, C, g, g): background's are 0, those of classes that a photograph has not are -1e4."""
    device = next(model.parameters()).device
    channels = torch.cat([one.channels for one in batch]).to(device).float()
    rows = torch.cat([torch.full_like(one.own, index) for index, one in enumerate(batch)]).to(device)
    scores = channels.new_full((len(batch), num_classes, *channels.shape[2:]), -1e4)
    scores[:, BACKGROUND] = 0
    if not len(channels):  # photographs of background alone
        return scores
    return scores.index_put((rows, torch.cat([one.own for one in batch]).to(device)), model(channels))


@torch.no_grad()
def corrected(model: nn.Module, one: Evidence, num_classes: int) -> Tensor:
    """One photograph's class logits (C, g, g), the sum of its own and its mirror image's; the model in eval mode.

    The sum is surer than the mean, as where `inference.predict_probs` merges logits, and the CRF that follows needs
    that: on 200 of voc6's photographs one corrector's masks had 0.741 mIoU after a CRF on the mean, 0.754 on the sum
    and 0.736 without a CRF, and the pseudo-labels 0.738.
    """
    mirrored = Evidence(one.own, one.channels.flip(-1), one.labels)
    scores = class_scores(model, [one, mirrored], num_classes)
    return scores[0] + scores[1].flip(-1)


def loses_class(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether a foreground class that a mask (H, W) shows on SMALLEST of it keeps less than LEAST of its pixels.

    The corrector knows no class, and now and then gives a horse to its rider. The image-level labels say that both are
    there: such a photograph is better off with the mask that it had.
    """
    had, has = (np.bincount(mask.ravel(), minlength=IGNORE + 1)[BACKGROUND + 1 : IGNORE] for mask in (before, after))
    return bool(((had >= SMALLEST * before.size) & (has < LEAST * had)).any())


def correction_loss(model: nn.Module, true: Sequence[Evidence], others: Sequence[Evidence], num_classes: int) -> Tensor:
    """Cross-entropy with true masks, and, weighing as much, with the masks of photographs that have no true one."""
    scores = class_scores(model, [*true, *others], num_classes)
    loss = scores.new_zeros(())
    for some, found in ((true, scores[: len(true)]), (others, scores[len(true) :])):
        if some:
            labels = torch.stack([one.labels for one in some]).to(found.device).long()
            count = (labels != IGNORE).sum().clamp(min=1)
            loss = loss + functional.cross_entropy(found, labels, ignore_index=IGNORE, reduction="sum") / count
    return loss
