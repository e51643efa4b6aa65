"""Whole photographs, or one box of each, squeezed into a square: batches of them, read ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from dsrg.data.voc import Photo
from dsrg.files import pictures


def warped(
    photos: Sequence[Photo], size: int, *, batch: int, boxes: np.ndarray | None = None, threads: int = 2
) -> Iterator[tuple[Tensor, list[tuple[int, int]]]]:
    """The photographs in their order, as the classifier is measured on them (`dsrg.stages.classifier`).

    Two batches at most are in memory: one that is used, one that is read meanwhile.

    Args:
        photos: What to read.
        size: Side of the square in pixels.
        batch: Photographs in a batch; the last may have fewer.
        boxes: (N, 4) int, x0, y0, x1, y1 in pixels, half-open: the part of each photograph to squeeze; None for all.
        threads: Files to read at a time; decoding leaves Python's lock.

    Yields:
        (B, 3, size, size) uint8, and height and width of each whole photograph.

    Raises:
        InputError: a file is missing or broken.
    """
    from torchvision.transforms import v2  # here, for its import takes as long as PyTorch's

    def read(index: int) -> tuple[Tensor, tuple[int, int]]:
        picture = pictures.read_image(photos[index].path)
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
        if boxes is not None:
            left, top, right, bottom = boxes[index].tolist()
            pixels = pixels[:, top:bottom, left:right]
        return v2.functional.resize(pixels, [size, size], antialias=True), (picture.height, picture.width)

    with ThreadPoolExecutor(max(1, threads)) as pool:
        ahead: deque[list[Future[tuple[Tensor, tuple[int, int]]]]] = deque()
        try:
            for first in range(0, len(photos), batch):
                ahead.append([pool.submit(read, index) for index in range(first, min(first + batch, len(photos)))])
                if len(ahead) > 1:
                    yield _gather(ahead.popleft())
            while ahead:
                yield _gather(ahead.popleft())
        finally:
            pool.shutdown(cancel_futures=True)  # after an error, or where the caller stops early


def _gather(reading: Sequence[Future[tuple[Tensor, tuple[int, int]]]]) -> tuple[Tensor, list[tuple[int, int]]]:
    images, sizes = zip(*(future.result() for future in reading), strict=True)
    return torch.stack(images), list(sizes)
