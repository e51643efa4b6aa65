"""mIoU of two folders of masks: ours, the official per-pixel loop and the floor, which is decoding the PNGs only.

    python -m benchmarks.eval [--pairs 1449] [--naive-pairs 20] [--size 500x375]

The masks are made: blobby regions from upscaled noise, void along the borders. Nothing is downloaded or kept.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from benchmarks.common import machine_line, print_table, timed, usable_cores
from dsrg.data.mask_folders import compare_folders
from dsrg.files import pictures
from dsrg.labels import BACKGROUND, IGNORE, PRESETS, Classes

CLASSES = Classes(PRESETS["voc"])
DISTINCT = 100  # pairs that are drawn; the rest are hard links, which cost as much to decode and no time to make
REPEATS = 5


def main() -> None:
    """Make the masks in a temporary folder, measure, print the table."""
    parser = argparse.ArgumentParser(description="mIoU of two folders of masks, against the official per-pixel loop.")
    parser.add_argument("--pairs", type=int, default=1449, help="pairs of masks (VOC's validation split: 1449)")
    parser.add_argument("--naive-pairs", type=int, default=20, help="pairs to measure the per-pixel loop on")
    parser.add_argument("--size", default="500x375", metavar="WxH", help="pixels of a mask")
    options = parser.parse_args()
    width, height = (int(side) for side in options.size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        predictions, truth = Path(folder, "predictions"), Path(folder, "truth")
        names = write_pairs(predictions, truth, options.pairs, width, height)
        size = sum(path.stat().st_size for path in [*predictions.iterdir(), *truth.iterdir()])
        print(machine_line())
        print(f"{len(names)} pairs of {width} x {height}, {size / len(names) / 2e3:.1f} kB a mask on average")
        measure(predictions, truth, names, names[: options.naive_pairs])


def measure(predictions: Path, truth: Path, names: list[str], shared: list[str]) -> None:
    """Print seconds of ours and of the floor over `names`, and of the loops over `shared`, scaled to as many pairs."""
    loops, mean = time_loops(predictions, truth, shared)
    loops = {label: seconds * len(names) / len(shared) for label, seconds in loops.items()}
    official, lists = loops.values()
    works = {
        (label, threads): partial(work, predictions, truth, names, threads)
        for threads in sorted({1, usable_cores()})
        for label, work in (("ours", compare_all), ("floor: decoding only", decode_all))
    }
    best = dict.fromkeys(works, math.inf)
    for _ in range(REPEATS):  # by turns, so that whatever else the machine does falls on all of them
        for key, work in works.items():
            best[key] = min(best[key], timed(work, 1)[0])

    def row(label: str, seconds: float, floor: float) -> list[str]:
        figures = [f"{seconds:.2f}", f"{seconds / len(names) * 1e3:.2f}"]
        return [label, *figures, f"{official / seconds:.1f}", f"{lists / seconds:.1f}", f"{seconds / floor:.2f}"]

    rows = [
        row(f"{label}, {threads} thread{'s' * (threads > 1)}", seconds, best["floor: decoding only", threads])
        for (label, threads), seconds in best.items()
    ]
    rows += [row(label, seconds, best["floor: decoding only", 1]) for label, seconds in loops.items()]
    print_table(["", "seconds", "ms a pair", "official / it", "lists / it", "it / floor"], rows)
    print(f"* One process, best of 3 over {len(shared)} pairs, scaled to {len(names)}; else best of {REPEATS}.")
    print(f"All count the same on those {len(shared)} pairs: mIoU {mean:.6f}.")


def time_loops(predictions: Path, truth: Path, names: list[str]) -> tuple[dict[str, float], float]:
    """Seconds of both per-pixel loops, and the mean IoU, after making sure that they count what we count."""
    expected = compare_folders(predictions, truth, CLASSES, names)
    seconds = {}
    for label, loop in (("official loop, numpy arrays *", official_loop), ("the same loop, lists *", list_loop)):
        counts: list[list[int]] = []
        once, _ = timed(partial(loop, predictions, truth, names, counts), 1)
        again, _ = timed(partial(loop, predictions, truth, names, []), 2)
        seconds[label] = min(once, again)
        assert counts == expected.counts.tolist(), f"{label}: counts otherwise than ours"
        assert math.isclose(mean_iou(counts), expected.mean_iou(), rel_tol=1e-12), f"{label}: another mean IoU"
    return seconds, expected.mean_iou()


def compare_all(predictions: Path, truth: Path, names: list[str], threads: int) -> None:
    """Ours."""
    compare_folders(predictions, truth, CLASSES, names, threads)


def decode_all(predictions: Path, truth: Path, names: list[str], threads: int) -> None:
    """The floor: decode every PNG with Pillow, shared out once among as many threads, and do nothing with it."""

    def decode(some: list[str]) -> None:
        for name in some:
            for folder in (predictions, truth):
                Image.open(folder / f"{name}.png").load()

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(decode, [names[first::threads] for first in range(threads)]))


def official_loop(predictions: Path, truth: Path, names: list[str], counts: list[list[int]]) -> None:
    """Fill `counts` as the authors' evaluate does: both masks flat numpy arrays, a matrix of floats, void left out.

    Theirs forks one process for each core, each with its share of the pairs: compare it with ours on one thread.
    """
    total = np.zeros((len(CLASSES), len(CLASSES)))
    for name in names:
        predicted, true = (np.array(Image.open(folder / f"{name}.png")).ravel() for folder in (predictions, truth))
        for i in range(len(true)):
            if true[i] != IGNORE:
                total[true[i], predicted[i]] += 1.0
    counts += total.astype(int).tolist()


def list_loop(predictions: Path, truth: Path, names: list[str], counts: list[list[int]]) -> None:
    """Fill `counts` by the same loop as fast as Python runs it, on lists of its own integers: the hardest rival."""
    counts += ([0] * len(CLASSES) for _ in range(len(CLASSES)))
    for name in names:
        predicted, true = (np.array(Image.open(folder / f"{name}.png")).tolist() for folder in (predictions, truth))
        for predicted_row, true_row in zip(predicted, true, strict=True):
            for predicted_class, true_class in zip(predicted_row, true_row, strict=True):
                if true_class != IGNORE:
                    counts[true_class][predicted_class] += 1


def mean_iou(counts: list[list[int]]) -> float:
    """Mean over the classes that occur in truth or prediction of hits / (truth + prediction - hits)."""
    unions = [sum(row) + sum(other[k] for other in counts) - row[k] for k, row in enumerate(counts)]
    ious = [counts[k][k] / union for k, union in enumerate(unions) if union]
    return sum(ious) / len(ious)


def write_pairs(predictions: Path, truth: Path, pairs: int, width: int, height: int) -> list[str]:
    """Write pairs of palette PNGs, always the same ones, and return their names."""
    rng = np.random.default_rng(0)
    for number in range(min(pairs, DISTINCT)):
        for folder, mask in zip((predictions, truth), draw_pair(rng, width, height), strict=True):
            pictures.write_mask(folder / f"{number:06}.png", mask)
    for number in range(DISTINCT, pairs):
        for folder in (predictions, truth):
            os.link(folder / f"{number % DISTINCT:06}.png", folder / f"{number:06}.png")
    return [f"{number:06}" for number in range(pairs)]


def draw_pair(rng: np.random.Generator, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """A prediction and its truth with 5-pixel void borders, both (height, width) uint8.

    What a PNG costs to decode depends on its content. One to three objects, each a few blobs with uneven outlines, on
    70 % background give a size in bytes and a decoding time near those of VOC's masks; per-pixel noise would not.
    """
    present = rng.choice(np.arange(1, len(CLASSES)), rng.integers(1, 4), replace=False)
    classes = np.concatenate([[BACKGROUND], present]).astype(np.uint8)

    def noise(rows: int, columns: int, strength: float) -> np.ndarray:
        coarse = rng.random((rows, columns, len(classes))) * strength
        return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)

    scores = noise(5, 6, 1.0) + noise(height // 8, width // 8, 0.1)
    scores[..., 0] += 0.35  # most of a photograph is background
    true = classes[scores.argmax(axis=-1)]
    predicted = classes[(scores + noise(8, 10, 0.3)).argmax(axis=-1)]
    border = cv2.morphologyEx(true, cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8)) > 0
    return predicted, np.where(border, np.uint8(IGNORE), true)


if __name__ == "__main__":
    main()
