"""Mean field on the permutohedral lattice in tensor operations: any device, approximate, in time linear in the pixels.

The lattice is that of Adams, Baek and Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice"
(Eurographics 2010), scaled and blurred as in Kraehenbuehl's code, which pydensecrf wraps. Each pixel lies in a simplex
of the lattice and hands its value to the d + 1 corners, by barycentric weights (splat). The values are blurred by 1/2,
1, 1/2 along each of the d + 1 axes, and each pixel takes them back by the same weights (slice).

A corner is known by a hash of its coordinates. Sorting the hashes finds the corners that pixels share and brings the
pixels of each corner together. So splat, blur and slice are sums of rows that a table names, and nothing is scattered;
the tables are built once for all iterations and classes.

Shapes: B images, P classes that take part, h x w pixels, N = B * h * w, d features, M corners.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from dsrg.mean_field import Kernels

_PIXELS = 2**19
"""Pixels whose lattices are built together; a photograph with more stands alone."""
_STRIP = 2**16
"""Pixels whose simplices are computed together: what is computed on the way stays in the cache."""
_SHORT = 8
"""Rows of up to this many classes are turned for the softmax: PyTorch is slow on short rows."""
_FARTHEST = 1e5
"""Deviations between two pixels at the most. Where settings put them farther apart no two pixels meet, and float32
would not hold their places."""
_NOTHING = 1e-20
"""Added to the kernel's row sums, as pydensecrf does."""
_WORDS = [random.Random(place).getrandbits(64) | 1 for place in range(6)]
"""What a step along each coordinate adds to a hash of 64 bits, which wraps around; the first is of the image. Of 10^5
corners two have the same hash once in some 10^9 images."""


class _Sums(NamedTuple):
    """Weighted sums of rows."""

    rows: Tensor
    """int32, which to sum: (sums, k), or one after another where sums have different numbers of them."""
    weights: Tensor
    """One for each of `rows`."""
    starts: Tensor | None = None
    """(sums,) int32, where in `rows` each sum begins, where these have one dimension."""

    def of(self, values: Tensor) -> Tensor:
        """The sums, (sums, P), of values (rows, P)."""
        return functional.embedding_bag(self.rows, values, self.starts, mode="sum", per_sample_weights=self.weights)


class _Lattice(NamedTuple):
    """The way from pixels to pixels. Behind the M corners is one more, which no pixel has: the neighbour of those that
    have none."""

    splat: _Sums
    blur: list[_Sums]
    """Along each axis."""
    slice: _Sums

    def filter(self, values: Tensor) -> Tensor:
        """K v for values v (N, P)."""
        for step in (self.splat, *self.blur, self.slice):
            values = step.of(values)
        return values


class _Simplices(NamedTuple):
    """In which simplex each pixel lies; the corners of a simplex are numbered by their remainder, 0..d."""

    keys: Tensor
    """(N,) int64, the hash of corner 0."""
    axes: Tensor
    """(d + 1, N) int8: the coordinates in the order, descending, of what the pixel has beyond corner 0."""
    shares: Tensor
    """(d + 1, N), the barycentric weight of each corner."""


def mean_field(unary: Tensor, images: Tensor, kernels: Kernels) -> Tensor:
    """Mean field on the lattices of both kernels.

    Args:
        unary: (B, P, h, w) log probabilities; -inf where a class takes no part, which no image's first class is.
        images: (B, 3, h, w) RGB in 0..255.
        kernels: Iterations, deviations and weights.

    Returns:
        (B, P, h, w) probabilities.
    """
    height, width = unary.shape[2:]
    refined = torch.zeros_like(unary)
    # Images with the same number of classes share a chunk, so that none pays for another's.
    counts = unary[:, :, 0, 0].isfinite().sum(dim=1)
    for chunk in torch.split(counts.argsort(stable=True), max(1, _PIXELS // (height * width))):
        most = int(counts[chunk].max())
        rows = unary[chunk, :most].permute(0, 2, 3, 1).reshape(-1, most).contiguous()
        q = _iterate(rows, list(_lattices(images[chunk].to(unary.dtype), kernels)), kernels.iterations)
        refined[chunk, :most] = q.view(len(chunk), height, width, most).permute(0, 3, 1, 2)
    return refined


def rank(device: torch.device, pixels: int) -> int:
    """On a CPU it comes after pydensecrf, and on small grids after the exact engine. It was measured nowhere else."""
    return 1 if device.type == "cpu" else 0


def refuse(device: torch.device, height: int, width: int) -> None:
    """Nothing: it takes any size, and tensors of any device."""


def _iterate(unary: Tensor, lattices: list[_Lattice], iterations: int) -> Tensor:
    """q <- softmax(unary + sum of K q) for unary (N, P)."""
    q = _softmax(unary)
    for _ in range(iterations):
        energies = unary.clone()
        for lattice in lattices:
            energies += lattice.filter(q)
        q = _softmax(energies)
    return q


def _softmax(rows: Tensor) -> Tensor:
    if rows.shape[1] > _SHORT:
        return rows.softmax(dim=1)
    return rows.T.contiguous().softmax(dim=0).T.contiguous()


def _lattices(images: Tensor, kernels: Kernels) -> Iterator[_Lattice]:
    """The bilateral kernel's lattice over images (B, 3, h, w), and the Gaussian one's."""
    batch, _, height, width = images.shape
    rows = torch.arange(height, dtype=images.dtype, device=images.device)
    columns = torch.arange(width, dtype=images.dtype, device=images.device)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    places = torch.stack((x, y)).flatten(1).repeat(1, batch)
    colours = images.transpose(0, 1).flatten(1)
    image = torch.arange(batch, device=images.device).repeat_interleave(height * width)
    (sxy, srgb, weight), (gaussian_sxy, gaussian_weight) = kernels.bilateral, kernels.gaussian
    yield _lattice(torch.cat((places / sxy, colours / srgb)), image, weight)
    yield _lattice(places / gaussian_sxy, image, gaussian_weight)


def _lattice(features: Tensor, image: Tensor, weight: float) -> _Lattice:
    """weight * D^-1/2 K D^-1/2 for the Gaussian kernel K of deviation 1 between the features (d, N) of each image."""
    depth, pixels = features.shape
    features = features / (features.amax() / _FARTHEST).clamp(min=1)
    strips = zip(*map(_simplices, torch.split(features, _STRIP, dim=1)), strict=True)
    keys, axes, shares = (torch.cat(parts, dim=-1) for parts in strips)
    splat, corners, hashes = _share_corners(keys + image * _signed(_WORDS[0]), axes, shares)
    lattice = _Lattice(splat, _blurs(hashes, depth, shares.dtype), _Sums(corners, shares.T.contiguous()))
    alpha = 1 / (1 + 2.0**-depth)  # by which the blur is too strong
    scale = (lattice.filter(shares.new_ones(pixels, 1))[:, 0] * alpha + _NOTHING).rsqrt()
    lattice.splat.weights.mul_(scale.index_select(0, splat.rows))
    lattice.slice.weights.mul_(scale[:, None] * (alpha * weight))
    return lattice


def _simplices(features: Tensor) -> _Simplices:
    """The simplex of each pixel (Adams et al., Sect. 3.2), for features (d, N)."""
    depth = len(features)
    sides = depth + 1
    spread = math.sqrt(2 / 3) * sides  # the deviation of the blur in lattice units, so that the kernel's is 1
    elevated = features.new_empty(sides, features.shape[1])
    rest = torch.zeros_like(features[0])
    for axis in range(depth, 0, -1):
        value = features[axis - 1] * (spread / math.sqrt(axis * (axis + 1)))
        elevated[axis] = rest - axis * value
        rest = rest + value
    elevated[0] = rest
    nearest = (elevated * (1 / sides)).round()
    beyond = elevated - nearest * sides
    ranks = torch.zeros_like(elevated)
    for axis in range(depth):
        is_less = beyond[axis] < beyond[axis + 1 :]
        ranks[axis] += is_less.sum(dim=0)
        ranks[axis + 1 :] += ~is_less
    # Corners lie where coordinates sum to 0; one that rounding put beside that plane is brought back.
    ranks += nearest.sum(dim=0)
    back = (ranks < 0).to(ranks.dtype) - (ranks > depth).to(ranks.dtype)
    nearest += back
    places = (ranks + back * sides).long()
    ordered = torch.empty_like(elevated).scatter_(0, places, elevated * (1 / sides) - nearest).flip(0)
    shares = torch.cat((ordered[:1] - ordered[-1:] + 1, ordered[1:] - ordered[:-1]))
    coordinates = torch.arange(sides, dtype=torch.int8, device=features.device)[:, None].expand_as(places)
    axes = torch.empty_like(coordinates).scatter_(0, places, coordinates)
    keys = (nearest[:-1].long() * (_words(depth, features.device)[:-1, None] * sides)).sum(dim=0)
    return _Simplices(keys, axes, shares)


def _share_corners(keys: Tensor, axes: Tensor, shares: Tensor) -> tuple[_Sums, Tensor, Tensor]:
    """Number the corners of the pixels' simplices, see `_Simplices`. Remainders have no corner in common.

    Returns:
        The sums of the pixels at each corner, (N, d + 1) the corners of each pixel, and (M,) the hash of each corner.
    """
    sides, pixels = shares.shape
    words = _words(sides - 1, keys.device)
    # From one remainder to the next all coordinates grow by 1, and the largest that has not done so yet falls by d + 1.
    jumps = words.sum() - sides * words
    place = torch.arange(pixels, device=keys.device)
    corners = torch.empty(sides, pixels, dtype=torch.int32, device=keys.device)
    rows, weights = torch.empty_like(corners), torch.empty_like(shares)
    starts: list[Tensor] = []
    hashes: list[Tensor] = []
    count = 0
    for remainder in range(sides):
        if remainder:
            keys = keys + jumps.index_select(0, axes[sides - remainder].int())
        found, order = keys.sort(stable=True)
        is_first = torch.ones_like(found, dtype=torch.bool)
        torch.ne(found[1:], found[:-1], out=is_first[1:])
        first = is_first.nonzero()[:, 0]
        lengths = torch.diff(first, append=first.new_tensor([pixels]))
        # Corners in the order of their first pixels: neighbours then sum rows that lie together in memory.
        turn = order[first].argsort()
        first, lengths = first[turn], lengths[turn]
        begin = lengths.cumsum(0) - lengths
        order = order.index_select(0, place + (first - begin).repeat_interleave(lengths, output_size=pixels))
        numbers = torch.arange(count, count + len(first), dtype=torch.int32, device=keys.device)
        corners[remainder].scatter_(0, order, numbers.repeat_interleave(lengths, output_size=pixels))
        rows[remainder] = order
        torch.index_select(shares[remainder], 0, order, out=weights[remainder])
        starts.append(begin.int() + remainder * pixels)
        hashes.append(found[first])
        count += len(first)
    starts.append(starts[0].new_tensor([sides * pixels]))  # the corner that no pixel has
    splat = _Sums(rows.flatten(), weights.flatten(), torch.cat(starts))
    return splat, corners.T.contiguous(), torch.cat(hashes)


def _blurs(keys: Tensor, depth: int, dtype: torch.dtype) -> list[_Sums]:
    """The blur along each axis, for the corners' hashes (M,)."""
    count, words = len(keys), _words(depth, keys.device)
    own = torch.arange(count + 1, device=keys.device)
    ascending, corner = keys.sort()
    weights = torch.tensor([1, 0.5, 0.5], dtype=dtype, device=keys.device).expand(count + 1, 3).contiguous()
    found = []
    for step in (depth + 1) * words - words.sum():
        wanted = keys + step
        place = torch.searchsorted(ascending, wanted).clamp_(max=count - 1)
        ahead = torch.where(ascending[place] == wanted, corner[place], count)
        behind = torch.full_like(own, count).scatter_(0, ahead, own[:-1])
        behind[-1] = count
        ahead = functional.pad(ahead, (0, 1), value=count)
        found.append(_Sums(torch.stack((own, ahead, behind), dim=1).int(), weights))
    return found


def _words(depth: int, device: torch.device) -> Tensor:
    """(d + 1,) int64, what each coordinate adds to a hash; the last adds nothing, for it follows from the others."""
    return torch.tensor([*map(_signed, _WORDS[1 : depth + 1]), 0], device=device)


def _signed(word: int) -> int:
    return word - 2**64 if word >= 2**63 else word
