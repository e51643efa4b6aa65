"""Mean field on pydensecrf's permutohedral lattice: on the CPU, approximate, in time linear in the pixels.

pydensecrf holds Python's lock, so the images of a batch are shared out over a pool of processes. They import this
file alone, which is why it needs no torch.

Shapes: P classes that take part (each image has its own), h x w pixels.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Executor

import loky
import numpy as np

from dsrg.mean_field import Kernels

_ALONE = 8192
"""Batches of fewer pixels stay in this process: sending them costs more than refining them."""
_IDLE_SECONDS = 300
"""After this time without work the processes of the pool end."""


def available() -> bool:
    """Whether pydensecrf is installed."""
    return importlib.util.find_spec("pydensecrf") is not None


def mean_field(
    unaries: Sequence[np.ndarray],
    pictures: Sequence[np.ndarray],
    kernels: Kernels,
) -> list[np.ndarray]:
    """Mean field on the lattice, image by image, in as many processes as there are cores.

    Args:
        unaries: Negative log probabilities of each image, (P, h, w) float32.
        pictures: The images, (h, w, 3) uint8.
        kernels: Iterations, deviations and weights.

    Returns:
        Probabilities of each image, (P, h, w) float32.
    """
    shares = min(len(pictures), _workers())
    if shares == 1 or sum(picture.shape[0] * picture.shape[1] for picture in pictures) < _ALONE:
        return _refine(unaries, pictures, kernels)
    pool = process_pool()
    jobs = [pool.submit(_refine, unaries[rank::shares], pictures[rank::shares], kernels) for rank in range(shares)]
    shared = itertools.zip_longest(*(job.result() for job in jobs))
    return [refined for turn in shared for refined in turn if refined is not None]


def process_pool() -> Executor:
    """The processes that share out the images, one a core; they end after some time without work, and with this one."""
    # loky, unlike multiprocessing, does not import the user's script again in every process.
    pool: Executor = loky.get_reusable_executor(
        _workers(), timeout=_IDLE_SECONDS, initializer=_begin_worker, initargs=(os.getpid(),)
    )
    return pool


def _begin_worker(parent: int) -> None:
    """A worker that waits for work does not hear that its parent was killed, so a thread of it looks now and then."""

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=look, daemon=True).start()


def _workers() -> int:
    """Cores for this process; the processes that torchrun starts on one machine share them."""
    return max(1, int(loky.cpu_count()) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def _refine(unaries: Sequence[np.ndarray], pictures: Sequence[np.ndarray], kernels: Kernels) -> list[np.ndarray]:
    import pydensecrf.densecrf as densecrf  # an extra, for it has to be compiled

    kind = {"kernel": densecrf.DIAG_KERNEL, "normalization": densecrf.NORMALIZE_SYMMETRIC}
    (sxy, srgb, weight), (gaussian_sxy, gaussian_weight) = kernels.bilateral, kernels.gaussian
    refined = []
    for unary, picture in zip(unaries, pictures, strict=True):
        height, width, _ = picture.shape
        field = densecrf.DenseCRF2D(width, height, len(unary))
        field.setUnaryEnergy(np.ascontiguousarray(unary.reshape(len(unary), -1)))
        field.addPairwiseGaussian(sxy=gaussian_sxy, compat=gaussian_weight, **kind)
        field.addPairwiseBilateral(sxy=sxy, srgb=srgb, rgbim=picture, compat=weight, **kind)
        refined.append(np.array(field.inference(kernels.iterations)).reshape(unary.shape))
    return refined
