"""Features of a network's frozen stages, computed once for each photograph and its mirror image, and kept on disk.

What does not train gives the same in every iteration: with all stages frozen, that is nearly the whole of an iteration.
The features lie in features/<key>/ as half-precision numbers, mapped into memory; the key is a digest of all that they
follow from, so every training with the same frozen stages and the same input size reads the same file.
"""

from __future__ import annotations

import hashlib
import shutil
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from dsrg import distributed
from dsrg.data.training import TrainingSet, joint_transform, make_loader
from dsrg.errors import InputError, reason
from dsrg.files import disk, locks
from dsrg.models.backbone import Backbone
from dsrg.run import inference
from dsrg.run.folder import Run

_FEATURES, _CHECKS, _ABOUT = "features.npy", "checks.npy", "about.json"


class Features:
    """The features of a training split, of each photograph and its mirror image. It travels to other processes.

    Args:
        directory: Holds features.npy, (N, 2, D, h, w) float16, and checks.npy, (N, 2) uint32: the checksum of each, 0
            for one that is missing.
        writable: Whether they are to be filled; reading needs no right to write.

    Raises:
        InputError: the files are not what they should be.
    """

    def __init__(self, directory: Path, writable: bool = False) -> None:
        self.directory = directory
        self._mode: Literal["r", "r+"] = "r+" if writable else "r"
        self.values = self._open(_FEATURES, np.float16, 5)
        self.checks = self._open(_CHECKS, np.uint32, 2)
        if self.values.shape[:2] != self.checks.shape:
            raise self._broken(_CHECKS, "is of another size")

    def of(self, index: int, mirrored: bool) -> Tensor:
        """Those of a photograph or its mirror image, (D, h, w) float16.

        Raises:
            InputError: they differ from their checksum.
        """
        values = np.array(self.values[index, int(mirrored)])
        if _checksum(values) != self.checks[index, int(mirrored)]:
            raise self._broken(_FEATURES, f"its features of photograph {index} are damaged")
        return torch.from_numpy(values)

    def _open(self, name: str, kind: type, dimensions: int) -> Any:
        try:
            array = np.lib.format.open_memmap(self.directory / name, self._mode)
        except (OSError, ValueError, SyntaxError, EOFError) as error:
            raise self._broken(name, f"cannot be read ({reason(error)})") from None
        if array.dtype != kind or array.ndim != dimensions:
            raise self._broken(name, "does not hold features")
        return array

    def _broken(self, name: str, fault: str) -> InputError:
        return InputError(f"{self.directory / name}: {fault}; delete this folder, and the features are computed anew.")

    def __reduce__(self) -> tuple[type[Features], tuple[Path]]:
        return Features, (self.directory,)  # each process maps the files for itself


def frozen_features(run: Run, model: nn.Module, size: int) -> Features:
    """The features of a run's training split, computed where they are not there yet.

    Args:
        run: Gives the photographs and the folder.
        model: A network with a `backbone` of which at least one stage is frozen, on the run's device.
        size: Side of the square to which photographs are squeezed, in pixels.

    Raises:
        InputError: the disk has no room for them, another process computes them, or a photograph is broken.
    """
    backbone: Backbone = model.backbone  # type: ignore[assignment]  # nn.Module types attributes as tensors
    about = _about(run, backbone, size)
    key = hashlib.sha256(disk.json_text(about).encode()).hexdigest()[:16]
    directory = (run.cfg.features_dir or (run.cfg.shared or run.directory) / "features") / key
    lock = None
    if distributed.is_main() and not _is_complete(directory):
        lock = locks.lock_folder(directory)
        _create(run, backbone, size, directory, about)
    distributed.barrier()
    _fill(run, backbone, size, directory)
    distributed.barrier()
    if lock is not None:
        lock.release()
    return Features(directory)


def _about(run: Run, backbone: Backbone, size: int) -> dict[str, Any]:
    """All that the features follow from."""
    digest = hashlib.sha256()
    for tensor in backbone.frozen_tensors():
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return {
        "photographs": [photo.id for photo in run.train],
        "bytes": [photo.path.stat().st_size for photo in run.train],
        "size": size,
        "backbone": run.cfg.model.backbone,
        "stages": backbone.frozen_stages,
        "output_stride": backbone.output_stride,
        "weights": digest.hexdigest(),
        "amp": run.cfg.amp,
        **({"published": True} if backbone.published else {}),
    }


def _is_complete(directory: Path) -> bool:
    files = (_FEATURES, _CHECKS, _ABOUT)
    return all((directory / name).is_file() for name in files) and bool(Features(directory).checks.all())


def _create(run: Run, backbone: Backbone, size: int, directory: Path, about: dict[str, Any]) -> None:
    """Make the files, empty, where they are not there or of another make."""
    if all((directory / name).is_file() for name in (_FEATURES, _CHECKS, _ABOUT)):
        return
    images = torch.zeros(1, 3, size, size, device=run.device)
    shape = (len(run.train), 2, *_frozen(run, backbone, images).shape[1:])
    needed = int(np.prod(shape)) * 2
    free = shutil.disk_usage(directory).free
    if needed > free:
        raise InputError(
            f"{directory}: the features take {needed / 2**30:.1f} GiB and the disk has {free / 2**30:.1f} GiB left; "
            "free some, or name another disk's folder as features_dir, or set model.cache_features=false."
        )
    for name, array_shape, kind in ((_FEATURES, shape, np.float16), (_CHECKS, shape[:2], np.uint32)):
        np.lib.format.open_memmap(directory / name, "w+", kind, array_shape).flush()
    disk.write_json(directory / _ABOUT, about)  # the last of the three: it says that the others are there


def _fill(run: Run, backbone: Backbone, size: int, directory: Path) -> None:
    """Compute what is missing. The checksums tell what has been written whole, even of a process that was killed."""
    done = Features(directory).checks.all(axis=1)
    todo = [index for index in distributed.share(range(len(run.train))) if not done[index]]
    if not todo:
        return
    file = Features(directory, writable=True)
    still = joint_transform(size=size, resize="warp", scale=(1, 1), mirror=False, colour=0)
    samples = TrainingSet(run.train, None, still, run.cfg.seed)
    loader = make_loader(samples, [[(0, index)] for index in todo], run.cfg.workers, pin=run.device.type == "cuda")
    before = backbone.training
    backbone.eval()
    for index, batch in zip(todo, tqdm(loader, "features", disable=not distributed.is_main()), strict=True):
        images = batch["images"].to(run.device)
        # One photograph at a time: the bits do not depend on which others are missing.
        values = _frozen(run, backbone, torch.cat([images, images.flip(-1)])).cpu().contiguous().numpy()
        file.values[index] = values
        file.checks[index] = [_checksum(side) for side in values]
    backbone.train(before)


def _checksum(values: np.ndarray) -> int:
    """CRC-32, never 0."""
    return zlib.crc32(values.tobytes()) or 1


def _frozen(run: Run, backbone: Backbone, images: Tensor) -> Tensor:
    with torch.autocast(run.device.type, torch.bfloat16, enabled=run.cfg.amp):
        return backbone.frozen_features(inference.normalise(images)).half()
