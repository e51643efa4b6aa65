"""What a probe sees: a frozen network's pooled features, and where the SVMs' maps of them point."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from dsrg import distributed, grid
from dsrg.boxes import map_boxes
from dsrg.data.labelled import Labelled
from dsrg.data.voc import Photo
from dsrg.data.warped import warped
from dsrg.errors import InputError
from dsrg.models.backbone import build_backbone
from dsrg.run import inference, networks
from dsrg.run.folder import Run
from dsrg.schema import Config
from dsrg.study.detections import DetectionBoxes, true_boxes
from dsrg.study.mining import Mined
from dsrg.study.svm import Svm

BATCH = 16
"""Photographs in one forward pass."""


@dataclass(frozen=True)
class Round:
    """SVMs on the features of one kind of picture."""

    svm: Svm
    decisions: np.ndarray
    """(N, K) decision values of all photographs."""
    mined: Mined | None = None
    """The rounds of hard-negative mining, where there were any."""
    before: np.ndarray | None = None
    """The decision values after the first of them."""


@dataclass(frozen=True)
class Found:
    """Where the SVM's maps point."""

    boxes: dict[int, dict[int, np.ndarray]]
    """By photograph and by label, its likeliest, those that are detected and its own: (4,) int64."""
    maps: dict[int, dict[int, np.ndarray]]
    """By photograph to be shown and by label, its likeliest and its own: (h, w) in [0, 1]."""
    figures: dict[str, Any]
    """`boxes`, what is measured of the photographs held out, where there are true boxes."""


class Look(NamedTuple):
    """What to measure of the boxes."""

    held: Collection[int]
    """The photographs held out."""
    annotations: Path | None


class Features:
    """A frozen network from photographs to features.

    Args:
        cfg: Names the network, its weights, output stride and input size.
        weights: One of `tables.PROBED`.

    Attributes:
        size: Side of the network's square input, in pixels.
        output_stride: Pixels of it for each cell of the features.
        network: The network.

    Raises:
        InputError: there are no such weights.
    """

    def __init__(self, cfg: Config, weights: str) -> None:
        self.cfg = cfg
        self.weights = weights
        self.device = distributed.pick_device(cfg.device)
        self._features: Callable[[Tensor], Tensor]
        network: nn.Module
        if weights == "classifier":
            network = classifier = networks.trained_classifier(Run(cfg))
            self._features = classifier.features
        else:
            self._features = network = self._imagenet()
        self.network = network
        self.output_stride = inference.output_stride(network)
        self.size = grid.nearest(cfg.classifier.size, self.output_stride)

    def _imagenet(self) -> nn.Module:
        cfg = self.cfg
        if cfg.model.weights is None:
            raise InputError(
                "model.weights = null: there are no ImageNet weights; name a file, or probe the run's classifier with "
                "--weights classifier."
            )
        network: nn.Module = build_backbone(
            cfg.model.backbone,
            output_stride=cfg.cam.output_stride or cfg.classifier.output_stride,
            weights=cfg.model.weights,
            freeze_bn=False,
        )
        return network.to(self.device).to(memory_format=torch.channels_last).eval()

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Features (B, D, h, w) float32 of images (B, 3, S, S) uint8."""
        return self._features(inference.normalise(images.to(self.device))).float()

    def pool(self, photos: Sequence[Photo], title: str, boxes: np.ndarray | None = None) -> np.ndarray:
        """Globally averaged features (N, D) of photographs, or of one box (N, 4) of each."""
        pooled = []
        with tqdm(total=len(photos), desc=title) as bar:
            for images, _ in warped(photos, self.size, batch=BATCH, boxes=boxes, threads=self.cfg.workers):
                pooled.append(self(images).mean(dim=(2, 3)).cpu())
                bar.update(len(images))
        return torch.cat(pooled).numpy()

    def look(self, labelled: Labelled, numbers: Sequence[int], this: Round, shown: Collection[int], to: Look) -> Found:
        """Where the SVM finds the labels of some of the photographs.

        Args:
            labelled: All photographs.
            numbers: Those to look at.
            this: The SVM and its decision values.
            shown: Those whose maps to keep.
            to: What to measure.
        """
        boxes: dict[int, dict[int, np.ndarray]] = {}
        maps: dict[int, dict[int, np.ndarray]] = {}
        measures = DetectionBoxes()
        queue = iter(numbers)
        photos = [labelled.photos[number] for number in numbers]
        with tqdm(total=len(photos), desc="boxes") as bar:
            for images, sizes in warped(photos, self.size, batch=BATCH, threads=self.cfg.workers):
                for every, size in zip(this.svm.maps(self(images)), sizes, strict=True):
                    number = next(queue)
                    own = np.flatnonzero(labelled.tags[number]).tolist()
                    values = this.decisions[number]
                    detected = np.flatnonzero(values > 0).tolist()
                    wanted = list(dict.fromkeys([int(values.argmax()), *detected, *own]))
                    edges = map_boxes(every[wanted], size, self.cfg.localize.threshold)
                    boxes[number] = dict(zip(wanted, edges, strict=True))
                    if number in shown:
                        maps[number] = _unit_maps(every, list(dict.fromkeys([wanted[0], *own])))
                    if to.annotations is not None and number in to.held:
                        true = true_boxes(to.annotations, labelled.photos[number], labelled.names, size)
                        large: Any = inference.enlarge(every[own][None], size)[0].cpu().numpy() if own else []
                        measures.update(boxes[number], detected, dict(zip(own, large, strict=True)), true)
                bar.update(len(images))
        return Found(boxes, maps, {} if to.annotations is None else {"boxes": measures.result()})


def _unit_maps(every: Tensor, labels: list[int]) -> dict[int, np.ndarray]:
    """The positive part of some of the maps (K, h, w), each divided by its maximum."""
    positive = every[labels].relu()
    peak = positive.amax(dim=(1, 2), keepdim=True)
    return dict(zip(labels, (positive / torch.where(peak > 0, peak, 1)).cpu().numpy(), strict=True))
