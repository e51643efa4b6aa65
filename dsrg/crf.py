"""Dense CRF by mean field (Kraehenbuehl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian
Edge Potentials", NIPS 2011), with Potts compatibility and symmetrically normalised kernels:

    Q <- softmax(log p + w_b K~_b Q + w_g K~_g Q),    K~ = D^-1/2 K D^-1/2,    D = the row sums of K

with a bilateral kernel K_b over position and colour, and a Gaussian kernel K_g over position. The self term is
kept, as pydensecrf does. The engines that compute it are a file each in `mean_field/`, and a line each in
`tables.CRF_ENGINES`:

- exact: multiplies by the kernels, written out; any device; memory grows with the square of the pixels;
- tiled: the same sums with the kernels recomputed tile by tile, in Triton; CUDA; memory grows with the pixels;
- pydensecrf: approximates the kernels on a permutohedral lattice; CPU; time grows with the pixels; a package to be
  compiled;
- permutohedral: the same lattice in tensor operations; any device.

Shapes: B images, C classes with background, h x w pixels, N = h * w, P classes of the image with the most tags.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dsrg import tables
from dsrg.mean_field import Kernels
from dsrg.shapes import check_probs, check_tags
from dsrg.tags import own_classes

_FLOOR = 1e-5
"""Probabilities are raised to this before the logarithm: no class of the image is ruled out by its unary alone."""


@torch.no_grad()
def dense_crf(
    probs: Tensor,
    images: Tensor,
    tags: Tensor | None = None,
    *,
    engine: str = "auto",
    iterations: int = 10,
    bilateral_sxy: float = 80,
    bilateral_srgb: float = 13,
    bilateral_weight: float = 10,
    gaussian_sxy: float = 3,
    gaussian_weight: float = 3,
    long_side: float | None = None,
) -> Tensor:
    """Refine class probabilities with the colours of the image. No gradient flows.

    Args:
        probs: (B, C, h, w) floating point, class probabilities; raised to at least 1e-5.
        images: (B, 3, h, w) RGB in 0..255, uint8 or floating point ("pydensecrf" rounds it to uint8).
        tags: (B, C) bool. Where given, only these classes take part: the probabilities are renormalised over
            them and the others come back as 0.
        engine: "exact", "pydensecrf", "permutohedral", "tiled", or "auto". That is pydensecrf on the CPU where it is
            installed; elsewhere exact up to 2,500 pixels, and above that tiled where it runs (CUDA), else pydensecrf
            or permutohedral, both on the CPU.
        iterations: Number of mean-field iterations; 0 returns the floored probabilities.
        bilateral_sxy: Standard deviation of the bilateral kernel over position, in pixels of this grid.
        bilateral_srgb: Standard deviation of the bilateral kernel over colour, in steps of 0..255.
        bilateral_weight: w_b.
        gaussian_sxy: Standard deviation of the Gaussian kernel, in pixels of this grid.
        gaussian_weight: w_g.
        long_side: Pixels of the longer side of a grid for which the two deviations over position are given; on this one
            they are larger or smaller in proportion. None takes them as they are.

    Returns:
        (B, C, h, w), float32 or, for float64 probabilities, float64; on the device of `probs`.

    Raises:
        ValueError: shapes or dtypes do not fit together, a setting is out of range, or an image has no tag.
        InputError: the engine cannot do this size, or not on this device, or is pydensecrf and not installed.
        ImportError: Triton is needed for the tiled engine, and not installed.
    """
    bilateral_sxy, gaussian_sxy = (sxy * _growth(probs, long_side) for sxy in (bilateral_sxy, gaussian_sxy))
    _check(probs, images, tags, engine, iterations, (bilateral_sxy, bilateral_srgb, gaussian_sxy))
    probs = probs.to(torch.promote_types(probs.dtype, torch.float32))
    if tags is None:
        tags = probs.new_ones(probs.shape[:2], dtype=torch.bool)
    height, width = probs.shape[2:]
    if engine == "auto":
        chosen, device = _choose(probs.device, height * width)
    else:
        chosen, device = tables.part(tables.CRF_ENGINES[engine]), probs.device
    chosen.refuse(device, height, width)
    classes, present = own_classes(tags)  # absent classes stay 0 for ever
    image = torch.arange(len(probs), device=probs.device)[:, None]
    unary = _restricted_log(probs[image, classes], present)
    kernels = Kernels(iterations, (bilateral_sxy, bilateral_srgb, bilateral_weight), (gaussian_sxy, gaussian_weight))
    # Autocast would multiply the kernels in half precision.
    with torch.autocast(device.type, enabled=False):
        refined = chosen.mean_field(unary.to(device), images.to(device), kernels)
    return torch.zeros_like(probs).index_put_((image, classes), refined.to(probs))


def _growth(probs: Tensor, long_side: float | None) -> float:
    """How many times larger the grid of (B, C, h, w) is than one of that long side; 1 where none is given."""
    if long_side is None:
        return 1.0
    if long_side <= 0:
        raise ValueError(f"long_side is {long_side}; it must be above 0.")
    return max(probs.shape[-2:]) / long_side


def _choose(device: torch.device, pixels: int) -> tuple[Any, torch.device]:
    """The engine that "auto" takes, and where: of all, the one that ranks itself highest on the device, or on the CPU
    where none wants to run on that device."""
    engines = [tables.part(place) for place in tables.CRF_ENGINES.values()]
    if not any(engine.rank(device, pixels) for engine in engines):
        device = torch.device("cpu")
    return max(engines, key=lambda engine: engine.rank(device, pixels)), device


def _restricted_log(probs: Tensor, present: Tensor) -> Tensor:
    """Logarithm of probabilities (B, P, h, w), renormalised over the present classes (B, P) and floored; -inf for
    the others, which keeps them at 0."""
    absent = ~present[:, :, None, None]
    probs = probs.masked_fill(absent, 0)
    total = probs.sum(dim=1, keepdim=True)
    return (probs / torch.where(total > 0, total, 1)).clamp(min=_FLOOR).log().masked_fill(absent, -torch.inf)


def _check(
    probs: Tensor,
    images: Tensor,
    tags: Tensor | None,
    engine: str,
    iterations: int,
    deviations: tuple[float, float, float],
) -> None:
    check_probs(probs)
    batch, _, height, width = probs.shape
    if probs.numel() == 0:
        raise ValueError(f"probs {tuple(probs.shape)} hold nothing; give at least one image, class and pixel.")
    if images.shape != (batch, 3, height, width):
        raise ValueError(
            f"images {tuple(images.shape)} do not fit probs {tuple(probs.shape)}: expected "
            f"{(batch, 3, height, width)}; resize the photographs to the grid of probs."
        )
    if tags is not None:
        check_tags(tags, probs)
        if not bool(tags.any(dim=1).all()):
            raise ValueError("an image has no tag at all; set at least the column of background.")
    known = ("auto", *tables.CRF_ENGINES)
    if engine not in known:
        raise ValueError(f"engine is '{engine}'; it must be one of {', '.join(known)}.")
    if iterations < 0:
        raise ValueError(f"iterations is {iterations}; it must be 0 or more.")
    if min(deviations) <= 0:
        raise ValueError(f"standard deviations must be above 0, not {deviations} (bilateral xy, rgb; Gaussian xy).")
