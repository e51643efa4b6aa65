"""Maps of a whole batch beside those of a library image by image: seconds and agreement, on MobileNetV2.

python -m benchmarks.explain [--images 16] [--size 224] [--classes 1] [--weights mobilenet_v2.pth]

The libraries are grad-cam, whose Grad-CAM is the CAM's positive part behind average pooling, and captum for saliency.
"""

from __future__ import annotations

import argparse
import functools
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytorch_grad_cam
import torch
import torchvision
from captum.attr import Saliency
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.batch import voc_like
from benchmarks.common import devices, machine_line, print_table, synchronised, timed
from dsrg import tables
from dsrg.cli import keep_freed_memory
from dsrg.run.inference import normalise

LIBRARY = {"cam": pytorch_grad_cam.GradCAM, "grad_cam": pytorch_grad_cam.GradCAM}
LIBRARY["grad_cam_pp"] = pytorch_grad_cam.GradCAMPlusPlus
METHODS = ("cam", "grad_cam", "grad_cam_pp", "saliency")


def main() -> None:
    """Measure and print a table for each device."""
    parser = argparse.ArgumentParser(description="Maps of a batch, against a library image by image.")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--size", type=int, default=224, help="pixels of a side")
    parser.add_argument("--classes", type=int, default=1, help="maps of each image")
    parser.add_argument("--weights", help="torchvision's state_dict of mobilenet_v2; random without")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    keep_freed_memory()  # as every tool does; the library gains by it too
    print(machine_line())
    pictures = normalise(voc_like(options.images, size=options.size).images)
    network = mobilenet(options.weights, pictures)
    for device in devices():
        on_device(network.to(device), pictures.to(device), options.classes, options.repeats)


def mobilenet(weights: str | None, images: Tensor) -> nn.Module:
    """MobileNetV2 with its own head. Random weights get batch statistics of the images, and a head of size 1: the
    library adds 1e-6 to Grad-CAM++'s denominator, beside which a squared gradient must not be small."""
    torch.manual_seed(0)
    network = torchvision.models.mobilenet_v2(weights=None)
    if weights is None:
        with torch.no_grad():
            network(images)
        nn.init.normal_(network.classifier[1].weight)
    else:
        network.load_state_dict(torch.load(weights, weights_only=True))
    return network.eval().to(memory_format=torch.channels_last)


def on_device(network: Any, images: Tensor, count: int, repeats: int) -> None:
    """Print the table of one device; every image is asked for its `count` most probable classes."""
    with torch.no_grad():
        labels = network(images).topk(count).indices
    forward = torch.no_grad()(lambda: network(images))
    rows = []
    for method in METHODS:
        named = {} if method == "saliency" else {"layer": network.features[-1]}
        ours = functools.partial(tables.part(tables.MAPS[method].place), network, images, labels, **named)
        theirs = library(method, network, images, labels)
        maps, others = ours().clamp(min=0), theirs()
        large = functional.interpolate(maps, images.shape[-2:], mode="bilinear").cpu().flatten(0, 1)
        agreement = [np.corrcoef(*pair)[0, 1] for pair in zip(large.flatten(1), others.flatten(1), strict=True)]
        best, median = in_turn([theirs, ours, forward], repeats)
        figures = [f"{seconds / len(images) * 1e3:.2f}" for seconds in (best[0], best[1], median[1])]
        ratios = [f"{best[0] / median[1]:.1f} x", f"{median[1] / best[2]:.2f}"]
        rows.append([method, *figures, *ratios, f"{min(agreement):.4f}"])
    print(f"\n{images.device.type}, {tuple(images.shape)}, classes of each {count}, MobileNetV2; milliseconds an image")
    print_table(["", "library best", "ours best", "ours median", "ratio", "x forward", "correlation"], rows)
    print("ratio: best of the library's, image by image / median of ours, batched. x forward: median of ours / best of")
    print("the batched forward pass alone. correlation: the lowest among the maps, ours enlarged to the images' size.")


def library(method: str, network: Any, images: Tensor, labels: Tensor) -> Callable[[], Tensor]:
    """The library's maps (B x M, H, W), image by image and class by class."""
    pairs = [(image[None], label) for image, own in zip(images, labels.tolist(), strict=True) for label in own]

    def attribute() -> Tensor:
        explainer = Saliency(network)
        maps = [explainer.attribute(image.clone().requires_grad_(), target=label) for image, label in pairs]
        return torch.cat(maps).amax(dim=1).cpu()

    def activate() -> Tensor:
        with LIBRARY[method](network, [network.features[-1]]) as explainer:
            maps = [explainer(image, [ClassifierOutputTarget(label)]) for image, label in pairs]
        return torch.from_numpy(np.concatenate(maps))

    return attribute if method == "saliency" else activate


def in_turn(functions: Sequence[Callable[[], object]], repeats: int) -> tuple[list[float], list[float]]:
    """Best and median seconds of each function, called in turn so that a busy machine is as busy for all."""
    calls = [synchronised(function) for function in functions]
    for call in calls:
        call()
    rounds = [[timed(call, 1)[0] for call in calls] for _ in range(repeats)]
    columns = list(zip(*rounds, strict=True))
    return [min(column) for column in columns], [statistics.median(column) for column in columns]


if __name__ == "__main__":
    main()
