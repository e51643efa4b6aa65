"""Processes beside this one, for work that holds Python's lock: the CRF on pydensecrf, photograph by photograph."""

from __future__ import annotations

import itertools
import multiprocessing
import multiprocessing.connection
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any, TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor

Result = TypeVar("Result")


def crf_workers(crf: dict[str, Any] | None, device: torch.device, workers: int) -> int:
    """How many processes the CRF needs: they are for pydensecrf. The other engines are at their best in this one, on
    the device, and so is no CRF."""
    on_device = crf is None or (device.type == "cuda" and crf["engine"] != "pydensecrf")
    return 0 if on_device else workers


def portable(values: Tensor, workers: int) -> Tensor | np.ndarray:
    """What `map_in_order` hands over: arrays travel between processes; without them tensors stay on their device."""
    return values.cpu().numpy() if workers else values


def map_in_order(call: Callable[..., Result], jobs: Iterable[tuple[Any, ...]], workers: int) -> Iterator[Result]:
    """call(*job) for every job, in the jobs' order: in `workers` processes, or with 0 in this one."""
    if not workers:
        yield from itertools.starmap(call, jobs)
        return
    pool = process_pool(workers)
    waiting: deque[Future[Result]] = deque()
    try:
        for job in jobs:
            waiting.append(pool.submit(call, *job))
            while len(waiting) > 2 * workers:  # bounds the memory, and meets a worker's failure early
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def process_pool(workers: int) -> ProcessPoolExecutor:
    """Processes with one thread each, for work that holds Python's lock. They end with this one, however it ends."""
    # Not fork: a forked child of a process whose torch has running threads can hang.
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin_worker)


def _begin_worker() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    parent = multiprocessing.parent_process()
    if parent is not None:
        # A worker waits for work with both ends of the queue in its hands: it never hears that its parent was killed.
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
