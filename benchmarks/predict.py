"""Prediction on a CPU: PyTorch against ONNX Runtime, on the same photographs, one at a time.

    OMP_NUM_THREADS=1 python -m benchmarks.predict --model RUN PHOTO... [--crf 6]

Seconds are the processor's, so that others on the machine hardly change them. "Network" is everything before the CRF:
resizing, mirror image, network, enlarging, softmax and gate.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import dsrg
from benchmarks.common import machine_line, print_table
from dsrg.predict.segmenter import to_pixels
from dsrg.run import inference


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("--model", type=Path, required=True, help="a run's folder or an exported file")
    parser.add_argument("--crf", type=int, default=6, help="photographs that the CRF refines too, as many as asked for")
    options = parser.parse_args()
    print(machine_line(), flush=True)
    engines = {}
    for engine in ("torch", "onnx"):
        engines[engine], seconds = timed(lambda engine=engine: dsrg.load(options.model, "cpu", engine=engine))
        print(f"{engine}: loaded in {seconds:.1f} s", flush=True)
    network, crf = ({engine: [] for engine in engines} for _ in range(2))
    equal = {"before the CRF": [0, 0], "after the CRF": [0, 0]}
    worst = 0.0
    for number, path in enumerate(options.photos):
        picture = to_pixels(path)
        pixels = inference.planes(picture)
        probs, masks = {}, {}
        for engine, segmenter in engines.items():
            if number == 0:
                segmenter.probabilities([picture])  # the first call does more than the others
            probs[engine], seconds = timed(lambda one=segmenter, picture=picture: one.probabilities([picture])[0])
            network[engine].append(seconds)
        worst = max(worst, float((probs["torch"] - probs["onnx"]).abs().max()))
        count(equal["before the CRF"], *(one.argmax(dim=0).numpy() for one in probs.values()))
        for engine, segmenter in engines.items() if number < options.crf else ():
            how: dict[str, Any] = {"crf": segmenter.crf_arguments(True)}
            masks[engine], seconds = timed(
                lambda probs=probs[engine], pixels=pixels, how=how: inference.to_mask(probs, pixels, **how).numpy()
            )
            crf[engine].append(seconds)
        if masks:
            count(equal["after the CRF"], *masks.values())
    rows = []
    for what, costs in (("network", network), ("CRF", crf)):
        means = {engine: 1000 * float(np.mean(own or [0])) for engine, own in costs.items()}
        ratio = means["torch"] / max(means["onnx"], 1e-9)
        rows.append([what, len(costs["torch"]), *(f"{value:.0f}" for value in means.values()), f"{ratio:.2f} x"])
    whole = [1000 * float(np.mean(network[engine]) + np.mean(crf[engine] or [0])) for engine in engines]
    rows.append(["both", "", *(f"{value:.0f}" for value in whole), f"{whole[0] / whole[1]:.2f} x"])
    print_table(["ms a photograph", "photographs", "torch", "onnx", "gain"], rows)
    for when, (same, pixels_) in equal.items():
        print(f"{when}: {same / max(1, pixels_):.4%} of {pixels_:,} labels are equal")
    print(f"largest difference of a probability: {worst:.1e}")


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call gives, and the processor's seconds that it took."""
    begun = time.process_time()
    found = call()
    return found, time.process_time() - begun


def count(tally: list[int], first: np.ndarray, second: np.ndarray) -> None:
    """Add equal pixels, and all pixels, to the tally."""
    tally[0] += int((first == second).sum())
    tally[1] += first.size


if __name__ == "__main__":
    main()
