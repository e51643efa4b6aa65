"""Trained networks on whole photographs: CAMs and class probabilities over scales and the mirror image."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from dsrg import cam, distributed, grid, tables
from dsrg.crf import dense_crf
from dsrg.data.voc import Photo
from dsrg.files import pictures
from dsrg.labels import IGNORE
from dsrg.models.backbone import IMAGENET_MEAN, IMAGENET_STD
from dsrg.run import large, processes

Network = Callable[..., Any]
"""From normalised photographs (B, 3, H, W) to logits: a module, or its graph on ONNX Runtime (`run.onnx_network`)."""
ProbabilitiesOf = Callable[[Tensor], Tensor]
"""From pixels (3, H, W) uint8 to class probabilities (C, H, W)."""
MERGES = ("probabilities", "logits")
"""What passes over scales and mirror images may be merged as."""


def normalise(images: Tensor) -> Tensor:
    """Network input from pixels: (B, 3, H, W) of 0..255 to ImageNet's mean 0 and deviation 1, channels last."""
    mean = torch.tensor(IMAGENET_MEAN, device=images.device)[:, None, None]
    std = torch.tensor(IMAGENET_STD, device=images.device)[:, None, None]
    return ((images.float() / 255 - mean) / std).contiguous(memory_format=torch.channels_last)


def forward(model: nn.Module, batch: dict[str, Tensor], *more: Tensor) -> Tensor:
    """A network's output for a batch's "images", 0..255, or for the "features" that are cached of them."""
    cached = "features" in batch
    output: Tensor = (
        model(batch["features"].float(), *more, cached=True) if cached else model(normalise(batch["images"]), *more)
    )
    return output


def on_grid(pixels: Tensor, size: Sequence[int]) -> Tensor:
    """The pixels under the cells of the output grid, (..., H, W) -> (..., h, w) = size.

    Cell i of a network with H = s (h - 1) + 1 input pixels sits on pixel s i: corner on corner, as in
    align_corners=True.
    """
    rows = _evenly(pixels.shape[-2], size[0], pixels.device)
    columns = _evenly(pixels.shape[-1], size[1], pixels.device)
    return pixels[..., rows[:, None], columns]


def enlarge(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear resize (B, C, h, w) -> (B, C, *size), corner on corner, the inverse of `on_grid`."""
    return functional.interpolate(maps, tuple(size), mode="bilinear", align_corners=True)


def read_pixels(photo: Photo) -> Tensor:
    """The photograph, (3, H, W) uint8."""
    return planes(np.array(pictures.read_image(photo.path)))


def planes(picture: np.ndarray) -> Tensor:
    """Pixels (H, W, 3) uint8 as the networks take them, (3, H, W)."""
    return torch.from_numpy(picture).permute(2, 0, 1).contiguous()


@torch.no_grad()
def activation_maps(
    model: nn.Module,
    pixels: Tensor,
    tags: Tensor,
    *,
    source: str = "cam",
    scales: Sequence[float],
    size: int | None,
    mirror: bool,
    amp: bool = False,
) -> Tensor:
    """Normalised maps of one photograph's own classes at a quarter of its size, merged over scales and mirror image.

    - "cam" merges as Ahn and Kwak do (`cam.merge_scales`): a scale that responds more strongly weighs more.
    - "grad_cam" takes each scale's maps times the cells of its grid. The mean over the grid, by which Grad-CAM weighs
      the features, makes a map of twice the side a quarter as high, and the smallest scale would decide alone. So
      behind global pooling the merged maps are CAM's.
    - "grad_cam_pp" has no such factor.
    - "acol" erases the photograph's own classes, as in training. All scales weigh the same. The fused maps' minimum is
      above 0 (`ACoL.activation_maps`): it is subtracted from the merged map, or no pixel would be below the background
      thresholds that fit the other sources.

    Args:
        model: A classifier in eval mode.
        pixels: (3, H, W) uint8 on the model's device.
        tags: (C,) bool.
        source: What the maps are, see above.
        scales: Sizes relative to the base size.
        size: Long side at scale 1; None for the photograph's own.
        mirror: Add the mirror image.

    Returns:
        (K, ceil(H / 4), ceil(W / 4)) in [0, 1], zero for absent classes.
    """
    height, width = pixels.shape[-2:]
    maps: list[Tensor] = []
    for images in pyramid(model, pixels, scales, size, mirror):
        with torch.autocast(pixels.device.type, torch.bfloat16, enabled=amp):
            raw = _raw_maps(model, images, tags.to(pixels.device), source)
        maps += _unmirror(raw.float(), mirror)
    merged = cam.merge_scales(maps, (-(-height // 4), -(-width // 4)))
    if tables.MAPS[source].erases:
        merged = merged - merged.amin(dim=(2, 3), keepdim=True)
    return cam.normalise(merged, tags[None].to(pixels.device))[0]


def _raw_maps(model: nn.Module, images: Tensor, tags: Tensor, source: str) -> Tensor:
    """A source's maps (B, K, h, w); those of classes that the tags (C,) lack mean nothing."""
    kind = tables.MAPS[source]
    if kind.dense:
        erased = (tags.expand(len(images), -1),) if kind.erases else ()
        maps: Tensor = model.activation_maps(images, *erased)  # type: ignore[operator]
        return maps
    own = tags[1:].nonzero()[:, 0]
    found: Tensor = tables.part(kind.place)(model, images, own.expand(len(images), -1))
    if kind.per_cell:
        found = found * found[0, 0].numel()
    return found.new_zeros(len(images), len(tags) - 1, *found.shape[2:]).index_copy_(1, own, found)


@torch.no_grad()
def predict_probs(
    model: Network,
    pixels: Tensor,
    *,
    scales: Sequence[float],
    size: int | None,
    mirror: bool,
    merge: str = "probabilities",
    amp: bool = False,
) -> Tensor:
    """Class probabilities of one photograph at its own size, over scales and the mirror image.

    Args:
        model: A segmentation network in eval mode.
        pixels: (3, H, W) uint8 on the model's device.
        scales, size, mirror: As in `activation_maps`.
        merge: What the passes, one a scale and one a mirror image, are merged as. "probabilities": the mean of their
            softmax. "logits": the softmax of their sum, as the authors' test does. Every pass adds to the sum, so more
            passes are surer, and the CRF's kernels weigh less against them.

    Returns:
        (C, H, W) float32.
    """
    return predict_batch(model, [pixels], scales=scales, size=size, mirror=mirror, merge=merge, amp=amp)[0]


@torch.no_grad()
def predict_batch(
    model: Network,
    photos: Sequence[Tensor],
    *,
    scales: Sequence[float],
    size: int | None,
    mirror: bool,
    merge: str = "probabilities",
    amp: bool = False,
) -> list[Tensor]:
    """Class probabilities of several photographs, each at its own size, as `predict_probs` gives them.

    Args:
        model: A segmentation network in eval mode.
        photos: (3, H, W) uint8 on the model's device; their `network_sizes` must be equal.
        scales, size, mirror, merge: As in `predict_probs`.

    Returns:
        (C, H, W) float32 for each photograph.

    Raises:
        ValueError: `merge` is not one of MERGES.
    """
    if merge not in MERGES:
        raise ValueError(f"merge is '{merge}'; it must be one of {', '.join(MERGES)}.")
    sums: list[Tensor] = []
    passes = 0
    for inputs in zip(*(pyramid(model, pixels, scales, size, mirror) for pixels in photos), strict=True):
        images = torch.cat(inputs).contiguous(memory_format=torch.channels_last)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=amp):
            logits = model(images)
        sides = [_unmirror(own, mirror) for own in logits.float().split(len(inputs[0]))]
        for one in zip(*sides, strict=True):  # added up at once: at full size each takes C H W numbers
            for number, (maps, pixels) in enumerate(zip(one, photos, strict=True)):
                scores = enlarge(maps, pixels.shape[-2:])[0]
                found = scores if merge == "logits" else scores.softmax(dim=0)
                if passes:
                    sums[number].add_(found)
                else:
                    sums.append(found)
            passes += 1
    for number, total in enumerate(sums):  # one by one: of the others there is no second copy
        sums[number] = total.softmax(dim=0) if merge == "logits" else total.div_(passes)
    return sums


def merge_probs(parts: Sequence[Tensor], merge: str) -> Tensor:
    """What `predict_probs` gives for several scales, from what it gives for each of them alone, (C, H, W)."""
    if merge == "logits":  # the softmax of summed logits is that of summed log-probabilities
        logs = [part.clamp(min=torch.finfo(part.dtype).tiny).log() for part in parts]
        return torch.stack(logs).sum(dim=0).softmax(dim=0)
    return torch.stack(list(parts)).mean(dim=0)


def write_masks(
    probs_of: ProbabilitiesOf,
    photos: Iterable[Photo],
    directory: Path,
    *,
    with_tags: bool,
    crf: dict[str, Any] | None,
    crf_tags: bool = True,
    confidence: float = 0.0,
    device: torch.device,
    workers: int,
    weigh: Callable[[Photo, Tensor], Tensor] | None = None,
    after: Callable[[Photo, np.ndarray], np.ndarray] | None = None,
) -> None:
    """Write directory/<id>.png, the most probable class of each pixel, for every photograph that has none yet.

    Args:
        probs_of: From pixels (3, H, W) to probabilities (C, H, W).
        photos: The photographs; each process takes its share.
        directory: Where the masks go.
        with_tags: Restrict each mask to its photograph's own image-level labels.
        crf: Keyword arguments for `dense_crf`, or None to leave it out.
        crf_tags, confidence: As in `to_mask`.
        device: Where `probs_of` wants the pixels.
        workers: Processes for the CRF (pydensecrf holds Python's lock); 0 refines in this one.
        weigh: What else is known of a photograph, from its probabilities (C, H, W) to others.
        after: The same from its mask (H, W) to another, after the CRF and in its processes.
    """
    todo = [
        photo
        for photo in distributed.share(list(photos), sharded=True)
        if not (directory / f"{photo.id}.png").is_file()
    ]
    finish = functools.partial(_refine_and_write, after=after, crf=crf, crf_tags=crf_tags, confidence=confidence)
    workers = min(processes.crf_workers(crf, device, workers), len(todo))
    copies = 0

    def jobs() -> Iterator[tuple[Any, ...]]:
        nonlocal copies
        for photo in tqdm(todo, directory.name, disable=not distributed.is_main()):
            whole = np.array(pictures.read_image(photo.path))
            seen = large.copy_of(whole, len(photo.tags))
            copies += seen is not whole
            pixels = planes(seen).to(device)
            probs = probs_of(pixels)
            if weigh is not None:
                probs = weigh(photo, probs)
            tags = photo.tags if with_tags else None
            job = processes.portable(probs, workers), processes.portable(pixels, workers), tags
            yield directory / f"{photo.id}.png", photo, whole.shape[:2], *job

    for _ in processes.map_in_order(finish, jobs(), workers):
        pass
    if copies:
        print(large.sentence(copies))


def to_mask(
    probs: Tensor,
    pixels: Tensor,
    tags: Tensor | None = None,
    *,
    crf: dict[str, Any] | None,
    crf_tags: bool = True,
    confidence: float = 0.0,
    size: Sequence[int] | None = None,
) -> Tensor:
    """The most probable class of each pixel of one photograph, after the CRF.

    Args:
        probs: (C, H, W) probabilities.
        pixels: (3, H, W) uint8.
        tags: (C,) bool, the only classes that the mask may hold; None for all.
        crf: Keyword arguments for `dense_crf`, or None to leave it out.
        crf_tags: With tags, keep absent classes out of the CRF too, not only out of its result.
        confidence: As in `leave_out_unsure`, which gets `probs`. The CRF's own probabilities would not do: they are
            near 0 or 1 nearly everywhere.
        size: Height and width of the mask, where `pixels` are a copy of a large photograph (`large.copy_of`).

    Returns:
        (H, W) uint8, or of `size`: class index or, with a confidence, 255 = unlabelled.
    """
    return to_masks(probs, pixels, tags, crf=crf, crf_tags=crf_tags, confidences=[confidence], size=size)[0]


def to_masks(
    probs: Tensor,
    pixels: Tensor,
    tags: Tensor | None = None,
    *,
    crf: dict[str, Any] | None,
    crf_tags: bool = True,
    confidences: Sequence[float],
    size: Sequence[int] | None = None,
) -> list[Tensor]:
    """`to_mask` for each of several confidences; one CRF serves all of them."""
    refined = probs
    if crf is not None:
        own = tags[None] if tags is not None and crf_tags else None
        refined = dense_crf(probs[None], pixels[None], own, **crf)[0]
    copied = size is not None and tuple(size) != tuple(probs.shape[1:])

    def mask(confidence: float) -> Tensor:
        def decide(refined: Tensor, probs: Tensor) -> Tensor:
            if tags is not None:
                refined = refined.masked_fill(~tags[:, None, None], -1)
            return leave_out_unsure(refined.argmax(dim=0).byte(), probs, tags, confidence)

        return large.in_strips(decide, size, refined, probs) if copied and size else decide(refined, probs)

    return [mask(confidence) for confidence in confidences]


def leave_out_unsure(mask: Tensor, probs: Tensor, tags: Tensor | None, confidence: float) -> Tensor:
    """The mask with 255 where its class has a probability below `confidence`.

    Args:
        mask: (H, W) uint8 class indices.
        probs: (C, H, W) probabilities.
        tags: (C,) bool, the classes over which `probs` are renormalised; None for all.
        confidence: In 0..1; 0 leaves nothing out.

    Returns:
        (H, W) uint8.
    """
    if confidence == 0:
        return mask
    if tags is not None:
        probs = probs * tags[:, None, None]
    unsure = probs.gather(0, mask[None].long())[0] < confidence * probs.sum(dim=0)
    return mask.masked_fill(unsure, IGNORE)


def _refine_and_write(
    path: Path,
    photo: Photo,
    size: tuple[int, int],
    probs: Tensor | np.ndarray,
    pixels: Tensor | np.ndarray,
    tags: np.ndarray | None,
    after: Callable[[Photo, np.ndarray], np.ndarray] | None,
    **settings: Any,
) -> None:
    probs, pixels = torch.as_tensor(probs), torch.as_tensor(pixels)
    own = None if tags is None else torch.as_tensor(tags, device=probs.device)
    mask = to_mask(probs, pixels, own, size=size, **settings).cpu().numpy()
    pictures.write_mask(path, mask if after is None else after(photo, mask))


def pyramid(
    model: Network, pixels: Tensor, scales: Sequence[float], size: int | None, mirror: bool
) -> Iterable[Tensor]:
    """The network's inputs (1 or 2, 3, h, w), one a scale, of `network_sizes`; the second is the mirror image."""
    for target in network_sizes(model, pixels.shape[-2:], scales, size):
        image = functional.interpolate(pixels[None].float(), target, mode="bilinear", antialias=True)
        yield normalise(torch.cat([image, image.flip(-1)]) if mirror else image)


def network_sizes(
    model: Network, shape: Sequence[int], scales: Sequence[float], size: int | None
) -> list[tuple[int, int]]:
    """Height and width of the network's input at each scale, on its own grid, for a photograph of `shape` (H, W)."""
    base, stride = 1.0 if size is None else size / max(shape), output_stride(model)
    height, width = ([grid.nearest(side * base * scale, stride) for scale in scales] for side in shape)
    return list(zip(height, width, strict=True))


def output_stride(model: Network) -> int:
    """Pixels of the input for each cell of the output, as the network itself says; of one that does not say, the
    coarsest, whose sizes fit all grids."""
    return int(getattr(model, "output_stride", grid.COARSEST))


def _unmirror(maps: Tensor, mirror: bool) -> list[Tensor]:
    return [maps[:1], maps[1:].flip(-1)] if mirror else [maps]


def _evenly(length: int, count: int, device: torch.device) -> Tensor:
    return torch.linspace(0, length - 1, count, device=device).round().long()
