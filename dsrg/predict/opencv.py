"""A trained network as an ONNX file that OpenCV's dnn loads, in each of its engines.

The file of `dsrg.predict.export` works out the network's size from the photograph's. OpenCV's new engine, of version 5,
takes it, but resizes otherwise than ONNX Runtime; the classic engine, which was the only one before, refuses shapes it
does not know. So this one has one size, resizes no photograph, and takes what `cv2.dnn.blobFromImage` gives.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Mapping

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from dsrg import grid
from dsrg.errors import InputError
from dsrg.models.deeplab import DeepLab
from dsrg.predict import metadata
from dsrg.run import inference

FILE = "model-opencv.onnx"
OPSET = 18
"""As of `dsrg.predict.export`; of a network of one size OpenCV 4.12 and 5.0 know all operators."""
AGREE = 0.999
"""Least share of the pixels that must have PyTorch's label, in each engine."""
ENGINES = ("ENGINE_CLASSIC", "ENGINE_NEW", "ENGINE_AUTO")
"""Of OpenCV's dnn from version 5 on; before, there was the classic one alone."""
INPUT_DOC = "Input `images`: RGB photographs (1, 3, height, width), float32, 0..255,"
OUTPUT = "probs"
OUTPUT_DOC = "class probabilities (1, classes, height, width), float32"


class BlobToProbs(nn.Module):
    """From RGB pixels (1, 3, H, W) float32 of 0..255, on the network's grid, to class probabilities (1, C, H, W)."""

    def __init__(self, model: DeepLab) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """The softmax of the network's output at the input's size."""
        logits = self.model(inference.normalise(images))
        return inference.enlarge(logits, images.shape[-2:]).softmax(dim=1)


def on_grid(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """The height and width on the network's grid that come nearest to these."""
    return grid.nearest(size[0], stride), grid.nearest(size[1], stride)


def require_packages(*names: str) -> None:
    """Raise InputError where one of these packages, which write and check ONNX, is not installed."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"ONNX export needs {', '.join(missing)}; run: python -m pip install 'dsrg[export]'.")


def onnx_bytes(model: DeepLab, picture: np.ndarray, said: Mapping[str, str]) -> bytes:
    """The ONNX file of a network, checked against PyTorch in each engine of this OpenCV.

    Args:
        model: The network, on the CPU in 32 bits.
        picture: A photograph (1, H, W, 3) uint8 of the size that the file is for, by which it is checked.
        said: The file's metadata.

    Raises:
        InputError: onnx is missing, the network cannot be written, or an engine refuses it or gives other labels.
    """
    require_packages("onnx", "onnxscript")
    import onnx

    network = BlobToProbs(model).eval()
    blob = torch.from_numpy(picture).permute(0, 3, 1, 2).float().contiguous()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        try:
            program = torch.onnx.export(
                network,
                (blob,),
                input_names=["images"],
                output_names=[OUTPUT],
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
                external_data=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            name = type(error.__cause__ or error).__name__
            raise InputError(f"--opencv: the network cannot be written for OpenCV ({name}); leave it out.") from None
    assert program is not None
    proto = program.model_proto
    metadata.describe(proto, "Photographs of one size to class probabilities, for OpenCV's dnn, by dsrg.", said)
    onnx.checker.check_model(proto)
    content: bytes = proto.SerializeToString()
    with torch.no_grad():
        wanted = network(blob).numpy()
    shares = agreement(content, blob.numpy(), wanted)
    worst = min(shares, key=lambda name: shares[name])
    if shares[worst] < AGREE:
        raise InputError(
            f"--opencv: OpenCV {cv2.__version__} gives {shares[worst]:.1%} of the pixels PyTorch's label ({worst}), "
            "and the file was not written; update opencv-python-headless, or leave --opencv out."
        )
    height, width = picture.shape[1:3]
    engines = ", ".join(f"{name} {share:.2%}" for name, share in shares.items())
    print(f"OpenCV {cv2.__version__}: {height} x {width} pixels; labels as PyTorch's: {engines}")
    return content


def agreement(content: bytes, blob: np.ndarray, wanted: np.ndarray) -> dict[str, float]:
    """The share of the pixels to which each engine gives the same label.

    Args:
        content: The ONNX file.
        blob: Its input, (1, 3, H, W) float32.
        wanted: The probabilities (1, C, H, W) of what it is compared with.

    Raises:
        InputError: an engine refuses the file.
    """
    engines = {name: {"engine": getattr(cv2.dnn, name)} for name in ENGINES if hasattr(cv2.dnn, name)}
    shares = {}
    for name, chosen in (engines or {"dnn": {}}).items():
        try:
            net = cv2.dnn.readNetFromONNX(np.frombuffer(content, np.uint8), **chosen)
            net.setInput(blob)
            probs = net.forward()
        except cv2.error as error:
            said = str(error).splitlines()[0][:200]
            raise InputError(
                f"--opencv: OpenCV {cv2.__version__} does not take the network ({name}: {said}); choose another "
                "backbone, or leave --opencv out."
            ) from None
        shares[name] = float((probs.argmax(axis=1) == wanted.argmax(axis=1)).mean())
    return shares
