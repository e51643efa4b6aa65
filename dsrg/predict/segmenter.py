"""A trained segmentation network with all that turns a photograph into a mask: class names, scales, CRF.

In three lines of Python:

    import dsrg
    segmenter = dsrg.load("runs/own")
    segmenter.predict("photo.jpg").save("mask.png")

`predict` takes files, PIL images and arrays, one or a list; its result has the mask, the class names, an overlay and,
on demand, the probabilities.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, overload

import numpy as np
import torch
from PIL import Image
from pydantic import AfterValidator, ConfigDict
from torch import Tensor

from dsrg.draw import tiles
from dsrg.draw.masks import paint_with_legend
from dsrg.errors import InputError
from dsrg.files import pictures
from dsrg.labels import BACKGROUND, Classes
from dsrg.models.deeplab import DeepLab
from dsrg.run import inference, large, onnx_network
from dsrg.run.gating import Gate
from dsrg.schema import Crf, Merge, Scales, Side

Picture = str | Path | Image.Image | np.ndarray
"""A photograph: a file, a PIL image, or RGB pixels (H, W, 3) uint8."""
MOST_PROBS = 2**27
"""Class probabilities that are made at a time: half a gigabyte of them."""
BATCH = 8
"""Photographs of one network size that go through the network together."""


@dataclass(frozen=True)
class Segmentation:
    """The mask of one photograph."""

    mask: np.ndarray
    """(H, W) uint8 class indices."""
    classes: tuple[str, ...]
    """The C class names, background first."""
    picture: np.ndarray
    """(H, W, 3) uint8, the photograph as it was segmented: upright."""
    probs: np.ndarray | None = None
    """(C, H, W) float32 where they were asked for: the network's own, before the CRF, whose are near 0 or 1 nearly
    everywhere, and of all classes, whichever the mask was restricted to. Where the segmenter has a gate they are gated,
    and add up to 1 or less. Of a large photograph they are as large as the copy that was segmented, see
    `dsrg.run.large`."""

    @property
    def present(self) -> tuple[str, ...]:
        """Names of the classes that the mask holds, background left out."""
        return tuple(self.classes[index] for index in np.unique(self.mask) if index != BACKGROUND)

    def save(self, path: str | Path) -> None:
        """Write the mask as a palette PNG of class indices, atomically.

        Raises:
            InputError: the name does not end in .png; other formats would lose the indices.
        """
        if Path(path).suffix.lower() != ".png":
            raise InputError(f"{path}: a mask is written as a PNG, which keeps its indices; end the name in .png.")
        pictures.write_mask(path, self.mask)

    def overlay(self, strength: float = 0.5) -> np.ndarray:
        """The classes' colours over the photograph, with a legend, (H, W, 3) uint8."""
        return paint_with_legend(self.picture, self.mask, self.classes, strength)

    def save_overlay(self, path: str | Path, strength: float = 0.5) -> None:
        """Write the overlay as a PNG, atomically."""
        tiles.write_picture(Path(path), Image.fromarray(self.overlay(strength)))


def check_crf_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments of `dsrg.crf.dense_crf` within the bounds of the configuration.

    Raises:
        ValueError: one is unknown or out of bounds.
    """
    unknown = sorted(set(arguments) - set(Crf(long_side=1).arguments()))
    if unknown:
        raise ValueError(f"{', '.join(unknown)[:200]} is not known")
    return Crf.model_validate(arguments).arguments()


@dataclass(frozen=True)
class Settings:
    """How photographs are segmented, where the call says nothing else."""

    # An exported file says its settings, and pydantic holds them to these bounds.
    __pydantic_config__ = ConfigDict(extra="forbid")

    scales: Scales = (1.0,)
    """Sizes to merge, times the base size."""
    size: Side | None = None
    """Long side of the photograph at scale 1, in pixels; None for its own."""
    mirror: bool = True
    """Merge the mirror image too."""
    merge: Merge = "probabilities"
    """As in `dsrg.run.inference.predict_probs`."""
    crf: bool = True
    """Refine with the dense CRF."""
    crf_tags: bool = True
    """Where a mask is restricted to some classes, keep the others out of the CRF too."""
    crf_arguments: Annotated[dict[str, Any], AfterValidator(check_crf_arguments)] = field(
        default_factory=lambda: {"engine": "auto"}
    )
    """Keyword arguments of `dsrg.crf.dense_crf`."""
    amp: bool = False
    """bfloat16 autocast."""


class Segmenter:
    """A trained network and how it is used. `dsrg.load` makes one.

    Args:
        model: The network; it is put in eval mode, on the device.
        classes: Its C classes.
        device: Where it runs.
        settings: How photographs are segmented.
        architecture: Keyword arguments of `dsrg.models.build.build_deeplab` that made the model.
        record: What is known of its training, as plain values: for exports.
        gate: The trained classifier that gates the probabilities; None where there is no gate.
        engine: The run's own choice of `dsrg.tables.ENGINES`; `use_engine` makes one.
    """

    def __init__(
        self,
        model: DeepLab,
        classes: Classes,
        device: torch.device,
        settings: Settings,
        *,
        architecture: dict[str, Any],
        record: dict[str, Any],
        gate: Gate | None = None,
        engine: str = "auto",
    ) -> None:
        self.model = model.to(device).to(memory_format=torch.channels_last).eval()
        self.classes = classes
        self.device = device
        self.settings = settings
        self.architecture = architecture
        self.record = record
        self.engine = engine
        self.gate = None if gate is None else gate.to(device).to(memory_format=torch.channels_last).eval()
        self.graph: inference.Network | None = None
        """What computes in the model's place, see `use_engine`."""

    def use_engine(self, engine: str, directory: Path) -> None:
        """Compute the networks from now on with ONNX Runtime, where `dsrg.run.onnx_network.wanted` says so.

        Args:
            engine: One of `dsrg.tables.ENGINES`.
            directory: Where the networks' graphs are kept.

        Raises:
            InputError: the engine is 'onnx', and that is not possible here.
        """
        if not onnx_network.wanted(engine, self.device, amp=self.settings.amp):
            return
        must = engine == "onnx"
        self.graph = onnx_network.on_onnx(self.model, directory, required=must)
        if self.gate is not None and self.graph is not None:
            self.gate.graph = onnx_network.on_onnx(self.gate.classifier, directory, required=must)

    @overload  # a str is a sequence too, but of no pictures: the first of the two is meant
    def predict(  # type: ignore[overload-overlap]
        self,
        image: Picture,
        *,
        tags: Sequence[str] | None = ...,
        classes: Sequence[str] | None = ...,
        crf: bool | None = ...,
        scales: Sequence[float] | None = ...,
        size: int | None = ...,
        probs: bool = ...,
    ) -> Segmentation: ...

    @overload
    def predict(
        self,
        image: Sequence[Picture],
        *,
        tags: Sequence[Sequence[str]] | None = ...,
        classes: Sequence[str] | None = ...,
        crf: bool | None = ...,
        scales: Sequence[float] | None = ...,
        size: int | None = ...,
        probs: bool = ...,
    ) -> list[Segmentation]: ...

    def predict(
        self,
        image: Picture | Sequence[Picture],
        *,
        tags: Sequence[Any] | None = None,
        classes: Sequence[str] | None = None,
        crf: bool | None = None,
        scales: Sequence[float] | None = None,
        size: int | None = None,
        probs: bool = False,
    ) -> Segmentation | list[Segmentation]:
        """Segment a photograph, or several in batches.

        Files and PIL images are turned upright first, as their EXIF orientation says, so the mask is as wide and high
        as viewers show the photograph. Arrays are taken as they are.

        Args:
            image: A file, a PIL image, RGB pixels (H, W, 3) or grey ones (H, W) uint8; or a list of them.
            tags: Labels of the photograph, the only classes besides background that its mask may hold; for a list of
                photographs, a list of labels for each.
            classes: The same for all photographs. With tags too, what is in both.
            crf: Refine with the dense CRF; None for the network's own setting, as for the following two.
            scales: Sizes to merge.
            size: Long side of the photograph at scale 1, in pixels.
            probs: Keep the class probabilities.

        Returns:
            A Segmentation, or a list of them in the list's order.

        Raises:
            InputError: a file cannot be read, an array has another form, or a label is not one of the classes.
        """
        several = isinstance(image, Sequence) and not isinstance(image, str)
        images: list[Any] = list(image) if several else [image]  # type: ignore[arg-type]  # just seen
        labels: list[Any] = [None] * len(images) if tags is None else list(tags) if several else [tags]
        if len(labels) != len(images):
            raise InputError(f"tags: {len(labels)} lists of labels for {len(images)} photographs; give one for each.")
        allowed = [self.restriction(own, classes, "tags") for own in labels]
        pictures = [to_pixels(one) for one in images]
        found: list[Segmentation | None] = [None] * len(images)
        seen = [self.copy_of(picture, size) for picture in pictures]
        for numbers in self.batches(seen, scales, size):
            several_probs = self.probabilities([seen[number] for number in numbers], scales, size)
            for number, one in zip(numbers, several_probs, strict=True):
                mask_ = inference.to_mask(
                    one,
                    _planes(seen[number]).to(self.device),
                    allowed[number],
                    crf=self.crf_arguments(crf),
                    crf_tags=self.settings.crf_tags,
                    size=pictures[number].shape[:2],
                )
                mask = mask_.cpu().numpy()
                kept = one.cpu().numpy() if probs else None
                found[number] = Segmentation(mask, self.classes.names, pictures[number], kept)
        done = [one for one in found if one is not None]
        return done if several else done[0]

    def batches(
        self, pictures: Sequence[np.ndarray], scales: Sequence[float] | None, size: int | None, batch: int = BATCH
    ) -> list[list[int]]:
        """Indices of pictures (H, W, 3) that may go through the network together, `batch` of them at most."""
        groups: defaultdict[Any, list[int]] = defaultdict(list)
        for number, picture in enumerate(pictures):
            groups[self.network_sizes(picture.shape[:2], scales, size)].append(number)
        found = []
        for group in groups.values():
            step = self.fitting(pictures[group[0]].shape, batch)
            found += [group[start : start + step] for start in range(0, len(group), step)]
        return found

    def fitting(self, shape: Sequence[int], batch: int) -> int:
        """How many photographs of `shape` (H, W, ...) go together: `batch`, or fewer large ones, one at least.

        The class probabilities of all of them are in memory at their own size, at MOST_PROBS numbers in all.
        """
        return max(1, min(batch, MOST_PROBS // (len(self.classes) * shape[0] * shape[1])))

    def copy_of(self, picture: np.ndarray, size: int | None = None) -> np.ndarray:
        """The picture (H, W, 3) uint8 as it is segmented: itself, or of a large one a copy, see `dsrg.run.large`."""
        return large.copy_of(picture, len(self.classes), size or self.settings.size)

    def network_sizes(
        self, shape: Sequence[int], scales: Sequence[float] | None = None, size: int | None = None
    ) -> tuple[tuple[int, int], ...]:
        """The sizes at which the network sees a photograph of `shape` (H, W)."""
        scales, size = scales or self.settings.scales, size or self.settings.size
        return tuple(inference.network_sizes(self.model, shape, scales, size))

    def probabilities(
        self, pictures: Sequence[np.ndarray], scales: Sequence[float] | None = None, size: int | None = None
    ) -> list[Tensor]:
        """The class probabilities (C, H, W), gated where there is a gate, of pictures (H, W, 3) uint8 with equal
        `network_sizes`."""
        photos = [_planes(picture).to(self.device) for picture in pictures]
        found = inference.predict_batch(
            self.graph or self.model,
            photos,
            scales=scales or self.settings.scales,
            size=size or self.settings.size,
            mirror=self.settings.mirror,
            merge=self.settings.merge,
            amp=self.settings.amp,
        )
        gate = self.gate
        if gate is None:
            return found
        # one by one: photographs that the network sees at one size the classifier may see at several
        return [gate(probs[None], pixels[None])[0] for probs, pixels in zip(found, photos, strict=True)]

    def crf_arguments(self, crf: bool | None = None) -> dict[str, Any] | None:
        """Keyword arguments of `dense_crf`, or None where it is left out."""
        return self.settings.crf_arguments if (self.settings.crf if crf is None else crf) else None

    def restriction(
        self, tags: Iterable[str] | None, classes: Iterable[str] | None, where: str = "classes"
    ) -> Tensor | None:
        """The classes (C,) bool that a mask may hold, background among them; None for all.

        Args:
            tags: Names of the photograph's own labels, or None.
            classes: Names of the classes that are wanted at all, or None.
            where: What holds the tags, for the error.

        Raises:
            InputError: a name is not one of the classes.
        """
        allowed = None
        for names, source in ((tags, where), (classes, "classes")):
            if names is None:
                continue
            if isinstance(names, str):
                raise InputError(f"{source} = '{names}': a list of names is needed, such as ['{names}'].")
            named = torch.zeros(len(self.classes), dtype=torch.bool)
            named[[BACKGROUND, *(self.classes.index(name, source) for name in names)]] = True
            allowed = named if allowed is None else allowed & named
        return None if allowed is None else allowed.to(self.device)


def to_pixels(image: Picture) -> np.ndarray:
    """RGB pixels (H, W, 3) uint8 of a photograph; files and PIL images upright.

    Raises:
        InputError: the file cannot be read, or the array is no picture.
    """
    if isinstance(image, str | Path):
        return np.array(pictures.read_upright(image))
    if isinstance(image, Image.Image):
        return np.array(pictures.upright(image))
    if not isinstance(image, np.ndarray):
        raise InputError(f"image: a {type(image).__name__} is no picture; give a file, a PIL image or an array.")
    if image.ndim == 2:
        image = np.repeat(image[:, :, None], 3, axis=2)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise InputError(
            f"image: an array must be uint8 (H, W, 3) in RGB or (H, W) in grey, not {image.dtype} {image.shape}; "
            "convert it, and give several as a list."
        )
    return image


def _planes(picture: np.ndarray) -> Tensor:
    return inference.planes(np.array(picture))
