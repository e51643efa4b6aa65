"""Networks on ONNX Runtime, which computes on a CPU about twice as fast as PyTorch does.

A network's graph, from normalised photographs to logits, is built once and kept in graphs/<key>.onnx; the key is a
digest of all that it follows from. Whatever lies there is compared with PyTorch's network before it is used, so a graph
that is damaged or another's is built anew.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dsrg import grid
from dsrg.errors import InputError, reason
from dsrg.files import disk
from dsrg.run import inference

FOLDER = "graphs"
"""Of the graphs, in a run's folder or beside an exported file."""
TOLERANCE = 1e-4
"""Largest difference from PyTorch's probabilities that a graph may have."""
KEPT = 4
"""Graphs in a folder; the oldest go."""
_OPSET = 18
_VERSION = 1
_LARGE = 2**24
"""Numbers of an input after which memory goes back to the system."""
_LARGEST = 4096 * disk.MIB
_EXAMPLE = (2, 97, 129)
_COMPARED = ((1, 65, 97), (3, 72, 33))
"""Batch, height and width, brought to the network's grid, on which graph and network are compared."""


class OnnxNetwork:
    """A network's graph on the CPU, in place of the network.

    Args:
        content: The ONNX file.
        output_stride: Pixels of the image for each cell of the output.
    """

    def __init__(self, content: bytes, output_stride: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
        options.enable_mem_pattern = False  # photographs have many sizes
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # the CRF's processes are beside it
        options.log_severity_level = 4  # what it says of a broken file is in its exception
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self._tidy = onnxruntime.RunOptions()
        self._tidy.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        self.output_stride = output_stride

    def __call__(self, images: Tensor) -> Tensor:
        """The network's output for normalised photographs (B, 3, H, W)."""
        # Without its pool of memory it takes 1.6 x as long; but a pool keeps what the largest of all has taken.
        options = self._tidy if images.numel() > _LARGE else None
        return torch.from_numpy(self._session.run(None, {"images": images.contiguous().numpy()}, options)[0])


def wanted(engine: str, device: torch.device, *, amp: bool) -> bool:
    """Whether an engine of `tables.ENGINES` is ONNX Runtime here.

    Args:
        engine: 'onnx', 'torch', or 'auto': ONNX Runtime on a CPU, where it is installed.
        device: Where PyTorch would compute.
        amp: bfloat16 autocast, which is PyTorch's alone.

    Raises:
        InputError: 'onnx' is not possible.
    """
    installed = importlib.util.find_spec("onnxruntime") is not None
    if engine == "auto":
        return device.type == "cpu" and not amp and installed
    if engine != "onnx":
        return False
    if not installed:
        raise InputError("engine = onnx needs onnxruntime; run: python -m pip install 'dsrg[export]'.")
    if device.type != "cpu":
        raise InputError(f"engine = onnx computes on the CPU alone, not on {device.type}; choose cpu, or torch.")
    if amp:
        raise InputError("engine = onnx computes in 32 bits, without amp; set amp=false, or take torch.")
    return True


def on_onnx(model: nn.Module, directory: Path, *, required: bool = True) -> OnnxNetwork | None:
    """A network's graph on ONNX Runtime.

    Args:
        model: A network of photographs, in eval mode on the CPU.
        directory: Where graphs are kept; where it cannot be written to, the graph is built for this call alone.
        required: Raise where there is no such graph, in place of None and a sentence.

    Raises:
        InputError: the network cannot be written as ONNX, or its graph computes something else.
    """
    path = directory / f"{_key(model)}.onnx"
    if path.is_file():
        try:
            return _checked(model, disk.read_bytes(path, "graph", limit=_LARGEST))
        except InputError:
            path.unlink(missing_ok=True)
    try:
        content = _build(model)
        found = _checked(model, content)
    except InputError as error:
        if required:
            raise
        print(f"{error} PyTorch computes.")
        return None
    _keep(path, content)
    return found


def _key(model: nn.Module) -> str:
    """A digest of all that the graph follows from."""
    about = f"{_VERSION} {_OPSET} {torch.__version__} {inference.output_stride(model)} {model}"
    digest = hashlib.sha256(about.encode())
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _build(model: nn.Module) -> bytes:
    """The network as an ONNX file of any batch, height and width.

    By TorchScript, in half a second. The exporter of `dsrg export`, which reasons about every size that there may be,
    took more than a minute for EfficientNet-Lite0.
    """
    file = io.BytesIO()
    axes = {0: "batch", 2: "height", 3: "width"}
    images = torch.zeros(_EXAMPLE[0], 3, *_EXAMPLE[1:])
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of the exporter, about itself
            dense = model(images).ndim == 4
            torch.onnx.export(
                model,
                (images,),
                file,  # type: ignore[arg-type]  # its hints know paths alone
                input_names=["images"],
                output_names=["logits"],
                dynamic_axes={"images": axes, "logits": axes if dense else {0: "batch"}},
                opset_version=_OPSET,
                dynamo=False,
            )
    except Exception as error:  # of torch's tracer and exporter, which share no other base
        raise InputError(
            f"engine = onnx: this network cannot be written as ONNX ({type(error).__name__}); take torch."
        ) from None
    return file.getvalue()


def _checked(model: nn.Module, content: bytes) -> OnnxNetwork:
    """The graph, once it has computed what the network does on small photographs of noise."""
    stride = inference.output_stride(model)
    worst = 0.0
    try:
        found = OnnxNetwork(content, stride)
        for batch, height, width in _COMPARED:
            shape = (batch, 3, grid.nearest(height, stride), grid.nearest(width, stride))
            images = torch.from_numpy(np.random.default_rng(0).normal(0, 1, shape).astype(np.float32))
            with torch.no_grad():
                logits, expected = found(images), model(images)
            if logits.shape != expected.shape:
                raise ValueError(f"it gives {tuple(logits.shape)} for {tuple(expected.shape)}")
            pairs = ((one.softmax(dim=1), one.sigmoid()) for one in (logits, expected))
            worst = max([worst, *(float((ours - theirs).abs().max()) for ours, theirs in zip(*pairs, strict=True))])
    except Exception as error:  # those of onnxruntime share no other base
        raise InputError(f"engine = onnx: the graph does not run ({reason(error)}); take torch.") from None
    if not worst <= TOLERANCE:
        raise InputError(f"engine = onnx: the graph differs from PyTorch's network by {worst:.1e}; take torch.")
    return found


def _keep(path: Path, content: bytes) -> None:
    try:
        disk.write_bytes(path, content)
        graphs = sorted(path.parent.glob("*.onnx"), key=lambda graph: graph.stat().st_mtime)
        for graph in graphs[:-KEPT]:
            graph.unlink(missing_ok=True)
    except (InputError, OSError):
        print(f"{path.parent}: cannot be written to, so the next call builds the network's graph again.")
