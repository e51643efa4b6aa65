"""Which objects lie where each class's map is high: a table with lift over chance, and pictures of the first six."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from dsrg import distributed
from dsrg.data.voc import Photo
from dsrg.draw import tiles
from dsrg.files import disk
from dsrg.labels import BACKGROUND, Classes, palette
from dsrg.run import inference
from dsrg.run.folder import Run
from dsrg.study import mass
from dsrg.study.mass import MapMass
from dsrg.tables import HIGH_REGION

OVERLAP = 0.05
"""An object is in a high region from this share of its pixels on; less is an outline that does not fit."""
TOP = 6
"""Objects to draw for each class (Zhou et al. 2016, Fig. 9)."""
TILE = 180
"""Long side of a picture, in pixels."""


@dataclass
class Found:
    """The photographs of one class, and what its map lies on in each."""

    photos: list[Photo] = field(default_factory=list)
    region: list[np.ndarray] = field(default_factory=list)
    """(L,) for each, the share of the high region that each label has; void is not counted."""
    area: list[np.ndarray] = field(default_factory=list)
    """(L,) for each, the share of the photograph."""
    empty: int = 0
    """Photographs whose map is nowhere positive, or whose region is void alone; they are in none of the lists."""


@dataclass(frozen=True)
class ObjectFigures:
    """How a class's high region and one label go together, over the photographs of the class."""

    label: int
    in_region: float
    """Share of the photographs in which the label has at least OVERLAP of the high region."""
    in_photograph: float
    """Share of the photographs in which it has a pixel at all."""
    region: float
    """Its share of the high region, the mean over the photographs."""
    area: float
    """Its share of the photograph, likewise: what chance would give the region."""

    @property
    def lift(self) -> float:
        """Its share of the region over its share of the photograph; 1 is chance."""
        return self.region / self.area


def show_objects(
    run: Run,
    masks: Path | None = None,
    labels: str | None = None,
    method: str | None = None,
    split: str | None = None,
    threshold: float = HIGH_REGION,
) -> dict[str, Any]:
    """Write explain/objects.json, .md and .png (with other masks objects-<name of their folder>).

    For each class of the classifier, over the photographs that have its label: which labels of the masks lie where the
    class's map is high, the most frequent first, of equal ones that with the larger lift (`ObjectFigures`).

    Args:
        run, masks, labels, method, split, threshold: As in `MapMass`.

    Returns:
        The content of the JSON.

    Raises:
        InputError: as `MapMass`.
    """
    maps = MapMass(run, masks, labels, method, split, threshold)
    if not distributed.is_main():
        return {}
    found = _find(maps)
    figures = {label: figures_of(part) for label, part in found.items()}
    summary = {
        "method": maps.method,
        "split": maps.split,
        "threshold": threshold,
        "photographs": len(maps.photos),
        "with_masks": len(maps.masked),
        "classes": {
            run.classes.foreground[label]: _described(part, figures[label], maps.source.classes)
            for label, part in found.items()
        },
    }
    rows = [_row(maps, label, part, figures[label]) for label, part in tqdm(found.items(), "pictures")]
    out, stem = run.directory / "explain", f"objects-{maps.source.directory.resolve().name}" if masks else "objects"
    disk.write_json(out / f"{stem}.json", summary)
    disk.write_text(out / f"{stem}.md", table(summary) + "\n")
    titles = ["class", f"objects in its high region, the {TOP} most frequent"]
    names = tiles.write_pages(out, stem, tiles.pages(titles, rows, TILE))
    print(table(summary))
    print("\n" + ", ".join(str(out / name) for name in (f"{stem}.json", f"{stem}.md", *names)))
    return summary


def figures_of(found: Found) -> list[ObjectFigures]:
    """The figures of every label that a photograph of the class shows, in the order of the table."""
    if not found.photos:
        return []
    region, area = np.array(found.region), np.array(found.area)
    shown = [
        ObjectFigures(
            label=int(label),
            in_region=float((region[:, label] >= OVERLAP).mean()),
            in_photograph=float((area[:, label] > 0).mean()),
            region=float(region[:, label].mean()),
            area=float(area[:, label].mean()),
        )
        for label in np.flatnonzero(area.any(axis=0))
    ]
    return sorted(shown, key=lambda one: (-one.in_region, -one.lift, one.label))


def table(summary: dict[str, Any]) -> str:
    """The objects of each class as a Markdown table: the first TOP, and background."""
    columns = ("in the region", "in the photograph", "share of the region", "of the photograph", "lift")
    lines = ["| class | object | " + " | ".join(columns) + " |", "|---|---|" + "---:|" * len(columns)]
    for name, part in summary["classes"].items():
        objects = [one for one in part["objects"] if not one["background"]][:TOP]
        for one in objects + [one for one in part["objects"] if one["background"]]:
            percents = [one[key] for key in ("in_region", "in_photograph", "region", "area")]
            cells = [*(f"{100 * value:.0f} %" for value in percents), f"{one['lift']:.2f}"]
            lines.append(f"| {name} ({part['photographs']}) | {one['label']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _find(maps: MapMass) -> dict[int, Found]:
    """By class 0..K-1, what its map lies on in the photographs that have its label."""
    found = {label: Found() for label in range(len(maps.run.classes.foreground))}
    for photo in tqdm(maps.masked, "maps"):
        own = (photo.own - 1).tolist()
        sums = maps.sums(photo, own)
        for label, region in zip(own, mass.shares(sums.region), strict=True):
            part = found[label]
            if np.isnan(region).any():
                part.empty += 1
                continue
            part.photos.append(photo)
            part.region.append(region)
            part.area.append(mass.shares(sums.area))
    return found


def _described(found: Found, figures: Sequence[ObjectFigures], classes: Classes) -> dict[str, Any]:
    keys = ("in_region", "in_photograph", "region", "area", "lift")
    return {
        "photographs": len(found.photos),
        "without_region": found.empty,
        "objects": [
            {"label": classes.names[one.label], "background": one.label == BACKGROUND}
            | {key: getattr(one, key) for key in keys}
            for one in figures
        ],
    }


def _row(maps: MapMass, label: int, found: Found, figures: Sequence[ObjectFigures]) -> list[np.ndarray]:
    """The class's name, and for each of its first objects the photograph in which it has most of the high region, each
    photograph once as long as there are others."""
    row = [tiles.words([maps.run.classes.foreground[label], f"{len(found.photos)} photographs"], TILE)]
    free = set(range(len(found.photos)))
    for one in [one for one in figures if one.label != BACKGROUND and one.in_region > 0][:TOP]:
        ranked = sorted(range(len(found.photos)), key=lambda number: -found.region[number][one.label])
        number = next((place for place in ranked if place in free and found.region[place][one.label] > 0), ranked[0])
        free.discard(number)
        photo = found.photos[number]
        (high,) = mass.high_regions(maps.large(photo, label)[None], maps.threshold)
        text = [
            f"{maps.source.classes.names[one.label]}, lift {one.lift:.2f}",
            f"in {100 * one.in_region:.0f} % of the regions",
            f"{100 * found.region[number][one.label]:.0f} % of this one, {photo.id}",
        ]
        picture = inference.read_pixels(photo).permute(1, 2, 0).numpy()
        tile = _lit(picture, high, maps.mask(photo) == one.label, one.label)
        row.append(tiles.captioned(tiles.fit(tile, TILE), text, None, TILE))
    return row


def _lit(picture: np.ndarray, high: np.ndarray, object_: np.ndarray, label: int) -> np.ndarray:
    """The photograph darkened outside of the high region, the object's outline in its label's colour."""
    shown = np.ascontiguousarray(np.where(high[..., None], picture, picture * 0.35), np.uint8)
    edges, _ = cv2.findContours(object_.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    colour = tuple(int(part) for part in palette()[label])
    cv2.drawContours(shown, edges, -1, colour, max(1, round(max(picture.shape) / 120)))
    return shown
