"""Networks of class-agnostic saliency, from ONNX files: U2-Net and IS-Net (`tables.SALIENCY`)."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dsrg import tables
from dsrg.errors import InputError, reason
from dsrg.files import disk

LARGEST = 1024 * disk.MIB
"""Bytes that the file may have; U2-Net's and IS-Net's have 176 million."""


class SaliencyNetwork:
    """A network from photographs to saliency, on one thread of the CPU. Several threads may call it at once.

    Args:
        path: An ONNX file with one input, (1, 3, S, S) float32 with an S of `tables.SALIENCY`, whose first output is
            (1, 1, h, w).

    Raises:
        InputError: onnxruntime is not installed; the file is missing, no ONNX, or of another kind of network.
    """

    def __init__(self, path: Path) -> None:
        if importlib.util.find_spec("onnxruntime") is None:
            raise InputError("saliency.weights needs onnxruntime; run: python -m pip install 'dsrg[saliency]'.")
        import onnxruntime

        self.path = path
        content = disk.read_bytes(path, "saliency network", limit=LARGEST)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what it says of a broken file is in its exception
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors share no other base
            raise InputError(f"{path}: not a readable ONNX file ({reason(error)}); replace it.") from None
        self._sees = self._kind()
        self(np.zeros((2, 2, 3), np.uint8))  # a graph that fails or gives something else is refused before any work

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """The saliency of a photograph.

        Args:
            picture: (H, W, 3) uint8, RGB.

        Returns:
            (H, W) uint8: the network's first output, brought to 0..255 by its minimum and maximum; all 0 where it is
            the same everywhere.

        Raises:
            InputError: the network fails, or its output is no map or not finite.
        """
        height, width = picture.shape[:2]
        try:
            found = self._session.run(self._outputs, {self._input: self._prepare(picture)})[0]
        except Exception as error:  # its errors share no other base
            raise self._refusal(f"fails on a photograph ({reason(error)})") from None
        if not isinstance(found, np.ndarray) or found.ndim != 4 or found.shape[:2] != (1, 1) or not found.size:
            raise self._refusal(
                f"gives {getattr(found, 'shape', type(found).__name__)} in place of one map, (1, 1, h, w)"
            )
        values = found[0, 0].astype(np.float32)
        if not np.isfinite(values).all():
            raise self._refusal("gives values that are no numbers")
        low, high = values.min(), values.max()
        values = (values - low) / (high - low) if high > low else np.zeros_like(values)
        large = Image.fromarray(values).resize((width, height), Image.Resampling.BILINEAR)
        grey: np.ndarray = np.rint(np.asarray(large).clip(0, 1) * 255).astype(np.uint8)
        return grey

    def _prepare(self, picture: np.ndarray) -> np.ndarray:
        """The network's input (1, 3, S, S) float32 from pixels (H, W, 3) uint8."""
        sees = self._sees
        small = Image.fromarray(picture).resize((sees.size, sees.size), Image.Resampling.BILINEAR)  # antialiased
        pixels: np.ndarray = np.asarray(small, np.float32)
        pixels = pixels / (max(pixels.max(), 1e-6) if sees.by_maximum else 255)
        pixels = (pixels - np.array(sees.mean, np.float32)) / np.array(sees.deviation, np.float32)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])

    def _kind(self) -> tables.SaliencyInput:
        """What the network sees, told by the size of its input."""
        inputs: list[Any] = self._session.get_inputs()
        self._outputs = [output.name for output in self._session.get_outputs()[:1]]
        kinds = {line.sees.size: line.sees for line in tables.SALIENCY.values()}
        shape = list(inputs[0].shape) if len(inputs) == 1 and inputs[0].type == "tensor(float)" else []
        size = shape[-1] if len(shape) == 4 and shape[1] == 3 and shape[2] == shape[3] else None
        if size not in kinds or not isinstance(size, int):
            said = ", ".join(f"{one.type} {one.shape}" for one in inputs) or "nothing"
            sizes = " or ".join(str(size) for size in kinds)
            raise self._refusal(f"takes {said} in place of one photograph, (1, 3, S, S) floats with S = {sizes}")
        self._input = inputs[0].name
        return kinds[size]

    def _refusal(self, why: str) -> InputError:
        names = ", ".join(tables.SALIENCY)
        return InputError(f"{self.path}: {why}; give saliency.weights a file of U2-Net or IS-Net, or a name: {names}.")
