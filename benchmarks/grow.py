"""Seeded region growing of one batch: ours, the authors' algorithm in Python, and the floor.

python -m benchmarks.grow [--batch 20] [--classes 21] [--size 41]
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from benchmarks import official
from benchmarks.batch import Batch, voc_like
from benchmarks.common import copy_bandwidth, devices, machine_line, print_table, synchronised, timed
from dsrg import grow
from dsrg.cli import keep_freed_memory
from dsrg.crf import dense_crf
from dsrg.grow import grow_seeds

REPEATS = 200


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="Seeded region growing, against the authors' algorithm in Python.")
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--classes", type=int, default=21, help="with background")
    parser.add_argument("--size", type=int, default=41, help="pixels of a side of the grid")
    options = parser.parse_args()
    batch = voc_like(options.batch, options.classes, options.size)
    refined = dense_crf(batch.probs, batch.images, batch.tags, bilateral_sxy=80 / 12, gaussian_sxy=3 / 12)
    batch = batch._replace(probs=refined)

    keep_freed_memory()  # as every tool does
    print(machine_line())
    grown = grow_seeds(batch.seeds, batch.probs, batch.tags)
    before, after = ((seeds != 255).float().mean() for seeds in (batch.seeds, grown))
    print(f"{tuple(batch.probs.shape)}, CRF output; seeds on {before:.0%} of the pixels, {after:.0%} when grown")
    naive, by_loops = grow_by_loops(batch)
    np.testing.assert_array_equal(grown.numpy(), by_loops)
    rows = [["authors' algorithm, Python, 1 process", *_figures(naive, naive, naive), ""]]
    for device in devices():
        rows += _rows_of(Batch(*(tensor.to(device) for tensor in batch)), device, naive)
    print_table(["", "best ms", "median ms", "ratio", "x floor"], rows)
    print(
        "ratio: best of the authors' / median of ours. Floor: the own classes' probabilities and the seeds, read once,"
    )
    print("and the grown seeds written, at the speed of a copy in memory.")


def grow_by_loops(batch: Batch) -> tuple[float, np.ndarray]:
    """Best seconds of the authors' algorithm over the batch, and its answer (B, h, w)."""
    images = list(zip(*(tensor.numpy() for tensor in (batch.seeds, batch.probs, batch.tags)), strict=True))
    answer = np.stack([official.grow_seeds(*image) for image in images])
    return timed(lambda: [official.grow_seeds(*image) for image in images], 3)[0], answer


def _rows_of(batch: Batch, device: str, naive: float) -> list[list[str]]:
    pixels = batch.seeds.numel()
    own = int(batch.tags.sum()) * pixels // len(batch.tags)
    floor = (own * batch.probs.element_size() + 2 * pixels * batch.seeds.element_size()) / copy_bandwidth(device)
    paths = {f"ours, {device}": grow._seeded_components_cpu}
    if device == "cpu":
        paths["ours, the CUDA path on the CPU"] = grow._seeded_components_device
    rows = []
    chosen = grow._seeded_components_cpu
    for label, path in paths.items():
        grow._seeded_components_cpu = path
        call = synchronised(lambda: grow_seeds(batch.seeds, batch.probs, batch.tags))
        call()
        best, median = timed(call, REPEATS)
        rows.append([label, *_figures(best, median, naive), f"{best / floor:.0f}"])
    grow._seeded_components_cpu = chosen
    return [*rows, [f"floor, {device}", *_figures(floor, floor, naive), "1"]]


def _figures(best: float, median: float, naive: float) -> list[str]:
    return [f"{best * 1e3:.3f}", f"{median * 1e3:.3f}", f"{naive / median:.0f} x"]


if __name__ == "__main__":
    with torch.no_grad():
        main()
