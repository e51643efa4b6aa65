"""Training samples: joint transforms of photograph and mask, and batches in an order that can be resumed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from dsrg.data.voc import Photo, read_mask_for
from dsrg.errors import InputError
from dsrg.files import pictures
from dsrg.labels import IGNORE

if TYPE_CHECKING:
    from torchvision.transforms import v2  # at run time where it is used: its import takes as long as PyTorch's

MEAN_COLOUR = (124, 116, 104)
"""ImageNet's mean colour, of 255: fills what a crop shows beyond the photograph, so that it becomes zero."""


class RandomScale(torch.nn.Module):
    """Resize photograph and mask by one random factor.

    Args:
        size: Side of the square crop that follows; factor 1 brings the photograph's long side to it.
        scale: Range of the factor.
    """

    def __init__(self, size: int, scale: tuple[float, float]) -> None:
        super().__init__()
        self.size = size
        self.scale = scale

    def forward(self, parts: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        from torchvision.transforms import v2

        height, width = next(iter(parts.values())).shape[-2:]
        factor = float(torch.empty(1).uniform_(*self.scale)) * self.size / max(height, width)
        size = [max(1, round(height * factor)), max(1, round(width * factor))]
        # masks: nearest neighbour
        return {name: v2.functional.resize(part, size, antialias=True) for name, part in parts.items()}


def joint_transform(*, size: int, resize: str, scale: tuple[float, float], mirror: bool, colour: float) -> v2.Transform:
    """Augmentation of {"images": photograph, "masks": mask}, or of one of them; masks are resampled by nearest
    neighbour, padded with 255.

    Args:
        size: Side of the result in pixels.
        resize: 'warp' (whole photograph squeezed into the square) or 'crop' (random scale, random crop).
        scale: Range of the random scale before a crop.
        mirror: Mirror half of the pairs.
        colour: Strength of the colour jitter, 0 for none.
    """
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    fill = {tv_tensors.Image: list(MEAN_COLOUR), tv_tensors.Mask: IGNORE}
    steps: list[torch.nn.Module] = []
    if resize == "warp":
        steps.append(v2.Resize((size, size), antialias=True))
    else:
        steps += [RandomScale(size, scale), v2.RandomCrop(size, pad_if_needed=True, fill=fill)]
    if mirror:
        steps.append(v2.RandomHorizontalFlip())
    if colour > 0:
        steps.append(v2.ColorJitter(colour, colour, colour))  # no hue: it costs four times all the rest together
    return v2.Compose(steps)


@dataclass(frozen=True)
class Cached:
    """What a network trains on in place of pixels."""

    features: Callable[[int, bool], torch.Tensor]
    """From a photograph's index, and whether it is mirrored, to the features (D, h, w) of the whole photograph."""
    mirror: bool
    """Mirror half of the photographs."""
    pixels: bool
    """Whether the loss looks at the pixels all the same."""


class TrainingSet(Dataset[dict[str, torch.Tensor]]):
    """Augmented training samples.

    Args:
        photos: The photographs.
        mask_dir: Folder of seeds, pseudo-labels or ground truth, <id>.png as large as the photographs; None when
            image-level labels are enough.
        transform: Joint transform of photograph and mask.
        seed: With the draw's number it fixes the augmentation of a sample.
        cached: Features that are computed already; the transform must then neither cut nor mirror.
        true_masks: Files of true masks by photograph's id, which are taken in place of those in `mask_dir`.
        saliency: From a photograph and its (height, width) to its saliency (H, W) uint8, which the step is to see; with
            `mask_dir` alone.

    A sample is {"images": (3, S, S) uint8, "tags": (C,) bool}, with masks "masks": (S, S) uint8, and with cached
    features "features": (D, h, w) float16, without "images" where nobody looks at them. Where there are true masks,
    "true", () bool, tells whether the mask is one; the classes that it shows are then among the "tags". "saliency",
    (S, S) uint8, is cut and mirrored as the mask is.
    """

    def __init__(
        self,
        photos: Sequence[Photo],
        mask_dir: Path | None,
        transform: v2.Transform,
        seed: int,
        cached: Cached | None = None,
        true_masks: Mapping[str, Path] | None = None,
        saliency: Callable[[Photo, tuple[int, int]], np.ndarray] | None = None,
    ) -> None:
        self.photos = photos
        self.mask_dir = mask_dir
        self.transform = transform
        self.seed = seed
        self.cached = cached
        self.true_masks = true_masks or {}
        self.saliency = saliency

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, draw_and_index: tuple[int, int]) -> dict[str, torch.Tensor]:
        draw, index = draw_and_index
        photo = self.photos[index]
        parts = self._read(photo)
        tags = torch.from_numpy(photo.tags)
        if photo.id in self.true_masks:
            tags = tags.clone().index_fill_(0, _shown(parts["masks"][0]), True)
        # The augmentation depends on the seed and the draw alone, not on the worker or on what came before: a
        # resumed run sees the same samples as an uninterrupted one.
        with torch.random.fork_rng(devices=[]):
            # Both mixed into 32 bits: of a longer seed, torch on the CPU reads the lowest 32 alone.
            torch.manual_seed(int(np.random.SeedSequence((self.seed, draw)).generate_state(1)[0]))
            parts = self.transform(parts) if parts else parts
            mirrored = self.cached is not None and self.cached.mirror and bool(torch.rand(()) < 0.5)
        sample = {name: part.as_subclass(torch.Tensor) for name, part in parts.items()}
        if mirrored:
            sample = {name: part.flip(-1) for name, part in sample.items()}
        if "masks" in sample:
            sample |= dict(zip(("masks", "saliency"), sample["masks"], strict=False))
        sample["tags"] = tags
        if self.true_masks:
            sample["true"] = torch.tensor(photo.id in self.true_masks)
        if self.cached is not None:
            sample["features"] = self.cached.features(index, mirrored)
        return sample

    def _read(self, photo: Photo) -> dict[str, Any]:
        """What is transformed, by the sample's names."""
        from torchvision import tv_tensors

        parts: dict[str, Any] = {}
        if self.cached is None or self.cached.pixels:
            parts["images"] = tv_tensors.Image(pictures.read_image(photo.path))
        if self.mask_dir is not None:
            path, count = self.true_masks.get(photo.id) or pictures.mask_file(self.mask_dir, photo.id), len(photo.tags)
            if parts:
                height, width = parts["images"].shape[1:]
                mask = read_mask_for(path, (width, height), count, photo.path)
            else:
                mask = pictures.read_mask(path, count)
            layers = [mask]
            if self.saliency is not None:
                layers.append(self.saliency(photo, (mask.shape[0], mask.shape[1])))
            parts["masks"] = tv_tensors.Mask(torch.from_numpy(np.stack(layers)))
        return parts


def _shown(mask: torch.Tensor) -> torch.Tensor:
    """The classes that a mask of class indices and 255 shows."""
    counts = torch.bincount(mask.as_subclass(torch.Tensor).flatten().long(), minlength=IGNORE + 1)
    return counts[:IGNORE].nonzero()[:, 0]


class ResumableBatches(Sampler[list[tuple[int, int]]]):
    """Batches of (draw, index), each epoch in its own random order, from any iteration on.

    Args:
        length: Number of photographs.
        batch: Photographs in a batch over all processes; divisible by their number.
        start: First iteration.
        stop: Iteration to end before.
        seed: Fixes the order.
        rank: This process.
        world_size: Number of processes; each takes an equal part of every batch.
        weights: How often each photograph is drawn in an epoch, `length` whole numbers above 0; once each without.
    """

    def __init__(
        self,
        length: int,
        batch: int,
        start: int,
        stop: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        weights: Sequence[int] | None = None,
    ) -> None:
        self.pool = np.repeat(np.arange(length), 1 if weights is None else weights)
        self.batch = batch
        self.iterations = range(start, stop)
        self.seed = seed
        self.rank = rank
        self.world_size = world_size

    def __len__(self) -> int:
        return len(self.iterations)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        share = self.batch // self.world_size
        epoch, order = -1, np.empty(0, np.int64)
        for iteration in self.iterations:
            first = iteration * self.batch + self.rank * share
            chosen = []
            for draw in range(first, first + share):
                if draw // len(self.pool) != epoch:
                    epoch = draw // len(self.pool)
                    order = np.random.default_rng((self.seed, epoch)).permutation(self.pool)
                chosen.append((draw, int(order[draw % len(self.pool)])))
            yield chosen


def make_loader(
    dataset: TrainingSet, batches: Iterable[list[tuple[int, int]]], workers: int, pin: bool
) -> DataLoader[Any]:
    """A loader that prefetches batches of (draw, index) for one pass.

    Args:
        dataset: The samples.
        batches: What each batch holds.
        workers: Processes that load, each four batches ahead; 0 loads in this process.
        pin: Hand batches over in pinned memory, from which a copy to CUDA runs beside the computation.
    """
    return Loader(
        _Handing(dataset),
        batch_sampler=batches,
        collate_fn=_collate,
        num_workers=workers,
        pin_memory=pin,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_one_thread,
        # Each pass draws a number for its workers. From the global generator it would shift a resumed run's dropout.
        generator=torch.Generator(),
    )


class Loader(DataLoader[Any]):
    """A loader whose workers' errors about files arrive as they were raised.

    torch makes an error of a worker anew, with the text of its traceback as the message.
    """

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # torch's own iterator stays inside
        for batch in super().__iter__():
            if isinstance(batch, Exception):
                raise batch
            yield batch


class _Handing(Dataset[Any]):
    """A data set that hands an error about a file over in the sample's place."""

    def __init__(self, dataset: TrainingSet) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: tuple[int, int]) -> Any:
        try:
            return self.dataset[index]
        except (InputError, OSError, MemoryError) as error:
            return error


def _collate(samples: list[Any]) -> Any:
    """The batch of the samples, or the first error among them."""
    return next((sample for sample in samples if isinstance(sample, Exception)), None) or default_collate(samples)


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)  # the workers share the cores with the network
