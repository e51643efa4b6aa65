"""Mean field on pydensecrf's permutohedral lattice, for tensors: on the CPU, approximate, in time linear in the pixels.

Shapes: B images, P classes that take part, h x w pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dsrg.errors import InputError
from dsrg.mean_field import Kernels, lattice


def mean_field(unary: Tensor, images: Tensor, kernels: Kernels) -> Tensor:
    """Mean field over each image's own classes alone.

    Args:
        unary: (B, P, h, w) log probabilities; -inf where a class takes no part, which no image's first class is.
        images: (B, 3, h, w) RGB in 0..255; rounded to uint8.
        kernels: Iterations, deviations and weights.

    Returns:
        (B, P, h, w) probabilities on the CPU.
    """
    if images.is_floating_point():
        images = images.round().clamp(0, 255)
    pictures = images.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()
    unaries = unary.neg().float().cpu().numpy()
    counts = unary[:, :, 0, 0].isfinite().sum(dim=1).tolist()
    own = [energies[:count] for energies, count in zip(unaries, counts, strict=True)]
    found = lattice.mean_field(own, list(pictures), kernels)
    refined = torch.zeros(unary.shape)
    for target, q in zip(refined, found, strict=True):
        target[: len(q)] = torch.from_numpy(q)
    return refined


def rank(device: torch.device, pixels: int) -> int:
    """On a CPU it is the fastest on small grids (docs/benchmarks.md), and its masks are those of the project so far."""
    return 3 if device.type == "cpu" and lattice.available() else 0


def refuse(device: torch.device, height: int, width: int) -> None:
    """Refuse what the engine cannot do; it takes any size, and tensors of any device.

    Raises:
        InputError: pydensecrf is not installed.
    """
    if not lattice.available():
        raise InputError(
            "CRF engine 'pydensecrf' is not installed; use 'permutohedral', the same lattice in PyTorch, or run "
            "pip install 'dsrg[crf]', which needs a C++ compiler."
        )
