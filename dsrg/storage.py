"""What the stages keep on disk beside pictures: CAMs, checkpoints."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dsrg import disk
from dsrg.errors import InputError


def write_cams(path: str | Path, classes: Iterable[int], cams: np.ndarray) -> None:
    """Write the CAMs of an image's own classes, atomically.

    Args:
        path: The .npz file.
        classes: The foreground class indices (1..K) that the maps belong to.
        cams: (len(classes), h, w) maps in [0, 1]; stored as float16.
    """
    buffer = io.BytesIO()
    np.savez_compressed(buffer, classes=np.asarray(list(classes), np.int64), cams=cams.astype(np.float16))
    disk.write_bytes(path, buffer.getvalue())


def read_cams(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Read CAMs: the class indices (n,) int64 and the maps (n, h, w) float32."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return stored["classes"], stored["cams"].astype(np.float32)
    except FileNotFoundError:
        raise InputError(f"{path}: the CAMs do not exist; run tools/make_seeds.py.") from None
    except Exception as error:  # zipfile, zlib, ValueError, KeyError: every way in which a .npz can be broken
        raise InputError(f"{path}: not a readable CAM file ({error}); delete it to have it made anew.") from None


def save_checkpoint(path: str | Path, state: dict[str, Any]) -> None:
    """Save tensors and plain values with torch.save, atomically."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    disk.write_bytes(path, buffer.getvalue())


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Load a checkpoint onto the CPU, admitting tensors and plain types only.

    Raises:
        InputError: the file is missing or is no such checkpoint.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: the file does not exist; check the path or run the stage that makes it.")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and torch each raise their own kinds on a broken file
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: not a readable PyTorch file of tensors ({reason}).") from None
    if not isinstance(state, dict):
        raise InputError(f"{path}: holds a {type(state).__name__} in place of named tensors; check the path.")
    return state
