"""Exact mean field on whole photographs on CUDA: the N x N kernel is never stored. It is recomputed tile by tile and
multiplied by Q on the spot, as flash attention does (Dao et al., "FlashAttention", NeurIPS 2022).

Pixels that are alike share a tile (a kd-tree over position and colour sorts them), so about half the pairs of tiles lie
so far apart that their kernel is 0 for every purpose: the bounding boxes tell, and such pairs are skipped.

Shapes: B images, P classes that take part, h x w pixels, N = h * w, M = N rounded up to whole tiles, T tiles.
Features are (y, x, r, g, b) over their deviations, scaled such that the kernel is exp2(-|f_i - f_j|^2).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dsrg.errors import InputError
from dsrg.mean_field import Kernels

try:
    import triton
    import triton.language as tl
except ImportError:  # neither macOS nor torch's CPU-only builds have it
    triton = None

_TILE = 64
"""Pixels in a tile. Unmeasured, as `_OPTIONS` are: chosen so that sums, kernel and its TF32 parts stay in the registers
of Ampere and Hopper cards without spilling. Smaller tiles skip more pairs and use the tensor cores less well."""
_OPTIONS = {"num_warps": 4, "enable_fp_fusion": True}
"""How triton compiles the kernel. Eight warps would compute the kernel twice over; without fusion, the distances take
twice the instructions."""
_LEAST_COLUMNS = 16
"""Classes are padded to a power of two, and to no fewer than triton multiplies at once."""
_MOST_COLUMNS = 32
"""More classes are done in parts: 128 columns spill."""
_LEFT_OUT = 5e-6
"""Largest sum of a row of the kernel, times its weight, that skipping may leave out. An energy changes by that much,
and by the same share of itself, about 1 a unit of weight, through the row sums D >= 1: by 1e-5 in all."""


def available() -> bool:
    """Whether triton is there, in 3.3 or a later version: those before end the whole process on this kernel."""
    return triton is not None and tuple(map(int, triton.__version__.split(".")[:2])) >= (3, 3)


def mean_field(unary: Tensor, images: Tensor, kernels: Kernels) -> Tensor:
    """Exact mean field in memory linear in the pixels, and without a wait for the device.

    Args:
        unary: (B, P, h, w) log probabilities on a CUDA device; -inf where a class takes no part, which is
            never true of all classes of an image.
        images: (B, 3, h, w) RGB in 0..255, on the same device.
        kernels: Iterations, deviations and weights.

    Returns:
        (B, P, h, w) float32 probabilities.

    Raises:
        ImportError: triton is not installed, or too old.
    """
    unary, images = unary.float(), images.float()
    _, _, height, width = unary.shape
    *deviations, weight = kernels.bilateral
    tiles = _tiles(images, *deviations)
    cutoff = _cutoff(height * width, weight)
    scale = _kernel_sums(tiles, torch.ones_like(unary[:, :1]), cutoff).rsqrt()
    along_rows, along_columns = (_gaussian_kernel(length, kernels.gaussian[0], unary) for length in (height, width))

    q = unary.softmax(dim=1)
    for _ in range(kernels.iterations):
        alike = scale * _kernel_sums(tiles, scale * q, cutoff)
        near = along_rows @ q @ along_columns
        q = (unary + weight * alike + kernels.gaussian[1] * near).softmax(dim=1)
    return q


def rank(device: torch.device, pixels: int) -> int:
    """On CUDA it is the one for photographs; "auto" leaves small grids to the exact engine."""
    return 2 if device.type == "cuda" and available() else 0


def refuse(device: torch.device, height: int, width: int) -> None:
    """Refuse what the engine cannot do.

    Raises:
        InputError: the device is not CUDA.
    """
    if device.type != "cuda":
        raise InputError(f"CRF engine 'tiled' needs a CUDA device, not {device}; use 'auto' or 'permutohedral'.")


def _gaussian_kernel(length: int, sxy: float, like: Tensor) -> Tensor:
    """Normalised kernel over the positions of one axis, (length, length): K~_g is that of the rows times that of the
    columns."""
    position = torch.arange(length, dtype=like.dtype, device=like.device) / sxy
    kernel = (position[:, None] - position).square().mul(-0.5).exp()
    scale = kernel.sum(dim=1).rsqrt()
    return scale[:, None] * kernel * scale


def _cutoff(pixels: int, weight: float) -> float:
    """Squared distance of features beyond which `pixels` neighbours together are less than `_LEFT_OUT`."""
    return math.log2(pixels * max(1.0, abs(weight)) / _LEFT_OUT)


@dataclass(frozen=True)
class _Tiles:
    """The pixels of each image in the order of their tiles."""

    order: Tensor
    """(B, M): the image's pixel at each place of the order; N and above are what fills the last tile up."""
    place: Tensor
    """(B, N): where the order has each pixel of the image."""
    features: Tensor
    """(B, 5, M), in this order."""
    boxes: Tensor
    """(B, 2, 5, T): least and greatest features of each tile."""


def _tiles(images: Tensor, sxy: float, srgb: float) -> _Tiles:
    """Sort the pixels of images (B, 3, h, w) into tiles."""
    batch, _, height, width = images.shape
    rows = torch.arange(height, dtype=images.dtype, device=images.device)
    columns = torch.arange(width, dtype=images.dtype, device=images.device)
    position = torch.stack(torch.meshgrid(rows, columns, indexing="ij")).expand(batch, -1, -1, -1)
    features = torch.cat((position / sxy, images / srgb), dim=1).flatten(2)
    features = features * math.sqrt(0.5 * math.log2(math.e))  # exp(-x / 2) = exp2(-x log2(e) / 2)
    # What fills the last tile up lies with the last pixel, so it widens no box; without values it adds nothing.
    pixels = height * width
    features = torch.cat((features, features[:, :, -1:].expand(-1, -1, -pixels % _TILE)), dim=2)
    order = _kd_order(features)
    features = features.gather(2, order[:, None].expand_as(features))
    return _Tiles(order, order.argsort(dim=1)[:, :pixels], features, torch.stack(_boxes(features), dim=1))


def _kd_order(features: Tensor) -> Tensor:
    """Order (B, M) of a kd-tree's leaves, each a tile, for features (B, 5, M).

    Level by level every group of tiles is sorted along its widest dimension and halved. The groups of a level are the
    same tiles in every image, even where their number is no power of two, so one sort does a whole level.
    """
    batch, _, pixels = features.shape
    tiles = pixels // _TILE
    tile = torch.arange(tiles, device=features.device)
    order = torch.arange(pixels, device=features.device).expand(batch, -1)
    span = (features.amax() - features.amin() + 1).double()  # keeps the keys of one group below those of the next
    groups = 1
    while groups < tiles:
        group = tile * groups // tiles
        arranged = features.gather(2, order[:, None].expand_as(features))
        least, greatest = _boxes(arranged)
        index = group.expand_as(least)
        least = least.new_zeros(*least.shape[:2], groups).scatter_reduce(2, index, least, "amin", include_self=False)
        greatest = torch.zeros_like(least).scatter_reduce(2, index, greatest, "amax", include_self=False)
        widest = (greatest - least).argmax(dim=1)[:, group].repeat_interleave(_TILE, dim=1)
        key = arranged.gather(1, widest[:, None])[:, 0] + span * group.repeat_interleave(_TILE)
        order = order.gather(1, key.argsort(dim=1, stable=True))
        groups *= 2
    return order


def _boxes(features: Tensor) -> tuple[Tensor, Tensor]:
    """Least and greatest features of each tile, (B, 5, T), for features (B, 5, M) in the order of the tiles."""
    each = features.view(*features.shape[:2], -1, _TILE)
    return each.amin(dim=3), each.amax(dim=3)


def _kernel_sums(tiles: _Tiles, values: Tensor, cutoff: float) -> Tensor:
    """K_b v for values v (B, P, h, w), of the same shape; pairs of tiles at a squared distance above `cutoff` count
    as 0."""
    batch, classes, height, width = values.shape
    padded = tiles.order.shape[1]
    if classes > _MOST_COLUMNS:
        parts = (values[:, start : start + _MOST_COLUMNS] for start in range(0, classes, _MOST_COLUMNS))
        return torch.cat([_kernel_sums(tiles, part, cutoff) for part in parts], dim=1)
    kernel = _compiled()
    columns = max(_LEAST_COLUMNS, triton.next_power_of_2(classes))
    values = F.pad(values.flatten(2), (0, padded - height * width))
    values = values.gather(2, tiles.order[:, None].expand(-1, classes, -1))
    values = F.pad(values.mT, (0, columns - classes)).contiguous()
    sums = torch.empty_like(values)
    with torch.cuda.device(values.get_device()):  # triton launches on the current device; -1, the CPU, changes nothing
        kernel[(padded // _TILE, batch)](
            tiles.features,
            tiles.boxes,
            values,
            sums,
            padded,
            cutoff,
            tile=_TILE,
            columns=columns,
            **_OPTIONS,
        )
    sums = sums.mT[:, :classes].gather(2, tiles.place[:, None].expand(-1, classes, -1))
    return sums.view(batch, classes, height, width)


@functools.cache
def _compiled() -> Any:
    """The kernel for triton to compile. Not made on import, so that triton's settings are those of the first use."""
    if not available():
        raise ImportError(
            "the CRF engine 'tiled' needs triton 3.3 or later, which torch's CUDA builds for Linux bring along from "
            "torch 2.7 on: install one, or use engine='exact' or 'permutohedral'."
        )
    return triton.jit(_tile_sums)


def _tile_sums(
    features: tl.tensor,
    boxes: tl.tensor,
    values: tl.tensor,
    sums: tl.tensor,
    pixels: tl.tensor,
    cutoff: tl.tensor,
    tile: tl.constexpr,
    columns: tl.constexpr,
) -> None:
    """sums[b, i] = sum over j of exp2(-|features[b, :, i] - features[b, :, j]|^2) values[b, j], triton.

    A program does the pixels i of one tile. Arrays are contiguous: features (B, 5, pixels), boxes (B, 2, 5, T),
    values and sums (B, pixels, columns).
    """
    tiles = pixels // tile
    image = tl.program_id(1).to(tl.int64)
    features += image * 5 * pixels
    boxes += image * 10 * tiles
    values += image * pixels * columns
    sums += image * pixels * columns
    own = tl.program_id(0)
    lanes = tl.arange(0, tile)
    cells = lanes[:, None] * columns + tl.arange(0, columns)[None, :]

    at = features + own * tile + lanes
    y = tl.load(at)[:, None]
    x = tl.load(at + pixels)[:, None]
    r = tl.load(at + 2 * pixels)[:, None]
    g = tl.load(at + 3 * pixels)[:, None]
    b = tl.load(at + 4 * pixels)[:, None]
    total = tl.full((tile, columns), 0.0, tl.float32)
    for other in range(tiles):
        apart = 0.0
        for axis in tl.static_range(5):
            mine = boxes + axis * tiles + own
            theirs = boxes + axis * tiles + other
            above = tl.load(mine) - tl.load(theirs + 5 * tiles)
            below = tl.load(theirs) - tl.load(mine + 5 * tiles)
            gap = tl.maximum(tl.maximum(above, below), 0.0)
            apart += gap * gap
        if apart <= cutoff:
            at = features + other * tile + lanes
            dy = y - tl.load(at)[None, :]
            dx = x - tl.load(at + pixels)[None, :]
            dr = r - tl.load(at + 2 * pixels)[None, :]
            dg = g - tl.load(at + 3 * pixels)[None, :]
            db = b - tl.load(at + 4 * pixels)[None, :]
            # Not |a|^2 + |b|^2 - 2ab, which loses digits where colours are far from 0.
            kernel = tl.exp2(-(dy * dy + dx * dx + dr * dr + dg * dg + db * db))
            block = tl.load(values + other * tile * columns + cells)
            total = tl.dot(kernel, block, total, input_precision="tf32x3")
    tl.store(sums + own * tile * columns + cells, total)
