"""The files that `predict` makes of one picture: which there are, which of them are due, and how they are written."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dsrg import disk, inference, pictures
from dsrg.errors import InputError
from dsrg.formats import labelme
from dsrg.formats.overlay import labelled_overlay
from dsrg.manifest import Manifest, Recorder

FORMATS = ("png", "overlay", "coco", "labelme")


@dataclass(frozen=True)
class Options:
    """What `predict` makes, and how."""

    formats: tuple[str, ...] = ("png",)
    """Some of FORMATS; png is always written."""
    probs: bool = False
    """Keep the network's class probabilities."""
    crf: bool | None = None
    """Refine with the dense CRF; None for the network's own setting, as for the following two."""
    scales: tuple[float, ...] | None = None
    """Sizes to average over."""
    size: int | None = None
    """Long side of the photographs at scale 1, in pixels."""
    classes: tuple[str, ...] | None = None
    """The only classes besides background that a mask may hold; None for all."""
    tags: Mapping[str, Sequence[str]] | None = None
    """Each source's own labels by its name, which restrict its mask alone."""
    every: int = 1
    """Of a video take every so many frames."""
    tolerance: float = 1.0
    """Of LabelMe's polygons, in pixels; see `dsrg.formats.labelme`."""
    batch: int = 8
    """Photographs of one network size that go through the network together."""
    workers: int = 2
    """Processes for the CRF."""
    overwrite: bool = False
    """Make everything anew, what was changed by hand since among it."""


@dataclass(frozen=True)
class Target:
    """One picture's outputs."""

    name: str
    """Path below the output's folders, without ending."""
    photo: Path
    """The photograph; of a video's frame, the file that COCO and LabelMe name."""
    file_name: str
    """What COCO calls it."""
    source: str
    """Name of the photograph or video, which has the labels."""
    identity: list[int]
    """Of the photograph or video, see `dsrg.manifest.identity`."""
    is_frame: bool = False
    """Whether it is a frame of a video."""

    @property
    def origin(self) -> str:
        """The file that the user gave, or the frame, for errors."""
        return self.name if self.is_frame else str(self.photo)


@dataclass(frozen=True)
class Due:
    """What is to be done for one picture."""

    kinds: tuple[str, ...]
    """Of `paths`: the files to write. None are, that somebody has changed."""
    changed: tuple[Path, ...] = ()
    """Files that are not as they were written, and stay."""
    mask: str = ""
    """Digest of the mask where it stays."""

    @property
    def network(self) -> bool:
        """Whether the network is needed."""
        return bool({"mask", "probs"} & set(self.kinds))


@dataclass(frozen=True)
class Finish:
    """Brings one picture from the network's probabilities to its files; a call of it travels to other processes."""

    out: Path
    options: Options
    classes: tuple[str, ...]
    crf: dict[str, Any] | None
    crf_tags: bool

    def __call__(
        self,
        target: Target,
        due: Due,
        draw: bool,
        picture: np.ndarray,
        seen: np.ndarray | None,
        probs: Tensor | np.ndarray | None,
        allowed: Tensor | np.ndarray | None,
    ) -> tuple[Target, np.ndarray | None, str]:
        """Write the files that are due.

        Args:
            target: The picture's outputs.
            due: Which are to be written.
            draw: Return an overlay.
            picture: (H, W, 3) uint8.
            seen: Of a large picture the copy (h, w, 3) that was segmented.
            probs: (C, h, w) of what was segmented; None where the mask is there.
            allowed: (C,) bool, the only classes that the mask may hold; None for all.

        Returns:
            The target, the overlay (H, W, 3) or None, and what went wrong, in one sentence, or "".

        Raises:
            InputError: the disk is full, as it would be for every other picture.
        """
        try:
            return target, self._write(target, due, draw, picture, seen, probs, allowed), ""
        except InputError as error:
            if error.kind == "disk full":
                raise
            return target, None, fault(target, error)
        except (MemoryError, torch.OutOfMemoryError) as error:
            return target, None, fault(target, error)

    def _write(
        self,
        target: Target,
        due: Due,
        draw: bool,
        picture: np.ndarray,
        seen: np.ndarray | None,
        probs: Tensor | np.ndarray | None,
        allowed: Tensor | np.ndarray | None,
    ) -> np.ndarray | None:
        record, files = Recorder(self.out), paths(self.out, target, self.options)
        found = None if probs is None else torch.as_tensor(probs)
        if "mask" in due.kinds:
            assert found is not None
            mask = self._mask(found, picture, seen, allowed)
            mask_digest = record.write(files["mask"], pictures.mask_png(mask), target.identity)
        else:
            mask = pictures.read_mask(files["mask"], len(self.classes))
            if mask.shape != picture.shape[:2]:
                raise InputError(
                    f"{files['mask']}: was changed by hand, and is not of the size of {target.origin}; delete it, or "
                    "add --overwrite."
                )
            mask_digest = due.mask
        for kind in due.kinds:
            made_from: list[int | str] = [*target.identity]
            if kind == "mask":
                continue
            if kind == "probs":
                assert found is not None
                content = _probs_npz(found, self.classes)
            elif kind == "frame":
                content = _jpeg(picture)
            elif kind == "overlay":
                content = _jpeg(labelled_overlay(picture, mask, self.classes))
                made_from.append(mask_digest)
            else:
                image = Path(os.path.relpath(target.photo, files[kind].parent)).as_posix()
                value = labelme.document(mask, self.classes, image, self.options.tolerance)
                content = disk.json_text(value).encode()
                made_from.append(mask_digest)
            record.write(files[kind], content, made_from)
        return labelled_overlay(picture, mask, self.classes) if draw else None

    def _mask(
        self, probs: Tensor, picture: np.ndarray, seen: np.ndarray | None, allowed: Tensor | np.ndarray | None
    ) -> np.ndarray:
        pixels = inference.planes(picture if seen is None else seen).to(probs.device)
        own = None if allowed is None else torch.as_tensor(allowed, device=probs.device)
        size = picture.shape[:2]
        mask = inference.to_mask(probs, pixels, own, crf=self.crf, crf_tags=self.crf_tags, size=size)
        return np.asarray(mask.cpu().numpy())


def paths(out: Path, target: Target, options: Options) -> dict[str, Path]:
    """The files of one picture, by kind. Those behind the mask, overlay and labelme, are made from it."""
    files = {"mask": out / "masks" / f"{target.name}.png"}
    if options.probs:
        files["probs"] = out / "probs" / f"{target.name}.npz"
    if "overlay" in options.formats and not target.is_frame:
        files["overlay"] = out / "overlays" / f"{target.name}.jpg"
    if "labelme" in options.formats:
        files["labelme"] = out / "labelme" / f"{target.name}.json"
    if target.is_frame and {"coco", "labelme"} & set(options.formats):
        files["frame"] = target.photo
    return files


def due(manifest: Manifest, target: Target, options: Options) -> Due:
    """What is to be done for a picture: what is missing, and what was made by us from something else."""
    files = paths(manifest.folder, target, options)
    states = {"mask": manifest.state(files["mask"], target.identity)}
    mask = manifest.digest(files["mask"]) if states["mask"] in ("fresh", "changed") else ""
    for kind in files.keys() - states.keys():
        direct = kind in ("probs", "frame")
        states[kind] = manifest.state(files[kind], target.identity if direct else [*target.identity, mask])
    kinds = tuple(kind for kind in files if states[kind] in ("missing", "stale"))
    return Due(kinds, tuple(files[kind] for kind in files if states[kind] == "changed"), mask)


def fault(target: Target, error: BaseException) -> str:
    """What went wrong with a picture, in one sentence that names it."""
    if not isinstance(error, InputError):
        return f"{target.origin}: needs more memory than there is; give a smaller --size, or fewer --scales."
    said = str(error)
    return said if target.origin in said else f"{target.origin}: {said}"


def _probs_npz(probs: Tensor, classes: Sequence[str]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, probs=probs.cpu().numpy().astype(np.float16), classes=np.array(classes))
    return buffer.getvalue()


def _jpeg(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    try:
        Image.fromarray(picture).save(buffer, "JPEG", quality=92)
    except (OSError, ValueError):
        height, width = picture.shape[:2]
        raise InputError(f"a JPEG holds at most 65,500 pixels a side, and this has {width} x {height}.") from None
    return buffer.getvalue()
