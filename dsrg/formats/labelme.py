"""Masks as LabelMe JSON: a polygon around each connected part of a class.

LabelMe's polygons have no holes. A hole is so joined to its part's outline by a cut of no width along the part's own
pixels, there and back: the polygon goes around the outline, in along the cut, around the hole and out again.

Vertices lie on the centres of the part's outermost pixels, pixel (row y, column x) at (x, y), as in LabelMe's own
conversions: its reader (labelme/utils/shape.py, `shape_to_mask`) fills the polygon and draws its outline, and so gets
the part back exactly where `tolerance` is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from dsrg.labels import BACKGROUND, IGNORE

VERSION = "5.5.0"
"""Of LabelMe's format; its reader asks for no certain one."""


def document(mask: np.ndarray, classes: Sequence[str], image: str, tolerance: float = 1.0) -> dict[str, Any]:
    """The content of a LabelMe file.

    Args:
        mask: (H, W) uint8 class indices; background and 255 get no polygon.
        classes: The C names, background first.
        image: The photograph's path from the JSON's folder; its pixels are not put into the file.
        tolerance: As in `polygons`.
    """
    shapes = [
        {
            "label": classes[index],
            "points": points.tolist(),
            "group_id": None,
            "description": "",
            "shape_type": "polygon",
            "flags": {},
            "mask": None,
        }
        for index in np.unique(mask).tolist()
        if index not in (BACKGROUND, IGNORE)
        for points in polygons(mask == index, tolerance)
    ]
    height, width = mask.shape
    return {
        "version": VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": image,
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }


def polygons(part: np.ndarray, tolerance: float = 1.0) -> list[np.ndarray]:
    """Polygons around the 8-connected components of a binary mask, largest outline first.

    Args:
        part: (H, W) bool.
        tolerance: How far a dropped pixel of the outline may be from the polygon, in pixels (Douglas and Peucker 1973);
            0 keeps the outline exactly, with a vertex at every turn.

    Returns:
        For each component (N, 2) int32 of x, y, with N >= 3: a component of one or two pixels repeats a vertex, since
        LabelMe refuses fewer.
    """
    outlines, levels = cv2.findContours(part.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if not len(outlines):
        return []
    rings = [outline[:, 0] for outline in outlines]
    parents = levels[0][:, 3]
    holes: dict[int, list[np.ndarray]] = {}
    for ring, parent in zip(rings, parents, strict=True):
        if parent >= 0:
            holes.setdefault(int(parent), []).append(ring)
    found = []
    for number, ring in enumerate(rings):
        if parents[number] >= 0:
            continue
        joined, fixed = _join(ring, holes.get(number, []), part)
        found.append(_at_least_three(_simplify(joined, fixed, tolerance)))
    return sorted(found, key=lambda points: -float(np.ptp(points[:, 0]) * np.ptp(points[:, 1])))


def _join(outline: np.ndarray, holes: Sequence[np.ndarray], part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One closed ring through an outline and its holes, (N, 2) x, y, and which of its vertices, (N,) bool, must stay:
    the ends of the cuts, and the far side of each hole, without which a chain would end where it begins.

    From the leftmost pixel around a hole a cut runs left along the row until the part ends. The pixel there lies on the
    outline, or on a hole that is farther to the left and so was joined before.
    """
    ring, fixed = outline, np.zeros(len(outline), bool)
    for hole in sorted(holes, key=lambda points: int(points[:, 0].min())):
        start = int(hole[:, 0].argmin())
        column, row = hole[start].tolist()
        gaps = np.flatnonzero(~part[row, :column])
        end = int(gaps[-1]) + 1 if len(gaps) else 0
        at = int(np.flatnonzero((ring[:, 0] == end) & (ring[:, 1] == row))[0])
        around = np.concatenate([hole[start:], hole[: start + 1]])
        marks = np.zeros(len(around), bool)
        marks[[0, _farthest(around), -1]] = True
        ring = np.concatenate([ring[: at + 1], around, ring[at:]])
        fixed = np.concatenate([fixed[:at], [True], marks, [True], fixed[at + 1 :]])
    return ring, fixed


def _simplify(ring: np.ndarray, fixed: np.ndarray, tolerance: float) -> np.ndarray:
    """The closed ring with fewer vertices. The fixed ones stay, and so do the first and the farthest from it; each
    chain between two of these is simplified by itself."""
    if len(ring) < 3:
        return ring
    stops = np.unique([0, _farthest(ring), *np.flatnonzero(fixed)]).tolist()
    closed = np.concatenate([ring, ring[:1]])
    chains = [
        cv2.approxPolyDP(closed[start : end + 1, None], tolerance, closed=False)[:-1, 0]
        for start, end in zip(stops, [*stops[1:], len(ring)], strict=True)
    ]
    return np.concatenate(chains)


def _farthest(points: np.ndarray) -> int:
    """Index of the point that is farthest from the first."""
    return int(((points - points[0]) ** 2).sum(axis=1).argmax())


def _at_least_three(points: np.ndarray) -> np.ndarray:
    return np.concatenate([points, np.repeat(points[-1:], max(0, 3 - len(points)), axis=0)])
