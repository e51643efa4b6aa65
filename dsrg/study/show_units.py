"""What speaks for a class: the units with its largest weights, and the photographs that drive each unit most."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from tqdm import tqdm

from dsrg import distributed, grid
from dsrg.data.warped import warped
from dsrg.draw import tiles
from dsrg.errors import InputError
from dsrg.files import disk
from dsrg.labels import BACKGROUND
from dsrg.models.acol import ACoL
from dsrg.models.build import AnyClassifier
from dsrg.models.classifier import Classifier
from dsrg.run import inference, networks
from dsrg.run.folder import Run
from dsrg.study.units import Region, TopImages, class_units, driving_region

BATCH = 16
"""Photographs in one forward pass."""
FRACTION = 0.5
"""A unit's region is where its map is above this share of its maximum, around the maximum."""
TILE = 180
"""Side of a picture, in pixels."""


def show_units(run: Run, name: str, units: int = 5, images: int = 6) -> dict[str, Any]:
    """Write explain/units-<class>.png and .json: a row for each unit, with the photographs that drive it most.

    The units are those with the largest weights w_k^c of the linear layer. The photographs are those of the training
    split, squeezed to classifier.size as where the classifier is measured (or what is nearest to it on the grid of
    cam.output_stride), whose feature map reaches the highest value; each is cut out around the region that drives the
    unit (`dsrg.study.units.driving_region`), and darkened outside.

    Args:
        run: A run whose classifier is trained.
        name: The class.
        units: Units to show.
        images: Photographs for each.

    Returns:
        The content of the JSON.

    Raises:
        InputError: the classifier is not trained or has no linear layer behind pooling, or an argument does not fit.
    """
    label = run.classes.index(name, "--class")
    if label == BACKGROUND:
        raise InputError(f"--class {name}: is not a class of the classifier; name a foreground class.")
    if min(units, images) < 1:
        raise InputError(f"--units {units} --images {images}: show at least one of each.")
    if not distributed.is_main():
        return {}
    model = networks.trained_classifier(run)
    weight = _linear(model).linear.weight.cpu()
    if units > weight.shape[1]:
        raise InputError(f"--units {units}: the classifier has {weight.shape[1]} units; ask for at most that many.")
    chosen, weights = class_units(weight, label - 1, units)
    top = _top_images(run, _linear(model), chosen, images)
    described, rows = [], []
    for place, (unit, value) in enumerate(zip(chosen.tolist(), weights.tolist(), strict=True)):
        shown, pictures = _shown(run, top, place)
        described.append({"unit": unit, "weight": value, "photographs": shown})
        text = tiles.words([f"unit {unit}", f"weight {value:+.4f}", f"number {place + 1} of {weight.shape[1]}"], TILE)
        rows.append([text, *pictures])
    stem, out = f"units-{name.replace('/', '_')}", run.directory / "explain"
    summary = {"class": name, "of": weight.shape[1], "fraction": FRACTION, "units": described}
    disk.write_json(out / f"{stem}.json", summary)
    names = tiles.write_pages(out, stem, tiles.pages([f"for '{name}'", "highest value first"], rows, TILE))
    print(", ".join(f"unit {part['unit']} ({part['weight']:+.4f})" for part in described))
    print(", ".join(str(out / file) for file in (f"{stem}.json", *names)))
    return summary


def _linear(model: AnyClassifier) -> Classifier:
    if isinstance(model, Classifier):
        return model
    ends = {True: "acol: its classifiers end in convolutions", False: "own: it ends in fully connected layers"}
    head = ends[isinstance(model, ACoL)]
    raise InputError(
        f"classifier.head = {head}, with no linear layer behind pooling whose weights rank the units; show the units "
        "of a run with classifier.head = gap."
    )


@torch.no_grad()
def _top_images(run: Run, model: Classifier, units: torch.Tensor, keep: int) -> TopImages:
    """One pass over the training split for all units."""
    top = TopImages(units, keep)
    size = grid.nearest(run.cfg.classifier.size, inference.output_stride(model))
    batches = warped(run.train, size, batch=BATCH, threads=run.cfg.workers)
    with tqdm(total=len(run.train), desc="units") as bar:
        for images, _ in batches:
            top.update(model.features(inference.normalise(images.to(run.device))))
            bar.update(len(images))
    return top


def _shown(run: Run, top: TopImages, place: int) -> tuple[list[dict[str, Any]], list[np.ndarray]]:
    """The photographs that drive a unit most: their part of the JSON, and their pictures."""
    described: list[dict[str, Any]] = []
    pictures: list[np.ndarray] = []
    assert top.maps is not None  # a split has a photograph
    columns = (top.images[place].tolist(), top.values[place].tolist(), top.means[place].tolist(), top.maps[place])
    for number, value, mean, unit_map in zip(*columns, strict=True):
        if number < 0:  # the split has fewer photographs
            continue
        photo = run.train[number]
        picture = inference.read_pixels(photo).permute(1, 2, 0).numpy()
        region = driving_region(unit_map, picture.shape[:2], FRACTION)
        if region is None:  # the unit answers to fewer photographs
            continue
        labels = [run.classes.names[index] for index in photo.own]
        described.append({"id": photo.id, "labels": labels, "value": value, "mean": mean, "box": region.box})
        pictures.append(_tile(picture, region, [f"{value:.2f}, mean {mean:.2f}", ", ".join(labels), photo.id]))
    return described, pictures


def _tile(picture: np.ndarray, region: Region, lines: list[str]) -> np.ndarray:
    """The photograph around the region, darkened outside of it, the region's edge in white."""
    shown = np.ascontiguousarray(np.where(region.mask[..., None], picture, picture * 0.35), np.uint8)
    edges, _ = cv2.findContours(region.mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(shown, edges, -1, (255, 255, 255), max(1, round(max(picture.shape) / 250)))
    height, width = picture.shape[:2]
    left, top, right, bottom = region.box
    # A square with some air around the region, never so small that one cannot tell what the photograph shows.
    side = round(max(1.3 * (right - left), 1.3 * (bottom - top), 0.45 * min(height, width)))
    x0 = max(0, min((left + right - side) // 2, width - side))
    y0 = max(0, min((top + bottom - side) // 2, height - side))
    return tiles.captioned(tiles.fit(shown[y0 : y0 + side, x0 : x0 + side], TILE), lines, width=TILE)
