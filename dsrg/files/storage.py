"""What the stages keep on disk beside pictures: CAMs, checkpoints."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from dsrg.errors import InputError, reason
from dsrg.files import disk

if TYPE_CHECKING:
    from torch import Tensor  # at run time where there are checkpoints: CAMs are numpy's

LARGEST_CAMS = 2**30
"""Bytes that the maps of one photograph may have: 254 classes of a photograph of 5,600 x 5,600 pixels."""


def write_cams(path: str | Path, classes: Iterable[int], cams: np.ndarray) -> None:
    """Write the CAMs of an image's own classes, atomically.

    Args:
        path: The .npz file.
        classes: The foreground class indices (1..K) that the maps belong to.
        cams: (len(classes), h, w) maps in [0, 1]; stored as float16.
    """
    disk.write_bytes(path, npz(classes=np.asarray(list(classes), np.int64), cams=cams.astype(np.float16)))


def npz(**arrays: Any) -> bytes:
    """The .npz file of arrays, packed."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def read_cams(
    path: str | Path, own: np.ndarray | None = None, size: Sequence[int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Read CAMs and check them.

    Args:
        path: The .npz file.
        own: (n,) foreground class indices of the photograph's labels, which the maps must be of.
        size: Height and width of the photograph; the maps must have a quarter of it, rounded up, or all of it.

    Returns:
        The class indices (n,) int64 and the maps (n, h, w) float32 in [0, 1].

    Raises:
        InputError: the file is missing or broken, or holds other classes, shapes or values.
    """
    if not Path(path).exists():
        raise InputError(f"{path}: the CAMs do not exist; run dsrg make-seeds.")
    mend = "delete it to have it made anew"
    found = read_arrays(path, "CAM file", ("classes", "cams"), limit=LARGEST_CAMS, mend=mend)
    classes, maps = found["classes"], found["cams"]
    fault = _cam_fault(classes, maps, own, size)
    if fault:
        raise InputError(f"{path}: not a readable CAM file ({fault}); {mend}.")
    return classes.astype(np.int64), maps.astype(np.float32)


def read_arrays(path: str | Path, what: str, names: Sequence[str], *, limit: int, mend: str) -> dict[str, np.ndarray]:
    """Read arrays of an .npz file; nothing in it is run.

    Args:
        path: The file.
        what: What it is, for the error.
        names: The arrays to read; others in it are left alone.
        limit: Bytes that it may have, packed and unpacked.
        mend: What to do about one that is broken, for the error.

    Raises:
        InputError: the file is missing, too large or broken, or lacks one of the arrays.
    """
    with disk.open_regular(path, what, limit=limit) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                if sum(info.file_size for info in archive.infolist()) > limit:
                    raise ValueError("too large")
            file.seek(0)
            with np.load(file, allow_pickle=False) as stored:
                return {name: stored[name] for name in names}
        except Exception as error:  # zipfile, zlib, ValueError, KeyError: every way in which a .npz can be broken
            raise InputError(f"{path}: not a readable {what} ({reason(error)}); {mend}.") from None


def _cam_fault(classes: np.ndarray, maps: np.ndarray, own: np.ndarray | None, size: Sequence[int] | None) -> str | None:
    """What is wrong with the arrays of a CAM file, see `read_cams`; None for nothing."""
    if classes.ndim != 1 or not (classes.dtype.kind in "iu" or not classes.size):
        return "its classes are no list of class indices"
    if classes.size and (classes.min() < 1 or len(np.unique(classes)) < len(classes)):
        return f"its classes are {classes.tolist()[:5]}, which must be 1 or more, each once"
    if maps.dtype.kind != "f" or maps.ndim != 3 or len(maps) != len(classes) or 0 in maps.shape[1:]:
        return f"its maps are {maps.dtype} of the shape {maps.shape}, for {len(classes)} classes"
    if own is not None and sorted(classes.tolist()) != sorted(own.tolist()):
        return f"it is of the classes {classes.tolist()[:5]}, and the photograph's labels are {own.tolist()[:5]}"
    if size is not None and maps.shape[1:] not in ((-(-size[0] // 4), -(-size[1] // 4)), tuple(size)):
        height, width = maps.shape[1:]
        return f"its maps are {width} x {height}, no quarter of the photograph's {size[1]} x {size[0]} pixels"
    if maps.size and not (maps.min() >= 0 and maps.max() <= 1):  # nan is neither
        return "its values are not all in 0..1"
    return None


def save_checkpoint(path: str | Path, state: dict[str, Any]) -> None:
    """Save tensors and plain values with torch.save, atomically."""
    import torch

    buffer = io.BytesIO()
    torch.save(state, buffer)
    disk.write_bytes(path, buffer.getvalue())


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Load a checkpoint onto the CPU, admitting tensors and plain types only; its checksums are compared.

    A file whose name ends in .safetensors is read as one: of weights that others publish.

    Raises:
        InputError: the file is missing, damaged, or no such checkpoint.
    """
    import torch
    from safetensors.torch import load_file

    if Path(path).suffix == ".safetensors":
        disk.open_regular(path, "weights").close()
        try:
            return dict(load_file(path))
        except Exception as error:  # SafetensorError, and OSError of a file that is cut off
            raise InputError(f"{path}: not a readable safetensors file ({reason(error)}); get it anew.") from None
    with _open_checkpoint(path) as file:
        _compare_checksums(path, file)
        file.seek(0)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch's advice on pickles of other programs
                state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # pickle, zip and torch each raise their own kinds on a broken file
            raise InputError(
                f"{path}: not a readable PyTorch file of tensors ({reason(error)}); get or make it anew."
            ) from None
    if not isinstance(state, dict):
        raise InputError(f"{path}: holds a {type(state).__name__} in place of named tensors; check the path.")
    return state


def load_network(path: str | Path) -> dict[str, Tensor]:
    """The tensors of the network in a training's checkpoint, by name.

    Raises:
        InputError: as `load_checkpoint`, or there are none.
    """
    from torch import Tensor

    state = load_checkpoint(path).get("model")
    if isinstance(state, dict) and state and all(isinstance(key, str) for key in state):
        tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)}
        if len(tensors) == len(state):
            return tensors
    raise InputError(f"{path}: holds no network ('model', named tensors); put back a copy, or train it anew.")


def check_checksums(path: str | Path) -> None:
    """Compare the checksums in a checkpoint with its bytes, without loading it where it has any.

    Raises:
        InputError: the file is missing or damaged.
    """
    with _open_checkpoint(path) as file:
        if _compare_checksums(path, file):
            return
    load_checkpoint(path)


def _open_checkpoint(path: str | Path) -> BinaryIO:
    if not Path(path).exists():
        raise InputError(f"{path}: the file does not exist; check the path or run the stage that makes it.")
    return disk.open_regular(path, "checkpoint")


def _compare_checksums(path: str | Path, file: BinaryIO) -> bool:
    """Whether there are any; torch.load compares none. Files from before PyTorch 1.6 are no zip and have none."""
    if file.read(4) != b"PK\3\4":
        return False
    try:
        with zipfile.ZipFile(file) as archive:
            # torch packs nothing, so what is read is no more than the file.
            packed = any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist())
            wrong = "what is packed in it" if packed else archive.testzip()
    except Exception:  # zipfile raises six kinds, by what is broken
        wrong = "its table of contents"
    if wrong:
        raise InputError(
            f"{path}: not a readable PyTorch file: it is damaged (the checksum of {wrong} is wrong); put back a copy, "
            "or have it made anew."
        )
    return True
