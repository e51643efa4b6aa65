"""The dense CRF's engines: seconds, accuracy and memory, on the training grid and at full size.

python -m benchmarks.crf [--batch 20] [--classes 21] [--size 41] [--full 375x500] [--no-grid]
"""

from __future__ import annotations

import argparse
import time

import torch
from torch import Tensor

from benchmarks import official
from benchmarks.batch import Batch, voc_like
from benchmarks.common import copy_bandwidth, devices, machine_line, print_table, synchronised, timed
from dsrg.cli import keep_freed_memory
from dsrg.crf import dense_crf
from dsrg.mean_field import lattice, tiled

SCALE = 12.0
"""By which the training grid's position deviations are smaller than the photograph's."""
TRAINING = {"bilateral_sxy": 80 / SCALE, "gaussian_sxy": 3 / SCALE}
REPEATS = 10


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description="The dense CRF's engines, against one pass of the authors' step.")
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--classes", type=int, default=21, help="with background")
    parser.add_argument("--size", type=int, default=41, help="pixels of a side of the training grid")
    parser.add_argument("--full", default="375x500", metavar="HxW", help="pixels of the photograph")
    parser.add_argument("--no-grid", action="store_true", help="leave the training grid out")
    options = parser.parse_args()
    keep_freed_memory()  # as every tool does
    print(machine_line())
    if not options.no_grid:
        training_grid(voc_like(options.batch, options.classes, options.size))
        print()
    height, width = (int(side) for side in options.full.split("x"))
    full_size(voc_like(1, options.classes, max(height, width)), height, width)


def training_grid(batch: Batch) -> None:
    """One batch: each engine with the images' own classes and with all of them."""
    print(f"Training grid, {tuple(batch.probs.shape)}, 10 iterations")
    pictures = batch.images.permute(0, 2, 3, 1).contiguous().numpy()
    images = list(zip(batch.probs.numpy(), pictures, strict=True))
    theirs, _ = timed(lambda: [official.dense_crf(*image) for image in images], 3)
    reference = {
        classes: dense_crf(batch.probs.double(), batch.images, tags, engine="exact", **TRAINING)
        for classes, tags in (("own", batch.tags), ("all", None))
    }
    rows = [["authors' pass: pydensecrf, all classes, 1 process", *_milliseconds(theirs, theirs), "1.0 x", "", ""]]
    for device in devices():
        here = Batch(*(tensor.to(device) for tensor in batch))
        for engine in _engines(device):
            for classes, tags in (("own", here.tags), ("all", None)):
                times, accuracy = _measure(here, tags, engine, reference[classes])
                ratio = f"{theirs / times[1]:.1f} x"
                rows.append([f"{engine}, {classes} classes, {device}", *_milliseconds(*times), ratio, *accuracy])
        floor = _floor(batch, device)
        rows.append([f"floor of exact, {device}", *_milliseconds(floor, floor), f"{theirs / floor:.1f} x", "", ""])
    print_table(["", "best ms", "median ms", "ratio", "labels as exact", "largest error"], rows)
    print("ratio: best of the authors' / median of ours. Accuracy: against the exact engine in float64.")
    print(
        "Floor: the float32 kernels written once and read once an iteration, at the speed of a copy in memory; kernels"
    )
    print("that stay in a cache, two images' at a time, can be below it.")
    own, all_classes = (reference[name].masked_fill(~batch.tags[:, :, None, None], -1) for name in ("own", "all"))
    same = (own.argmax(1) == all_classes.argmax(1)).double().mean()
    print(f"Own classes alone against all, then the own ones: {same:.1%} of the labels are the same.")


def full_size(batch: Batch, height: int, width: int) -> None:
    """One photograph of full size, on the engines that scale, with few classes and with all; on a CPU in seconds of the
    processor."""
    batch = batch._replace(images=batch.images[..., :height, :width], probs=batch.probs[..., :height, :width])
    print(f"Full size, {tuple(batch.probs.shape)}, 10 iterations, {torch.get_num_threads()} threads")
    rows = []
    for device in devices():
        probs, images = batch.probs.to(device), batch.images.to(device)
        clock = time.process_time if device == "cpu" else time.perf_counter
        for count in sorted({2, 4, probs.shape[1]}):
            tags = torch.arange(probs.shape[1], device=device)[None] < count
            first: tuple[float, Tensor] | None = None
            for engine in _engines_of_full_size(device):
                call = synchronised(lambda e=engine, p=probs, i=images, t=tags: dense_crf(p, i, t, engine=e))
                refined = dense_crf(probs, images, tags, engine=engine)
                times = timed(call, 5, clock)
                first = first or (times[0], refined)
                same = (refined.argmax(1) == first[1].argmax(1)).double().mean()
                apart = f"{(refined - first[1]).abs().max():.0e}"
                ratio = f"{times[0] / first[0]:.2f} x"
                rows.append(
                    [f"{engine}, {count} classes, {device}", *_milliseconds(*times), ratio, f"{same:.3%}", apart]
                )
    print_table(["", "best ms", "median ms", "of the first", "labels as it", "largest difference"], rows)
    if "cuda" not in devices():
        print("On a GPU: not measured.")


def _engines_of_full_size(device: str) -> list[str]:
    if device == "cpu":
        return [*(["pydensecrf"] if lattice.available() else []), "permutohedral"]
    return [*(["tiled"] if tiled.available() else []), "permutohedral"]


def _engines(device: str) -> list[str]:
    if device == "cpu":
        return ["exact", "pydensecrf"]
    return ["exact", "tiled"] if tiled.available() else ["exact"]


def _measure(
    batch: Batch, tags: Tensor | None, engine: str, reference: Tensor
) -> tuple[tuple[float, float], list[str]]:
    call = synchronised(lambda: dense_crf(batch.probs, batch.images, tags, engine=engine, **TRAINING))
    call()
    refined = dense_crf(batch.probs, batch.images, tags, engine=engine, **TRAINING).cpu()
    same = (refined.argmax(1) == reference.argmax(1)).double().mean()
    return timed(call, REPEATS), [f"{same:.2%}", f"{(refined - reference).abs().max():.0e}"]


def _floor(batch: Batch, device: str) -> float:
    pixels = batch.seeds[0].numel()
    return len(batch.seeds) * pixels**2 * 4 * 11 / copy_bandwidth(device)


def _milliseconds(*seconds: float) -> list[str]:
    return [f"{value * 1e3:.1f}" for value in seconds]


if __name__ == "__main__":
    with torch.no_grad():
        main()
