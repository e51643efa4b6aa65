"""One DSRG step: its parts beside the network's, and beside what the authors' step spends on the same batch.

python -m benchmarks.step [--backbone vgg16] [--size 321] [--batch 20] [--network-batch 2] [--compile]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import torch

from benchmarks import official
from benchmarks.batch import Batch, voc_like
from benchmarks.common import devices, machine_line, print_table, synchronised, timed
from dsrg import losses
from dsrg.cli import keep_freed_memory
from dsrg.crf import dense_crf
from dsrg.grow import grow_seeds
from dsrg.models.build import build_deeplab

TRAINING = {"bilateral_sxy": 80 / 12, "gaussian_sxy": 3 / 12}
REPEATS = 20


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description="One DSRG step, against the authors'.")
    parser.add_argument("--backbone", default="vgg16", help="vgg16, resnet101, mobilenet_v2, ...")
    parser.add_argument("--size", type=int, default=321, help="pixels of a side of the network's input")
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--network-batch", type=int, help="images for the network's own figure, which is scaled up")
    parser.add_argument("--classes", type=int, default=21, help="with background")
    parser.add_argument("--compile", action="store_true", help="torch.compile the network")
    options = parser.parse_args()
    keep_freed_memory()  # as every tool does
    print(machine_line())
    grid = (options.size - 1) // 8 + 1
    batch = voc_like(options.batch, options.classes, grid)
    theirs = authors_parts(batch)
    for device in devices():
        here = Batch(*(tensor.to(device) for tensor in batch))
        network = network_step(options, device)
        for engine in ("exact", "pydensecrf") if device == "cpu" else ("exact", "tiled"):
            report(our_parts(here, engine), theirs, network, f"{device}, CRF engine {engine}")


def report(ours: dict[str, float], theirs: dict[str, float], network: float, title: str) -> None:
    """Print one device's table."""
    step = sum(ours.values()) + network
    rows = [["network: forward, backward, update", f"{network * 1e3:.1f}", f"{network / step:.1%}", "", ""]]
    for part, seconds in ours.items():
        row = [part, f"{seconds * 1e3:.2f}", f"{seconds / step:.1%}"]
        other = theirs.get(part)
        rows.append([*row, f"{other * 1e3:.0f}", f"{other / seconds:.1f} x"] if other else [*row, "", ""])
    mine, other = sum(ours.values()), sum(theirs.values())
    rows.append(
        [
            "all but the network",
            f"{mine * 1e3:.2f}",
            f"{mine / step:.1%}",
            f"{other * 1e3:.0f}",
            f"{other / mine:.1f} x",
        ]
    )
    print(f"\n{title}")
    print_table(["", "median ms", "of the step", "authors' best ms", "ratio"], rows)


def our_parts(batch: Batch, engine: str) -> dict[str, float]:
    """Median seconds of each part of our step but the network."""
    logits = batch.probs.log().requires_grad_()
    probs = losses.floored_softmax(logits).detach()
    refined = dense_crf(probs, batch.images, batch.tags, engine=engine, **TRAINING)
    grown = grow_seeds(batch.seeds, refined, batch.tags)

    def loss() -> None:
        logits.grad = None
        soft = losses.floored_softmax(logits)
        (losses.seed_loss(soft, grown) + losses.boundary_loss(soft, refined)).backward()

    parts: dict[str, Callable[[], object]] = {
        "dense CRF": lambda: dense_crf(probs, batch.images, batch.tags, engine=engine, **TRAINING),
        "growing": lambda: grow_seeds(batch.seeds, refined, batch.tags),
        "softmax and losses, with gradient": loss,
    }
    medians = {}
    for name, part in parts.items():
        call = synchronised(part)
        call()
        medians[name] = timed(call, REPEATS)[1]
    return medians


def authors_parts(batch: Batch) -> dict[str, float]:
    """Best seconds of the authors' two CRF passes and growing, all in one Python process; their losses are left out."""
    pictures = batch.images.permute(0, 2, 3, 1).contiguous().numpy()
    images = list(zip(batch.probs.numpy(), pictures, strict=True))
    one_pass, _ = timed(lambda: [official.dense_crf(*image) for image in images], 3)
    refined = np.stack([official.dense_crf(*image) for image in images])
    inputs = list(zip(batch.seeds.numpy(), refined, batch.tags.numpy(), strict=True))
    growing, _ = timed(lambda: [official.grow_seeds(*image) for image in inputs], 3)
    return {"dense CRF": 2 * one_pass, "growing": growing}


def network_step(options: argparse.Namespace, device: str) -> float:
    """Median seconds of the network's forward and backward pass and its update, on noise; bf16 on CUDA."""
    model = build_deeplab(backbone=options.backbone, num_classes=options.classes).to(device)
    model = model.to(memory_format=torch.channels_last).train()
    network = torch.compile(model) if options.compile else model
    optimizer = torch.optim.SGD(model.parameters(), 1e-4, 0.9)
    count = options.network_batch or (2 if device == "cpu" else options.batch)
    images = torch.randn(count, 3, options.size, options.size, device=device)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=device != "cpu"):
            probs = losses.floored_softmax(network(images))
        probs.log().mean().backward()
        optimizer.step()

    call = synchronised(step)
    call()
    seconds = timed(call, 3 if device == "cpu" else REPEATS)[1] * options.batch / count
    parameters = sum(parameter.numel() for parameter in model.parameters())
    scaled = "" if count == options.batch else f", measured on {count} images and scaled"
    what = f"DeepLab-ASPP on {options.backbone}, {parameters:,} parameters, {options.size} x {options.size}"
    print(f"\nNetwork: {what}{scaled}")
    return seconds


if __name__ == "__main__":
    main()
