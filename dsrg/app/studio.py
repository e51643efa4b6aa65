"""A finished run put to use on one photograph after the other: labels, CAMs, seeds, masks, and pictures of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dsrg import tables
from dsrg.data.voc import spread
from dsrg.draw.masks import paint_mask
from dsrg.errors import InputError
from dsrg.files import pictures
from dsrg.labels import IGNORE
from dsrg.run import inference, networks
from dsrg.run.folder import Run
from dsrg.run.records import RECORD, read_record
from dsrg.run.table import final
from dsrg.schema import Seeds
from dsrg.stages.seeds import cut_seeds

SURE = 0.5
"""Probability above which a label is proposed."""
SHOWN_SIDE = 480
"""Long side below which pictures are enlarged to be looked at, in pixels."""
SAMPLE = 50
"""Training photographs whose sizes are looked at."""


@dataclass(frozen=True, eq=False)
class Maps:
    """Maps of one photograph, rounded as the stage `cams` stores them, so that the same seeds are cut from them."""

    classes: np.ndarray
    """(n,) foreground class indices, rising."""
    maps: np.ndarray
    """(n, h, w) float16 in [0, 1]."""

    def of(self, labels: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """The labels' own classes (m,), rising, and maps (m, h, w) float32, as in `storage.read_cams`."""
        own = np.isin(self.classes, labels)
        return self.classes[own], self.maps[own].astype(np.float32)


class Studio:
    """The trained networks of a run.

    Labels are foreground class indices 1..C-1 everywhere; pictures are (H, W, 3) uint8, RGB.

    Args:
        run: A run whose classifier is trained. Its final network makes the masks: the retrained one where there is
            one, else DSRG's; without either there are no masks.

    Raises:
        InputError: the classifier is not trained, or a network was made with other settings.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.classes = run.classes
        self._classifier = networks.trained_classifier(run)
        self.network = final(run.has_network)
        """'retrain', 'dsrg' or None: the stage that trained the network that makes the masks."""
        self._predict = None
        if self.network is not None:
            self._predict = networks.predictor(run, self.network)
        self.seed_settings, self.remark = own_thresholds(run)
        self.several = run.cfg.classifier.loss == "multi_label"
        """Whether a photograph may have several labels."""

    def tags(self, labels: Iterable[int]) -> Tensor:
        """(C,) bool, background among them."""
        tags = torch.zeros(len(self.classes), dtype=torch.bool)
        tags[[0, *labels]] = True
        return tags

    @torch.no_grad()
    def scores(self, picture: np.ndarray) -> np.ndarray:
        """The classifier's probability of each foreground class, (K,) float32: label k + 1 has place k.

        From one forward pass at `localize.size`, as dsrg show-cams has them.
        """
        model, size = self._classifier, self.run.cfg.localize.size
        (images,) = inference.pyramid(model, self._pixels(picture), (1.0,), size, mirror=False)
        logits = model(images)[0].float()
        return np.asarray((logits.sigmoid() if self.several else logits.softmax(0)).cpu().numpy())

    def maps(self, picture: np.ndarray, labels: Sequence[int], known: Maps | None = None) -> Maps:
        """The maps of at least these labels, by the run's own source of maps (seeds.source) and its scales.

        Args:
            picture: The photograph.
            labels: At least one.
            known: Maps of the same photograph from an earlier call; they come back where they serve, without a pass
                through the network. CAMs do not depend on the other labels, so those of all classes are made at once.
        """
        settings, source = self.run.cfg.cam, self.run.cfg.seeds.source
        kind = tables.MAPS[source]
        wanted = sorted(labels)
        if known is not None:
            there = known.classes.tolist()
            if there == wanted or (not kind.erases and set(wanted) <= set(there)):
                return known
        made = range(1, len(self.classes)) if kind.dense and not kind.erases else wanted
        maps = inference.activation_maps(
            self._classifier,
            self._pixels(picture),
            self.tags(made),
            source=source,
            scales=settings.scales,
            size=settings.size,
            mirror=settings.mirror,
            amp=self.run.cfg.amp,
        )
        classes = np.array(made, np.int64)
        return Maps(classes, maps[classes - 1].cpu().numpy().astype(np.float16))

    def seeds(self, picture: np.ndarray, maps: Maps, labels: Sequence[int], settings: Seeds) -> np.ndarray:
        """Seeds as the stage `seeds` cuts them, (H, W) uint8, class index or 255 = unlabelled.

        Args:
            picture: The photograph.
            maps: Of at least the labels.
            labels: The photograph's own.
            settings: `seed_settings`, or a copy of them with other thresholds.
        """
        cut = cut_seeds(*maps.of(labels), inference.planes(picture), self.tags(labels), settings, self.run.cfg.crf)
        return np.asarray(cut.numpy())

    def mask(self, picture: np.ndarray, labels: Sequence[int] | None, *, crf: bool) -> np.ndarray:
        """The final network's mask as the section test says, gate included, (H, W) uint8 class indices.

        Args:
            picture: The photograph.
            labels: The only classes that the mask may hold besides background; None for all.
            crf: Refine with the dense CRF.

        Raises:
            InputError: no segmentation network is trained.
        """
        if self._predict is None:
            raise InputError(f"{self.run.directory}: no segmentation network is trained; run dsrg train-dsrg.")
        pixels = self._pixels(picture)
        mask = inference.to_mask(
            self._predict(pixels),
            pixels,
            None if labels is None else self.tags(labels).to(self.run.device),
            crf=self.run.cfg.crf.arguments() if crf else None,
            crf_tags=self.run.cfg.crf.tags,
        )
        return np.asarray(mask.cpu().numpy())

    def _pixels(self, picture: np.ndarray) -> Tensor:
        return inference.planes(picture).to(self.run.device)


def proposal(scores: np.ndarray) -> list[int]:
    """The labels that the classifier proposes: all above SURE, or the likeliest where there is none.

    Args:
        scores: (K,) probabilities of the foreground classes.
    """
    labels: list[int] = (np.flatnonzero(scores > SURE) + 1).tolist()
    return labels or [int(scores.argmax()) + 1]


def own_thresholds(run: Run) -> tuple[Seeds, str]:
    """The settings with which the run cuts seeds, its thresholds worked out, and what a reader must know of them.

    Otsu's thresholds come from the whole training split; they are in the record of the stage `seeds`. A saliency map
    is a file for each training photograph, which another photograph does not have: there the cue is CAM.
    """
    settings = run.seeds
    if run.boxed is not None and not run.needs_maps:
        return settings.model_copy(update={"thresholds": "fixed"}), (
            "The run cuts seeds from boxes, which a new photograph does not have: here they are cut from CAM, by the "
            "thresholds of the configuration."
        )
    if settings.background in tables.SALIENCY_CUES:
        remark = (
            "The run cuts seeds by saliency maps, which a new photograph does not have: here background is where every "
            "CAM is below the threshold."
        )
        threshold = min(settings.background_threshold, settings.foreground_threshold)  # nobody has checked it so far
        return settings.model_copy(update={"background": "cam", "background_threshold": threshold}), remark
    if settings.thresholds == "fixed":
        return settings, ""
    record = run.directory_of("seeds") / RECORD
    figures: dict[str, Any] = dict(read_record(record).figures) if record.exists() else {}
    found = {key: figures.get(key) for key in ("foreground_threshold", "background_threshold")}
    if all(isinstance(value, float | int) and 0 <= value <= 1 for value in found.values()):
        return settings.model_copy(update=found), ""
    remark = "The run has no seeds yet, so Otsu's thresholds are not known: those of the configuration are taken."
    return settings, remark


def usual_long_side(run: Run) -> int:
    """The largest side among SAMPLE photographs spread over the training split, in pixels: the networks know no larger
    ones.

    Raises:
        InputError: a photograph is missing or broken.
    """
    return max(max(pictures.read_size(photo.path)) for photo in spread(run.train, SAMPLE))


def shares(labels: np.ndarray, count: int) -> tuple[np.ndarray, float]:
    """The share of the pixels that each of `count` classes has, (count,) in [0, 1], and that of unlabelled ones."""
    counts = np.bincount(labels.ravel(), minlength=IGNORE + 1) / labels.size
    return counts[:count], float(counts[IGNORE])


def painted(picture: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Labels (H, W) in their colours over their photograph, large enough to be looked at."""
    large = enlarged(picture)
    factor = large.shape[0] // picture.shape[0]
    return paint_mask(large, labels.repeat(factor, axis=0).repeat(factor, axis=1))


def enlarged(picture: np.ndarray) -> np.ndarray:
    """The picture, a whole number of times larger where its long side is below SHOWN_SIDE, so that labels still lie on
    its pixels."""
    height, width = picture.shape[:2]
    factor = -(-SHOWN_SIDE // max(height, width))
    if factor == 1:
        return picture
    return np.array(Image.fromarray(picture).resize((width * factor, height * factor), Image.Resampling.BICUBIC))
