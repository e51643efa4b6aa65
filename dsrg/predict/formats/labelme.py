"""Masks as LabelMe JSON: a polygon around each connected part of a class.

LabelMe's polygons have no holes. A hole is so joined to its part's outline by a cut of no width along the part's own
pixels, there and back: the polygon goes around the outline, in along the cut, around the hole and out again.

Vertices lie on the centres of the part's outermost pixels, pixel (row y, column x) at (x, y), as in LabelMe's own
conversions: its reader (labelme/utils/shape.py, `shape_to_mask`) fills the polygon and draws its outline, and so gets
the part back exactly where `tolerance` is 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from dsrg.files import disk
from dsrg.labels import BACKGROUND, IGNORE
from dsrg.predict.formats import Drawn

VERSION = "5.5.0"
"""Of LabelMe's format; its reader asks for no certain one."""


def content(drawn: Drawn) -> bytes:
    """The file of one picture."""
    return disk.json_text(document(drawn.mask, drawn.classes, drawn.image, drawn.tolerance)).encode()


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
        points = _simplify(joined, fixed, tolerance)
        found.append(np.concatenate([points, np.repeat(points[-1:], max(0, 3 - len(points)), axis=0)]))
    return sorted(found, key=lambda points: -float(np.ptp(points[:, 0]) * np.ptp(points[:, 1])))


class _Cut(NamedTuple):
    """A way from a hole's ring to another's along the part's own pixels, in a row or a column."""

    length: int
    hole: int
    """Number of the ring that it starts on."""
    start: np.ndarray
    """(2,) x, y on that ring."""
    other: int
    """Number of the ring that it ends on."""
    end: np.ndarray
    """(2,) x, y on the other ring; where the part is one pixel thick, the start."""


def _join(outline: np.ndarray, holes: Sequence[np.ndarray], part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One closed ring through an outline and its holes, (N, 2) x, y, and which of its vertices, (N,) bool, must stay:
    the ends of the cuts, and the far side of each hole, without which a chain would end where it begins.

    The cuts are the shortest that connect all rings: a minimum spanning tree (Kruskal 1956). From a hole's leftmost
    pixel the cut to the left ends on a ring that reaches farther left, or on the outline, so there always is a tree.
    """
    ring, fixed = outline, np.zeros(len(outline), bool)
    joined = {0}
    cuts = _spanning_tree(sorted(_cuts([outline, *holes], part), key=lambda cut: cut.length), len(holes) + 1)
    while cuts:
        cut = cuts.pop(next(n for n, cut in enumerate(cuts) if (cut.hole in joined) != (cut.other in joined)))
        ends = [(cut.other, cut.end), (cut.hole, cut.start)]
        (_, here), (new, there) = ends if cut.other in joined else ends[::-1]
        joined.add(new)
        hole = holes[new - 1]
        start = _index(hole, there)
        around = np.concatenate([hole[start:], hole[: start + 1]])
        marks = np.zeros(len(around), bool)
        marks[[0, _farthest(around), -1]] = True
        at = _index(ring, here)
        ring = np.concatenate([ring[: at + 1], around, ring[at:]])
        fixed = np.concatenate([fixed[:at], [True], marks, [True], fixed[at + 1 :]])
    return ring, fixed


def _cuts(rings: Sequence[np.ndarray], part: np.ndarray) -> Iterator[_Cut]:
    """From each hole's outermost pixels the cuts to the left, right, top and bottom. Ring 0 is the outline."""
    points = np.concatenate(rings)
    owners = np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
    for number, ring in enumerate(rings[1:], 1):
        for axis, sign in ((0, -1), (0, 1), (1, -1), (1, 1)):
            start = ring[(sign * ring[:, axis]).argmax()]
            line = part[start[1]] if axis == 0 else part[:, start[0]]
            ahead = line[start[axis] :: sign]
            length = len(ahead) - 1 if ahead.all() else int(ahead.argmin()) - 1
            end = start.copy()
            end[axis] += sign * length
            others = owners[(points == end).all(axis=1) & (owners != number)]
            yield _Cut(length, number, start, int(others[0]), end)


def _spanning_tree(cuts: Iterable[_Cut], count: int) -> list[_Cut]:
    """Those of the cuts, from the first, that connect `count` rings without a circle."""
    groups = np.arange(count)
    kept = []
    for cut in cuts:
        first, second = groups[cut.hole], groups[cut.other]
        if first != second:
            groups[groups == second] = first
            kept.append(cut)
    return kept


def _index(ring: np.ndarray, point: np.ndarray) -> int:
    """Where a point is in a ring that holds it."""
    return int(np.flatnonzero((ring == point).all(axis=1))[0])


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
