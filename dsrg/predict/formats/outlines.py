"""Polygons around the connected parts of a mask, for formats that know no others.

Such polygons have no holes. A hole is so joined to its part's outline by a cut of no width along the part's own pixels,
there and back: the polygon goes around the outline, in along the cut, around the hole and out again. Outline and holes
turn in opposite directions, so that both rules of filling, even-odd and winding, leave the holes empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np


def polygons(part: np.ndarray, tolerance: float = 1.0) -> list[np.ndarray]:
    """Polygons around the 8-connected components of a binary mask, largest outline first.

    Vertices lie on the centres of the outermost pixels, pixel (row y, column x) at (x, y): the part is what is inside
    and on the outline, as LabelMe draws it.

    Args:
        part: (H, W) bool.
        tolerance: How far a dropped pixel of the outline may be from the polygon, in pixels (Douglas and Peucker 1973);
            0 keeps the outline exactly, with a vertex at every turn.

    Returns:
        For each component (N, 2) int32 of x, y, with N >= 3: a component of one or two pixels repeats a vertex, since
        LabelMe refuses fewer.
    """
    found = []
    for ring, fixed in _rings(part):
        points = _simplify(ring, fixed, tolerance)
        found.append(np.concatenate([points, np.repeat(points[-1:], max(0, 3 - len(points)), axis=0)]))
    return _largest_first(found)


def edge_polygons(part: np.ndarray, tolerance: float = 1.0) -> list[np.ndarray]:
    """The same along the edges of pixels, pixel (row y, column x) from (x, y) to (x + 1, y + 1), as COCO has them.

    pycocotools fills those of tolerance 0 to the very same part, whose area is the polygons' own. Where a polygon would
    lose half of its area to the tolerance, as one around a lone pixel or a thin line does, it is exact.

    Args:
        part: (H, W) bool.
        tolerance: As in `polygons`.

    Returns:
        For each component (N, 2) int32 of x, y, with N >= 4.
    """
    found = []
    # Twice as large no part is thinner than its outline, and each of the outline's pixels is on one edge.
    for ring, fixed in _rings(part.repeat(2, axis=0).repeat(2, axis=1)):
        corners = (ring + 1) // 2
        first = np.flatnonzero((corners != np.roll(corners, 1, axis=0)).any(axis=1))  # of each run of the same corner
        fixed = np.logical_or.reduceat(np.roll(fixed, -first[0]), first - first[0])
        corners = corners[first]
        exact = _simplify(corners, fixed, 0)
        points = _simplify(corners, fixed, tolerance) if tolerance else exact
        found.append(exact if abs(_area(points)) < abs(_area(exact)) / 2 else points)
    return _largest_first(found)


def _largest_first(found: list[np.ndarray]) -> list[np.ndarray]:
    return sorted(found, key=lambda points: -float(np.ptp(points[:, 0]) * np.ptp(points[:, 1])))


def _area(points: np.ndarray) -> float:
    """The signed area of a closed polygon (N, 2)."""
    x, y = points.T.astype(float)
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def _rings(part: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Of each 8-connected component one closed ring through its outermost pixels, and which of them must stay, as in
    `_join`."""
    outlines, levels = cv2.findContours(part.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if not len(outlines):
        return
    rings = [outline[:, 0] for outline in outlines]
    parents = levels[0][:, 3]
    holes: dict[int, list[np.ndarray]] = {}
    for ring, parent in zip(rings, parents, strict=True):
        if parent >= 0:
            holes.setdefault(int(parent), []).append(ring)
    for number, ring in enumerate(rings):
        if parents[number] < 0:
            yield _join(ring, holes.get(number, []), part)


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
    places = points[:, 1].astype(np.int64) * part.shape[1] + points[:, 0]
    order = np.argsort(places, kind="stable")
    owners = np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])[order]
    places = places[order]
    for number, ring in enumerate(rings[1:], 1):
        for axis, sign in ((0, -1), (0, 1), (1, -1), (1, 1)):
            start = ring[(sign * ring[:, axis]).argmax()]
            line = part[start[1]] if axis == 0 else part[:, start[0]]
            ahead = line[start[axis] :: sign]
            length = len(ahead) - 1 if ahead.all() else int(ahead.argmin()) - 1
            end = start.copy()
            end[axis] += sign * length
            place = int(end[1]) * part.shape[1] + int(end[0])
            here = owners[np.searchsorted(places, place) : np.searchsorted(places, place, "right")]
            yield _Cut(length, number, start, int(here[here != number][0]), end)


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
