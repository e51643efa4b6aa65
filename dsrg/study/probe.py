"""Generic localisation: labels and maps for concepts that a network was never trained on, by linear SVMs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from dsrg import distributed, grid
from dsrg.boxes import map_boxes
from dsrg.data.labelled import Labelled, read_labelled
from dsrg.data.voc import Photo, spread
from dsrg.data.warped import warped
from dsrg.draw import heatmap, tiles
from dsrg.errors import InputError
from dsrg.files import disk, storage
from dsrg.models.backbone import build_backbone
from dsrg.run import inference, networks
from dsrg.run.folder import Run
from dsrg.schema import Config
from dsrg.study.svm import Svm, figures, fit, has_one_label_each, hold_out

BATCH = 16
"""Photographs in one forward pass."""
FRACTION = 0.2
"""The box is around the largest component above this share of the map's maximum (Zhou et al. 2016, Sect. 3.2)."""
TILE = 200
"""Long side of a picture, in pixels."""
FULL, CROP = "full image", "crop by CAM"
"""The first round's pictures, and the second's."""
WEIGHTS = ("imagenet", "classifier")
"""Where the features may come from: model.weights, or the run's trained classifier."""


@dataclass(frozen=True)
class Probe:
    """What to probe, and how."""

    labels: Path
    """A CSV 'image,labels', or a folder with one folder a label."""
    photos: Path | None = None
    """Folder of the CSV's photographs; None for the CSV's own."""
    weights: str = "imagenet"
    """One of WEIGHTS."""
    out: Path | None = None
    """Where to write; None for probe/<name of the labels> in the run's folder."""
    held_out: float = 0.3
    """Share of the photographs to measure on."""
    c: float | None = None
    """C of the SVMs; None for cross-validation (`dsrg.study.svm.fit`)."""
    crops: bool = True
    """Second round on crops, where each photograph has one label."""
    count: int = 12
    """Photographs, of those held out, to draw heat maps of."""


def run_probe(cfg: Config, what: Probe) -> dict[str, Any]:
    """Train linear SVMs on frozen, globally averaged features for new labels; write figures, weights and heat maps.

    Fine-grained recognition goes on with a second round (Zhou et al. 2016, Sect. 4.1, Table 4): the box around the map
    of the label that the SVM holds for the likeliest, above FRACTION of its maximum; the features of what is in the
    box; new SVMs on those. Training and held-out photographs are cut out alike, without a look at their labels.

    Photographs and crops are squeezed to classifier.size, or what is nearest to it on the network's grid. Writes
    probe.json (settings, figures, predictions), weights.npz (names, weight (K, D), bias (K,), c; crop_weight,
    crop_bias, crop_c), maps.png.

    Returns:
        The content of probe.json.

    Raises:
        InputError: a photograph is missing or broken, a label has too few photographs, or an argument does not fit.
    """
    _check(what)
    labelled = read_labelled(what.labels, what.photos)
    train, held = _divide(labelled, what, cfg.seed)
    shown = np.array(spread(held.tolist(), what.count))
    features = Features(cfg, what.weights)
    rounds, found = _rounds(features, what, labelled, train, shown)
    summary = _summary(features, what, labelled, (train, held), rounds) | {
        "predictions": _predictions(labelled, rounds, found.boxes, held)
    }
    out = what.out or cfg.run_dir / "probe" / what.labels.stem
    rows = [_row(labelled, number, rounds, found) for number in shown.tolist()]
    disk.write_json(out / "probe.json", summary)
    _write_weights(out / "weights.npz", labelled.names, [part.svm for part in rounds.values()])
    titles = ["photograph, CAM's box", *["crop"] * (CROP in rounds), "maps: the likeliest, its own"]
    names = tiles.write_pages(out, "maps", tiles.pages(titles, rows, TILE))
    for note in labelled.notes:
        print(f"note: {note}")
    print(table(summary))
    print("\n" + ", ".join(str(out / name) for name in ("probe.json", "weights.npz", *names)))
    return summary


def table(summary: dict[str, Any]) -> str:
    """The figures as a Markdown table."""
    lines = ["| features of | accuracy | mAP | C |", "|---|---:|---:|---:|"]
    lines += [
        f"| {name} | {part['accuracy']:.3f} | {part['mean_average_precision']:.3f} | {part['c']:g} |"
        for name, part in summary["figures"].items()
    ]
    return "\n".join(lines)


@dataclass(frozen=True)
class Round:
    """SVMs on the features of one kind of picture."""

    svm: Svm
    decisions: np.ndarray
    """(N, K) decision values of all photographs."""


@dataclass(frozen=True)
class Found:
    """Where the SVM's maps point."""

    boxes: np.ndarray
    """(N, 4) int64, the box of each photograph's likeliest label."""
    maps: dict[int, dict[int, np.ndarray]]
    """By photograph to be shown and by label, its likeliest and its own: (h, w) in [0, 1]."""


class Features:
    """A frozen network from photographs to features.

    Args:
        cfg: Names the network, its weights, output stride and input size.
        weights: One of WEIGHTS.

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

    def look(self, labelled: Labelled, svm: Svm, likeliest: np.ndarray, shown: np.ndarray) -> Found:
        """The box of each photograph's likeliest label (N,), and the maps of the photographs to be shown."""
        boxes: list[np.ndarray] = []
        maps: dict[int, dict[int, np.ndarray]] = {}
        to_show = set(shown.tolist())
        with tqdm(total=len(labelled.photos), desc="boxes") as bar:
            for images, sizes in warped(labelled.photos, self.size, batch=BATCH, threads=self.cfg.workers):
                for every, size in zip(svm.maps(self(images)), sizes, strict=True):
                    number = len(boxes)
                    best = int(likeliest[number])
                    boxes.append(map_boxes(every[best, None], size, FRACTION)[0])
                    if number in to_show:
                        own = [best, *(k for k in np.flatnonzero(labelled.tags[number]).tolist() if k != best)]
                        positive = every[own].relu()
                        peak = positive.amax(dim=(1, 2), keepdim=True)
                        unit = (positive / torch.where(peak > 0, peak, 1)).cpu().numpy()
                        maps[number] = dict(zip(own, unit, strict=True))
                bar.update(len(images))
        return Found(np.stack(boxes), maps)


def _check(what: Probe) -> None:
    if what.weights not in WEIGHTS:
        raise InputError(f"--weights {what.weights}: choose one of {', '.join(WEIGHTS)}.")
    if not 0 < what.held_out < 1:
        raise InputError(f"--held-out {what.held_out}: must lie between 0 and 1, the share to measure on.")
    if what.c is not None and not what.c > 0:
        raise InputError(f"--c {what.c}: must be above 0.")
    if what.count < 1:
        raise InputError(f"--count {what.count}: draw at least one photograph.")


def _divide(labelled: Labelled, what: Probe, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The photographs to learn from and those held out; checks that each label can be learnt and measured."""
    counts = labelled.tags.sum(axis=0)
    for name, count in zip(labelled.names, counts, strict=True):
        if count < 2:
            raise InputError(
                f"{what.labels}: the label '{name}' has one photograph; it needs two at least, one to learn from and "
                "one to measure on."
            )
        if count == len(labelled.photos):
            raise InputError(f"{what.labels}: every photograph has the label '{name}'; add some without it.")
    train, held = hold_out(labelled.tags, what.held_out, seed)
    seen = labelled.tags[train]
    for k, name in enumerate(labelled.names):
        if not seen[:, k].any() or seen[:, k].all():
            raise InputError(
                f"{what.labels}: of the photographs with and without '{name}' one kind is held out whole; add more of "
                "it, or try another seed."
            )
    return train, held


def _rounds(
    features: Features, what: Probe, labelled: Labelled, train: np.ndarray, shown: np.ndarray
) -> tuple[dict[str, Round], Found]:
    """The SVMs on whole photographs and, where there is a second round, on crops; and where the first ones point."""

    def work(title: str, boxes: np.ndarray | None = None) -> Round:
        pooled = features.pool(labelled.photos, title, boxes)
        svm = fit(
            pooled[train],
            labelled.tags[train],
            c=what.c,
            seed=features.cfg.seed,
            threads=features.cfg.workers,
        )
        return Round(svm, svm.decide(pooled))

    rounds = {FULL: work("features")}
    found = features.look(labelled, rounds[FULL].svm, rounds[FULL].decisions.argmax(axis=1), shown)
    if what.crops and has_one_label_each(labelled.tags):
        rounds[CROP] = work("features of crops", found.boxes)
    elif what.crops:
        print("photographs with several labels: the second round, of crops, is left out")
    return rounds, found


def _summary(
    features: Features,
    what: Probe,
    labelled: Labelled,
    parts: tuple[np.ndarray, np.ndarray],
    rounds: dict[str, Round],
) -> dict[str, Any]:
    train, held = parts
    cfg = features.cfg
    return {
        "labels": {name: int(count) for name, count in zip(labelled.names, labelled.tags.sum(axis=0), strict=True)},
        "photographs": {"train": len(train), "held_out": len(held)},
        "settings": {
            "backbone": cfg.model.backbone,
            "weights": what.weights,
            "output_stride": features.output_stride,
            "size": features.size,
            "held_out": what.held_out,
            "seed": cfg.seed,
        },
        "figures": {
            name: {"c": part.svm.c} | figures(part.decisions[held], labelled.tags[held])
            for name, part in rounds.items()
        },
    }


def _write_weights(path: Path, names: Sequence[str], svms: Sequence[Svm]) -> None:
    arrays: dict[str, Any] = {"names": np.array(names)}
    for prefix, svm in zip(("", "crop_"), svms, strict=False):
        arrays |= {f"{prefix}weight": svm.weight, f"{prefix}bias": svm.bias, f"{prefix}c": np.array(svm.c)}
    disk.write_bytes(path, storage.npz(**arrays))


def _predictions(
    labelled: Labelled, rounds: dict[str, Round], boxes: np.ndarray, held: np.ndarray
) -> dict[str, dict[str, Any]]:
    """What was said of each photograph held out, by its id."""
    best = {name: part.decisions.argmax(axis=1) for name, part in rounds.items()}
    return {
        labelled.photos[number].id: {
            "labels": [labelled.names[k] for k in np.flatnonzero(labelled.tags[number])],
            **{name: labelled.names[winners[number]] for name, winners in best.items()},
            "box": boxes[number].tolist(),
        }
        for number in held.tolist()
    }


def _row(labelled: Labelled, number: int, rounds: dict[str, Round], found: Found) -> list[np.ndarray]:
    """The photograph with its box, the heat maps, and the crop."""
    photo, tags = labelled.photos[number], labelled.tags[number]
    picture = inference.read_pixels(photo).permute(1, 2, 0).numpy()

    def captioned(tile: np.ndarray, values: np.ndarray, label: int, *further: str) -> np.ndarray:
        colour, word = (heatmap.RIGHT, "right") if tags[label] else (heatmap.WRONG, "wrong")
        text = f"{labelled.names[label]} {values[label]:+.2f} {word}"
        return tiles.captioned(tiles.fit(tile, TILE), [text, *further], colour, TILE)

    values = rounds[FULL].decisions[number]
    best = int(values.argmax())
    left, top, right, bottom = found.boxes[number]
    boxed = heatmap.draw_boxes(picture, found.boxes[number][None], heatmap.RIGHT if tags[best] else heatmap.WRONG)
    truth = "is " + ", ".join(labelled.names[k] for k in np.flatnonzero(tags))
    row = [captioned(boxed, values, best, truth, photo.id)]
    if CROP in rounds:
        after = rounds[CROP].decisions[number]
        row.append(captioned(picture[top:bottom, left:right], after, int(after.argmax())))
    for label, one_map in found.maps[number].items():
        row.append(captioned(heatmap.paint(picture, one_map), values, label))
    return row
