"""Where the classifier looked: photographs, their likeliest labels, and a heat map of each label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn
from tqdm import tqdm

from dsrg import distributed, tables
from dsrg.data.checked import check_files
from dsrg.data.voc import Photo, spread
from dsrg.draw import heatmap, lettering, tiles
from dsrg.draw.heatmap import Colour
from dsrg.errors import InputError
from dsrg.files import disk
from dsrg.run import inference, networks
from dsrg.run.folder import Run

TOP = 5
"""Labels to show of each photograph, the likeliest ones; all where there are fewer classes."""
TILE = 200
"""Long side of a picture, in pixels."""
VERDICTS: dict[str, Colour] = {
    "right": heatmap.RIGHT,
    "wrong": heatmap.WRONG,
    "missed": heatmap.MISSED,
    "": (110, 110, 110),
}
"""What a label is, predicted and true, predicted and not true, true and not predicted, or neither; and its colour."""


@dataclass(frozen=True)
class View:
    """A photograph and what the classifier says of it. Classes are numbers 0..K-1, without background."""

    photo: Photo
    own: frozenset[int] | None
    """Its image-level labels; None where it has none, being no photograph of the data set."""
    scores: np.ndarray
    """(K,) probability of each class."""
    several: bool
    """Whether photographs have several labels: the scores are then independent of each other."""

    @property
    def guesses(self) -> list[int]:
        """The likeliest classes, at most TOP, the first of equal ones first."""
        order: list[int] = np.argsort(-self.scores, kind="stable")[:TOP].tolist()
        return order

    @property
    def others(self) -> list[int]:
        """Its labels that are not among the guesses."""
        return sorted((self.own or frozenset()) - set(self.guesses))

    @property
    def right(self) -> bool | None:
        """Whether the likeliest class is one of the labels; None where there are none."""
        return None if self.own is None else self.guesses[0] in self.own

    def verdict(self, label: int) -> str:
        """One of VERDICTS. Predicted is the likeliest class and, where there are several, each above a score of 0.5."""
        if self.own is None:
            return ""
        predicted = label == self.guesses[0] or (self.several and self.scores[label] > 0.5)
        return {(True, True): "right", (True, False): "wrong", (False, True): "missed", (False, False): ""}[
            predicted, label in self.own
        ]


def show_cams(
    run: Run, files: Sequence[str] = (), method: str | None = None, count: int = 12, wrong: bool = False
) -> dict[str, Any]:
    """Write explain/cams-<method>.png and .json (with `wrong` cams-<method>-wrong, of files cams-<method>-files).

    Scores and maps are those of one forward pass, of the photograph at `localize.size` as for its boxes, so that a map
    shows what the score beside it came from. Each map is rectified and divided by its own maximum: how strong a class
    is says its score, not its map.

    Args:
        run: A run whose classifier is trained.
        files: Photographs to show; none for photographs of the validation split, spread over it. Those that are in no
            split have no labels, and nothing of theirs is marked.
        method: One of `tables.MAPS`; None for ACoL's where that is the head, and else CAM.
        count: How many of the split; all where there are fewer.
        wrong: Only photographs whose likeliest class is none of theirs, the surest first.

    Returns:
        The content of the JSON.

    Raises:
        InputError: the classifier is not trained, lacks the method, or an argument does not fit.
    """
    method = method_of(run, method)
    if count < 1:
        raise InputError(f"--count {count}: show at least one photograph.")
    photos = find_photos(run, files) if files else run.val
    if not wrong and not files:
        photos = spread(photos, count)
    labelled = {photo.id for photo in photos if photo.tags[1:].any()}
    if wrong and (unknown := next((photo for photo in photos if photo.id not in labelled), None)):
        raise InputError(f"{unknown.path}: is in no split, so whether it is wrong is not known; leave out --wrong.")
    if not distributed.is_main():
        return {}
    model = networks.trained_classifier(run)
    views = [look(run, model, photo) for photo in tqdm(photos, "scores")]
    mistaken = [view for view in views if view.right is False]
    if wrong:
        mistaken.sort(key=lambda view: -view.scores.max())
        views = mistaken if files else mistaken[:count]
    stem = f"cams-{method}" + "-wrong" * wrong + "-files" * bool(files)
    summary = {
        "method": method,
        "scored": len(photos),
        "labelled": len(labelled),
        "wrong": len(mistaken),
        "shown": [_described(run, view) for view in views],
    }
    rows = [_row(run, model, view, method) for view in tqdm(views, "maps")]
    disk.write_json(run.directory / "explain" / f"{stem}.json", summary)
    pages = tiles.pages(["photograph", "likeliest labels", "heat maps"], rows, TILE)
    names = tiles.write_pages(run.directory / "explain", stem, pages)
    print(f"{len(mistaken)} of {len(labelled)} labelled photographs wrong, {len(views)} of {len(photos)} shown")
    print(", ".join(str(run.directory / "explain" / name) for name in (f"{stem}.json", *names)))
    return summary


def method_of(run: Run, method: str | None) -> str:
    """The method, or where it is None the first that the run's classifier has.

    Raises:
        InputError: there is no such method, or the classifier lacks it.
    """
    head = run.cfg.classifier.head
    own = tables.maps_of(head)
    method = method or own[0]
    if method not in tables.MAPS:
        raise InputError(f"--method {method}: is not known; choose one of {', '.join(tables.MAPS)}.")
    if method not in own:
        raise InputError(
            f"--method {method}: needs classifier.head = {tables.MAPS[method].head}, which is {head}; choose "
            f"{', '.join(own[:-1])} or {own[-1]}."
        )
    return method


def find_photos(run: Run, files: Sequence[str]) -> list[Photo]:
    """The files as photographs, with the labels of those that are in a split; all are read here once."""
    known = {photo.path.resolve(): photo for photo in (*run.train, *run.val)}
    photos = []
    for file in map(Path, files):
        unlabelled = np.zeros(len(run.classes), bool)
        unlabelled[0] = True
        photos.append(known.get(file.resolve(), Photo(str(file), file, unlabelled)))
    check_files(run.folder, photos, masks=None)
    return photos


@torch.no_grad()
def look(run: Run, model: nn.Module, photo: Photo) -> View:
    """What the classifier says of a photograph, in one forward pass."""
    logits = model(_input(run, model, photo))[0].float()
    several = run.cfg.classifier.loss == "multi_label"
    scores = logits.sigmoid() if several else logits.softmax(0)
    own = frozenset(np.flatnonzero(photo.tags[1:]).tolist())
    return View(photo, own or None, scores.cpu().numpy(), several)


def raw_maps(run: Run, model: nn.Module, photo: Photo, labels: Sequence[int], method: str) -> Tensor:
    """The maps of some classes, 0..K-1, of a photograph in one forward pass: (N, h, w), of any range."""
    maps: Tensor = tables.part(tables.MAPS[method].place)(model, _input(run, model, photo), torch.tensor([[*labels]]))
    return maps[0]


def _input(run: Run, model: nn.Module, photo: Photo) -> Tensor:
    pixels = inference.read_pixels(photo).to(run.device)
    (images,) = inference.pyramid(model, pixels, (1.0,), run.cfg.localize.size, mirror=False)
    return images


def _described(run: Run, view: View) -> dict[str, Any]:
    """A photograph's part of the JSON; its maps are those of the guesses and of its other labels, in that order."""
    names = run.classes.foreground

    def listed(labels: Sequence[int]) -> list[dict[str, Any]]:
        return [
            {"label": names[label], "score": float(view.scores[label]), "verdict": view.verdict(label)}
            for label in labels
        ]

    return {
        "id": view.photo.id,
        "file": str(view.photo.path),
        "labels": None if view.own is None else [names[label] for label in sorted(view.own)],
        "right": view.right,
        "guesses": listed(view.guesses),
        "other_labels": listed(view.others),
    }


def _row(run: Run, model: nn.Module, view: View, method: str) -> list[np.ndarray]:
    """The photograph, its scores, and the heat maps, each with its caption."""
    picture = inference.read_pixels(view.photo).permute(1, 2, 0).numpy()
    labels = [*view.guesses, *view.others]
    maps = raw_maps(run, model, view.photo, labels, method).relu()
    peak = maps.amax(dim=(1, 2), keepdim=True)
    maps = maps / torch.where(peak > 0, peak, 1)
    names, best = run.classes.foreground, view.guesses[0]
    caption = [f"{view.verdict(best)}: {names[best]}" if view.own is not None else names[best]]
    if view.own is not None:
        caption.append("is " + ", ".join(names[label] for label in sorted(view.own)))
    photo = tiles.captioned(tiles.fit(picture, TILE), [*caption, view.photo.id], VERDICTS[view.verdict(best)], TILE)
    row = [photo, _bars(run, view, labels)]
    for number, (label, one_map) in enumerate(zip(labels, maps.cpu().numpy(), strict=True), 1):
        place = f"{number}. " if number <= len(view.guesses) else ""
        text = f"{place}{names[label]} {view.scores[label]:.2f} {view.verdict(label)}"
        tile = tiles.fit(heatmap.paint(picture, one_map), TILE)
        row.append(tiles.captioned(tile, [text], VERDICTS[view.verdict(label)], TILE))
    return row


def _bars(run: Run, view: View, labels: Sequence[int]) -> np.ndarray:
    """The scores as bars, with name, figure, and the verdict as a word and a colour."""
    step, width = 34, TILE - 12
    sheet = Image.new("RGB", (TILE, step * len(labels) + 2), "white")
    pen = ImageDraw.Draw(sheet)
    for number, label in enumerate(labels):
        colour = VERDICTS[view.verdict(label)]
        top, score = step * number, float(view.scores[label])
        text = f"{run.classes.foreground[label]} {score:.3f} {view.verdict(label)}"
        lettering.write(pen, (0, top), text, colour, tiles.LETTERS)
        pen.rectangle((0, top + 18, width, top + 26), outline=(200, 200, 200))
        pen.rectangle((0, top + 18, round(width * score), top + 26), fill=colour)
    return np.asarray(sheet)
