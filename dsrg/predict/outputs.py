"""The files that `predict` makes of one picture: which there are, which of them are due, and how they are written."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dsrg import tables
from dsrg.distributed import Shard
from dsrg.draw.masks import paint_with_legend
from dsrg.errors import InputError
from dsrg.files import pictures, storage
from dsrg.files.manifest import Manifest, Recorder
from dsrg.predict.formats import Drawn
from dsrg.run import inference


@dataclass(frozen=True)
class Options:
    """What `predict` makes, and how."""

    formats: tuple[str, ...] = ("png",)
    """Some of `tables.FORMATS`, and png, which is always written."""
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
    """Of polygons, in pixels; see `dsrg.predict.formats.outlines`."""
    image_url: str = ""
    """What Label Studio puts before the names of photographs, to fetch them."""
    batch: int = 8
    """Photographs of one network size that go through the network together."""
    workers: int = 2
    """Processes for the CRF."""
    overwrite: bool = False
    """Make everything anew, what was changed by hand since among it."""
    shard: Shard | None = None
    """Segment this share of the sources alone, and write no file that is of all of them."""

    def recorder(self, folder: Path) -> Recorder:
        """What writes and notes files; a shard has a manifest of its own, for shards may write at the same time."""
        shard = self.shard
        return (
            Recorder(folder) if shard is None else Recorder(folder, f"manifest.{shard.number}-of-{shard.total}.jsonl")
        )


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
    """Of the photograph or video, see `dsrg.files.manifest.identity`."""
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


class Job(NamedTuple):
    """One picture on its way to its files; it travels to other processes."""

    target: Target
    due: Due
    """Which files are to be written."""
    draw: bool
    """Return an overlay."""
    picture: np.ndarray
    """(H, W, 3) uint8."""
    seen: np.ndarray | None = None
    """Of a large picture the copy (h, w, 3) that was segmented."""
    probs: Tensor | np.ndarray | None = None
    """(C, h, w) of what was segmented; None where the mask is there."""
    allowed: Tensor | np.ndarray | None = None
    """(C,) bool, the only classes that the mask may hold; None for all."""


@dataclass(frozen=True)
class Finish:
    """Brings one picture from the network's probabilities to its files; a call of it travels to other processes."""

    out: Path
    options: Options
    classes: tuple[str, ...]
    crf: dict[str, Any] | None
    crf_tags: bool

    def __call__(self, job: Job) -> tuple[Target, np.ndarray | None, str]:
        """Write the files that are due.

        Returns:
            The target, the overlay (H, W, 3) or None, and what went wrong, in one sentence, or "".

        Raises:
            InputError: the disk is full, as it would be for every other picture.
        """
        try:
            return job.target, self._write(job), ""
        except InputError as error:
            if error.kind == "disk full":
                raise
            return job.target, None, fault(job.target, error)
        except (MemoryError, torch.OutOfMemoryError) as error:
            return job.target, None, fault(job.target, error)

    def _write(self, job: Job) -> np.ndarray | None:
        target, due, draw, picture, seen, probs, allowed = job
        record, files = self.options.recorder(self.out), paths(self.out, target, self.options)
        found = None if probs is None else torch.as_tensor(probs)
        if "mask" in due.kinds:
            assert found is not None
            own = None if allowed is None else torch.as_tensor(allowed, device=found.device)
            pixels = inference.planes(picture if seen is None else seen).to(found.device)
            how: dict[str, Any] = {"crf": self.crf, "crf_tags": self.crf_tags, "size": picture.shape[:2]}
            mask = np.asarray(inference.to_mask(found, pixels, own, **how).cpu().numpy())
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
                scores = found.cpu().numpy().astype(np.float16)
                content = storage.npz(probs=scores, classes=np.array(self.classes))
            elif kind == "frame":
                content = pictures.jpeg(picture)
            else:
                image = Path(os.path.relpath(target.photo, files[kind].parent)).as_posix()
                photo = None if target.is_frame else target.photo
                drawn = Drawn(picture, mask, self.classes, image, self.options.tolerance, photo)
                content = tables.part(tables.files_of()[kind].place)(drawn)
                made_from.append(mask_digest)
            record.write(files[kind], content, made_from)
        return paint_with_legend(picture, mask, self.classes) if draw else None


def paths(out: Path, target: Target, options: Options) -> dict[str, Path]:
    """The files of one picture, by kind. Those of `tables.FORMATS` are made from the mask."""
    files = {"mask": out / "masks" / f"{target.name}.png"}
    if options.probs:
        files["probs"] = out / "probs" / f"{target.name}.npz"
    wanted = tables.files_of(options.formats)
    for kind, line in wanted.items():
        if not line.whole and (line.frames or not target.is_frame):
            files[kind] = out / line.path.format(name=target.name, file_name=target.file_name)
    if target.is_frame and any(line.names_pictures for line in wanted.values()):
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
