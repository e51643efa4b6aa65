"""Generic localisation: labels and maps for concepts that a network was never trained on, by linear SVMs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dsrg.data.labelled import Labelled, read_labelled
from dsrg.data.voc import spread
from dsrg.draw import heatmap, tiles
from dsrg.errors import InputError
from dsrg.files import disk, storage
from dsrg.run import inference
from dsrg.schema import Config
from dsrg.study.mining import Mined, mine
from dsrg.study.probe_features import Features, Found, Look, Round
from dsrg.study.svm import Svm, choose_c, figures, fit, has_one_label_each, hold_out, unit_length
from dsrg.tables import PROBED

TILE = 200
"""Long side of a picture, in pixels."""
FULL, CROP = "full image", "crop by CAM"
"""The first round's pictures, and the second's."""
FIRST = "{}, before mining"
BOX_FIGURES = {
    "label_precision": "detections: label right",
    "box_precision": "label and box right",
    "label_recall": "labels detected",
    "box_recall": "with the right box",
    "pointing": "pointing",
    "gt_known_accuracy": "GT-known",
    "around_all": "box around all",
    "max_box_acc": "MaxBoxAcc",
    "max_box_acc_v2": "MaxBoxAccV2",
}
"""Of the boxes of the photographs held out, and what the table calls them (`dsrg.study.detections`)."""


@dataclass(frozen=True)
class Probe:
    """What to probe, and how."""

    labels: Path
    """A CSV 'image,labels', in which a row without a label is a plain negative; or a folder with one folder a label."""
    photos: Path | None = None
    """Folder of the CSV's photographs; None for the CSV's own."""
    negatives: Path | None = None
    """Folder of further photographs that show none of the labels."""
    weights: str = "imagenet"
    """One of `tables.PROBED`."""
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
    mine: int | None = None
    """Negatives to begin with, and to add in each round of hard-negative mining; None learns from all at once."""
    annotations: Path | None = None
    """Folder of VOC's XML, whose boxes measure those of the detections; None measures none."""


def run_probe(cfg: Config, what: Probe) -> dict[str, Any]:
    """Train linear SVMs on frozen, globally averaged features for new labels; write figures, weights and heat maps.

    Fine-grained recognition goes on with a second round (Zhou et al. 2016, Sect. 4.1, Table 4): the box around the map
    of the label that the SVM holds for the likeliest, above localize.threshold of its maximum; the features of what is
    in the box; new SVMs on those. Training and held-out photographs are cut out alike, without a look at their labels.

    Photographs and crops are squeezed to classifier.size, or what is nearest to it on the network's grid. With
    `Probe.mine` the SVMs learn in rounds (`dsrg.study.mining`). Writes probe.json (settings, figures, predictions),
    weights.npz (names, weight (K, D), bias (K,), c; crop_weight, crop_bias, crop_c), maps.png.

    Returns:
        The content of probe.json.

    Raises:
        InputError: a photograph is missing or broken, a label has too few photographs, or an argument does not fit.
    """
    _check(what)
    labelled = read_labelled(what.labels, what.photos, what.negatives)
    train, held = _divide(labelled, what, cfg.seed)
    shown = np.array(spread(held.tolist(), what.count))
    features = Features(cfg, what.weights)
    rounds, found = _rounds(features, what, labelled, train, held, shown)
    summary = _summary(features, what, labelled, (train, held), rounds) | found.figures
    summary["predictions"] = _predictions(labelled, rounds, found, held)
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
    """The figures as Markdown tables."""
    lines = ["| features of | accuracy | mAP | C |", "|---|---:|---:|---:|"]
    for name, part in summary["figures"].items():
        accuracy = f"{part['accuracy']:.3f}" if part["accuracy"] == part["accuracy"] else "-"
        lines.append(f"| {name} | {accuracy} | {part['mean_average_precision']:.3f} | {part['c']:g} |")
    for name, label in summary.get("mining", {}).items():
        counts = ", ".join(map(str, label["negatives"]))
        lines.append(f"\n{name}: {len(label['negatives'])} rounds with {counts} of {label['of']} negatives")
    boxes = summary.get("boxes")
    if boxes:
        names = [name for name in BOX_FIGURES if boxes[name] == boxes[name]]
        lines += ["", "| " + " | ".join(BOX_FIGURES[name] for name in names) + " |", "|" + "---:|" * len(names)]
        lines.append("| " + " | ".join(f"{boxes[name]:.3f}" for name in names) + " |")
    return "\n".join(lines)


def _check(what: Probe) -> None:
    if what.weights not in PROBED:
        raise InputError(f"--weights {what.weights}: choose one of {', '.join(PROBED)}.")
    if not 0 < what.held_out < 1:
        raise InputError(f"--held-out {what.held_out}: must lie between 0 and 1, the share to measure on.")
    if what.c is not None and not what.c > 0:
        raise InputError(f"--c {what.c}: must be above 0.")
    if what.mine is not None and what.mine < 1:
        raise InputError(f"--mine {what.mine}: add at least one negative a round, or leave it out.")
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
    features: Features, what: Probe, labelled: Labelled, train: np.ndarray, held: np.ndarray, shown: np.ndarray
) -> tuple[dict[str, Round], Found]:
    """The SVMs on whole photographs and, where there is a second round, on crops; and where the first ones point."""

    def work(title: str, boxes: np.ndarray | None = None) -> Round:
        pooled = features.pool(labelled.photos, title, boxes)
        learnt, seed, threads = (pooled[train], labelled.tags[train]), features.cfg.seed, features.cfg.workers
        if what.mine is None:
            svm = fit(*learnt, c=what.c, seed=seed, threads=threads)
            return Round(svm, svm.decide(pooled))
        c = what.c or choose_c(unit_length(learnt[0]), learnt[1], seed, threads)
        mined = mine(*learnt, c=c, add=what.mine, seed=seed, threads=threads)
        return Round(mined.last, mined.last.decide(pooled), mined, mined.first.decide(pooled))

    rounds = {FULL: work("features")}
    again = what.crops and has_one_label_each(labelled.tags)
    to_see = range(len(labelled.photos)) if again else held.tolist()
    look = Look(frozenset(held.tolist()), what.annotations)
    found = features.look(labelled, to_see, rounds[FULL], frozenset(shown.tolist()), look)
    if again:
        best = rounds[FULL].decisions.argmax(axis=1).tolist()
        rounds[CROP] = work("features of crops", np.stack([found.boxes[number][k] for number, k in enumerate(best)]))
    elif what.crops:
        print("not one label a photograph: the second round, of crops, is left out")
    return rounds, found


def _summary(
    features: Features,
    what: Probe,
    labelled: Labelled,
    parts: tuple[np.ndarray, np.ndarray],
    rounds: dict[str, Round],
) -> dict[str, Any]:
    train, held = parts
    cfg, mined = features.cfg, rounds[FULL].mined
    measured = {}
    for name, part in rounds.items():
        if part.before is not None:
            measured[FIRST.format(name)] = {"c": part.svm.c} | figures(part.before[held], labelled.tags[held])
        measured[name] = {"c": part.svm.c} | figures(part.decisions[held], labelled.tags[held])
    return {
        "labels": {name: int(count) for name, count in zip(labelled.names, labelled.tags.sum(axis=0), strict=True)},
        "photographs": {"train": len(train), "held_out": len(held)},
        "settings": {
            "backbone": cfg.model.backbone,
            "weights": what.weights,
            "output_stride": features.output_stride,
            "size": features.size,
            "held_out": what.held_out,
            "mine": what.mine,
            "threshold": cfg.localize.threshold,
            "seed": cfg.seed,
        },
        "figures": measured,
        **({} if mined is None else {"mining": _mining(labelled.names, mined, labelled.tags[train])}),
    }


def _mining(names: Sequence[str], mined: Mined, tags: np.ndarray) -> dict[str, Any]:
    """How many negatives each label has used in each round, and how many there are."""
    return {
        name: {"negatives": list(counts), "of": int((~own).sum())}
        for name, counts, own in zip(names, mined.negatives, tags.T, strict=True)
    }


def _write_weights(path: Path, names: Sequence[str], svms: Sequence[Svm]) -> None:
    arrays: dict[str, Any] = {"names": np.array(names)}
    for prefix, svm in zip(("", "crop_"), svms, strict=False):
        arrays |= {f"{prefix}weight": svm.weight, f"{prefix}bias": svm.bias, f"{prefix}c": np.array(svm.c)}
    disk.write_bytes(path, storage.npz(**arrays))


def _predictions(
    labelled: Labelled, rounds: dict[str, Round], found: Found, held: np.ndarray
) -> dict[str, dict[str, Any]]:
    """What was said of each photograph held out, by its id."""
    best = {name: part.decisions.argmax(axis=1) for name, part in rounds.items()}

    def detections(number: int) -> list[dict[str, Any]]:
        values = rounds[FULL].decisions[number]
        return [
            {"label": labelled.names[k], "value": float(values[k]), "box": found.boxes[number][k].tolist()}
            for k in np.argsort(-values, kind="stable").tolist()
            if values[k] > 0
        ]

    return {
        labelled.photos[number].id: {
            "labels": [labelled.names[k] for k in np.flatnonzero(labelled.tags[number])],
            **{name: labelled.names[winners[number]] for name, winners in best.items()},
            "box": found.boxes[number][int(best[FULL][number])].tolist(),
            "detections": detections(number),
        }
        for number in held.tolist()
    }


def _row(labelled: Labelled, number: int, rounds: dict[str, Round], found: Found) -> list[np.ndarray]:
    """The photograph with its box, the heat maps, and the crop."""
    photo, tags = labelled.photos[number], labelled.tags[number]
    picture = inference.read_pixels(photo).permute(1, 2, 0).numpy()

    def captioned(tile: np.ndarray, values: np.ndarray, label: int, *further: str) -> np.ndarray:
        # A photograph that shows none of the labels is right where none is found; a single label is its own likeliest.
        right = tags[label] == (values[label] > 0) if len(tags) == 1 or not tags.any() else tags[label]
        colour, word = (heatmap.RIGHT, "right") if right else (heatmap.WRONG, "wrong")
        text = f"{labelled.names[label]} {values[label]:+.2f} {word}"
        return tiles.captioned(tiles.fit(tile, TILE), [text, *further], colour, TILE)

    values = rounds[FULL].decisions[number]
    best = int(values.argmax())
    boxes = found.boxes[number]
    left, top, right, bottom = boxes[best]
    boxed = picture
    for label in [best, *np.flatnonzero(values > 0).tolist()]:
        colour = heatmap.RIGHT if tags[label] else heatmap.WRONG
        if values[label] > 0 or (label == best and tags.any()):
            boxed = heatmap.draw_boxes(boxed, boxes[label][None], colour)
    truth = "is " + (", ".join(labelled.names[k] for k in np.flatnonzero(tags)) or "none of these")
    row = [captioned(boxed, values, best, truth, photo.id)]
    if CROP in rounds:
        after = rounds[CROP].decisions[number]
        row.append(captioned(picture[top:bottom, left:right], after, int(after.argmax())))
    for label, one_map in found.maps[number].items():
        row.append(captioned(heatmap.paint(picture, one_map), values, label))
    return row
