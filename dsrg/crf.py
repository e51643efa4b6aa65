"""Dense CRF by mean field (Kraehenbuehl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian
Edge Potentials", NIPS 2011), with Potts compatibility and symmetrically normalised kernels:

    Q <- softmax(log p + w_b K~_b Q + w_g K~_g Q),    K~ = D^-1/2 K D^-1/2,    D = the row sums of K

with a bilateral kernel K_b over position and colour, and a Gaussian kernel K_g over position. The self term is
kept, as pydensecrf does. Two engines compute it: "pydensecrf" approximates the kernels on a permutohedral
lattice, in time linear in the pixels; "exact" multiplies by the kernels themselves, in batches, on any device.

Shapes: B images, C classes with background, h x w pixels, N = h * w, P classes of the image with the most tags.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

ENGINES = ("auto", "exact", "pydensecrf")
"""The values that `dense_crf` takes as its engine."""

_FLOOR = 1e-5
"""Probabilities are raised to this before the logarithm: no class of the image is ruled out by its unary alone."""
_EXACT_PIXELS = 2500
"""Largest N for which "auto" is exact; it holds the training grids of stride 8 (41 x 41 = 1,681).

The reason is accuracy, not speed: on a CPU the lattice is faster at every size, but on the oracle's 41 x 41 grid it
gets only 93 % of the labels right. Milliseconds an image, 3 classes, one core of an AMD EPYC, exact / pydensecrf:
24 x 24: 4 / 3, 41 x 41: 43 / 7, 50 x 50: 99 / 11, 64 x 64: 284 / 15, 81 x 81: 815 / 20. The limit is where an image
costs a tenth of a second.
"""
_KERNEL_BYTES = 512 * 2**20
"""Memory for the kernels of one chunk; those of the chunk before are still held while they are built."""


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
) -> Tensor:
    """Refine class probabilities with the colours of the image. No gradient flows.

    Args:
        probs: (B, C, h, w) floating point, class probabilities; raised to at least 1e-5.
        images: (B, 3, h, w) RGB in 0..255, uint8 or floating point ("pydensecrf" rounds it to uint8).
        tags: (B, C) bool. Where given, only these classes take part: the probabilities are renormalised over
            them and the others come back as 0.
        engine: "exact", "pydensecrf", or "auto": exact up to 2,500 pixels, pydensecrf, which scales, above.
        iterations: Number of mean-field iterations; 0 returns the floored probabilities.
        bilateral_sxy: Standard deviation of the bilateral kernel over position, in pixels of this grid.
        bilateral_srgb: Standard deviation of the bilateral kernel over colour, in steps of 0..255.
        bilateral_weight: w_b.
        gaussian_sxy: Standard deviation of the Gaussian kernel, in pixels of this grid.
        gaussian_weight: w_g.

    Returns:
        (B, C, h, w), float32 or, for float64 probabilities, float64; on the device of `probs`.

    Raises:
        ValueError: shapes or dtypes do not fit together, a setting is out of range, or an image has no tag.
        ImportError: the pydensecrf engine is asked for and not installed.
    """
    _check(probs, images, tags, engine, iterations, (bilateral_sxy, bilateral_srgb, gaussian_sxy))
    probs = probs.to(torch.promote_types(probs.dtype, torch.float32))
    images = images.to(probs.device)
    if tags is None:
        tags = probs.new_ones(probs.shape[:2], dtype=torch.bool)
    if engine == "auto":
        engine = "exact" if probs.shape[2] * probs.shape[3] <= _EXACT_PIXELS else "pydensecrf"
    refine = _exact if engine == "exact" else _pydensecrf
    # Autocast would multiply the kernels in half precision.
    with torch.autocast(probs.device.type, enabled=False):
        return refine(
            _restrict(probs, tags),
            images,
            tags,
            iterations,
            bilateral=(bilateral_sxy, bilateral_srgb, bilateral_weight),
            gaussian=(gaussian_sxy, gaussian_weight),
        )


def _restrict(probs: Tensor, tags: Tensor) -> Tensor:
    """Renormalise probabilities over the present classes and floor them; the absent ones become 0."""
    present = tags[:, :, None, None]
    probs = probs.masked_fill(~present, 0)
    total = probs.sum(dim=1, keepdim=True)
    return (probs / torch.where(total > 0, total, 1)).clamp(min=_FLOOR).masked_fill(~present, 0)


def _exact(
    probs: Tensor,
    images: Tensor,
    tags: Tensor,
    iterations: int,
    bilateral: tuple[float, float, float],
    gaussian: tuple[float, float],
) -> Tensor:
    """Mean field with the kernels written out: a few N x N matrices at a time, one product an iteration."""
    batch, _, height, width = probs.shape
    # Absent classes stay 0 for ever. Leave most of them out: each image's present classes come first, up to the
    # largest number of them in the batch.
    most = int(tags.sum(dim=1).max())
    classes = tags.int().argsort(dim=1, descending=True, stable=True)[:, :most]
    classes = classes[:, :, None].expand(-1, -1, height * width)
    log_probs = probs.flatten(2).gather(1, classes).log()  # -inf for an absent class keeps it at 0

    *deviations, bilateral_weight = bilateral
    gaussian_kernel = _gaussian_kernel(height, width, gaussian[0], probs).mul_(gaussian[1])
    chunk = max(1, _KERNEL_BYTES // (gaussian_kernel.numel() * gaussian_kernel.element_size()))
    refined = []
    for start in range(0, batch, chunk):
        unary = log_probs[start : start + chunk]
        kernels = _bilateral_kernels(images[start : start + chunk].to(probs.dtype), *deviations)
        kernels.mul_(bilateral_weight).add_(gaussian_kernel)
        q = unary.softmax(dim=1)
        for _ in range(iterations):
            q = torch.baddbmm(unary, q, kernels).softmax(dim=1)  # Q K = (K Q)^T: the kernels are symmetric
        refined.append(q)
    return torch.zeros_like(probs).flatten(2).scatter(1, classes, torch.cat(refined)).view_as(probs)


def _gaussian_kernel(height: int, width: int, sxy: float, like: Tensor) -> Tensor:
    """Normalised kernel K~_g over position, (N, N). Rows and columns separate, their row sums too."""

    def along(length: int) -> Tensor:
        position = torch.arange(length, dtype=like.dtype, device=like.device) / sxy
        return _normalise((position[:, None] - position).square().mul(-0.5).exp()[None])[0]

    return torch.kron(along(height), along(width))


def _bilateral_kernels(images: Tensor, sxy: float, srgb: float) -> Tensor:
    """Normalised kernels K~_b over position and colour, (B, N, N)."""
    batch, _, height, width = images.shape
    rows = torch.arange(height, dtype=images.dtype, device=images.device)
    columns = torch.arange(width, dtype=images.dtype, device=images.device)
    position = torch.stack(torch.meshgrid(rows, columns, indexing="ij")).expand(batch, -1, -1, -1)
    features = torch.cat((position / sxy, images / srgb), dim=1).flatten(2).mT.contiguous()
    # |a|^2 + |b|^2 - 2ab, the faster way to distances, loses digits where colours are far from 0.
    distances = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
    return _normalise(distances.square_().mul_(-0.5).exp_())


def _normalise(kernels: Tensor) -> Tensor:
    """D^-1/2 K D^-1/2 for kernels (B, N, N), in place."""
    scale = kernels.sum(dim=2).rsqrt()
    return kernels.mul_(scale[:, :, None]).mul_(scale[:, None, :])


def _pydensecrf(
    probs: Tensor,
    images: Tensor,
    tags: Tensor,
    iterations: int,
    bilateral: tuple[float, float, float],
    gaussian: tuple[float, float],
) -> Tensor:
    """Mean field on pydensecrf's lattice, image by image on the CPU, over each image's own classes alone."""
    try:
        import pydensecrf.densecrf as densecrf  # optional: the exact engine needs no compiled package
    except ImportError as error:
        raise ImportError(
            "the CRF engine 'pydensecrf' is not installed: run 'pip install pydensecrf2', or use engine='exact'."
        ) from error
    _, _, height, width = probs.shape
    unaries = probs.log().neg().float().cpu()
    if images.is_floating_point():
        images = images.round().clamp(0, 255)
    pictures = images.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()
    kind = {"kernel": densecrf.DIAG_KERNEL, "normalization": densecrf.NORMALIZE_SYMMETRIC}

    refined = torch.zeros(probs.shape, dtype=torch.float32)
    for unary, picture, present, target in zip(unaries, pictures, tags.cpu(), refined, strict=True):
        unary = unary[present].flatten(1).contiguous().numpy()
        field = densecrf.DenseCRF2D(width, height, len(unary))
        field.setUnaryEnergy(unary)
        field.addPairwiseGaussian(sxy=gaussian[0], compat=gaussian[1], **kind)
        field.addPairwiseBilateral(sxy=bilateral[0], srgb=bilateral[1], rgbim=picture, compat=bilateral[2], **kind)
        q = torch.from_numpy(np.array(field.inference(iterations)))
        target[present] = q.view(len(unary), height, width)
    return refined.to(probs)


def _check(
    probs: Tensor,
    images: Tensor,
    tags: Tensor | None,
    engine: str,
    iterations: int,
    deviations: tuple[float, float, float],
) -> None:
    if probs.ndim != 4 or not probs.is_floating_point() or probs.numel() == 0:
        raise ValueError(f"probs must be floating point (B, C, h, w), not {probs.dtype} {tuple(probs.shape)}.")
    batch, classes, height, width = probs.shape
    if images.shape != (batch, 3, height, width):
        raise ValueError(
            f"images {tuple(images.shape)} do not fit probs {tuple(probs.shape)}: expected "
            f"{(batch, 3, height, width)}; resize the photographs to the grid of probs."
        )
    if tags is not None:
        if tags.dtype != torch.bool or tags.shape != (batch, classes):
            raise ValueError(
                f"tags must be bool {(batch, classes)} to fit probs {tuple(probs.shape)}, "
                f"not {tags.dtype} {tuple(tags.shape)}; one column a class, background first."
            )
        if not bool(tags.any(dim=1).all()):
            raise ValueError("an image has no tag at all; set at least the column of background.")
    if engine not in ENGINES:
        raise ValueError(f"engine is '{engine}'; it must be one of {', '.join(ENGINES)}.")
    if iterations < 0:
        raise ValueError(f"iterations is {iterations}; it must be 0 or more.")
    if min(deviations) <= 0:
        raise ValueError(f"standard deviations must be above 0, not {deviations} (bilateral xy, rgb; Gaussian xy).")
