"""A trained network for other programs: ONNX, also for OpenCV's dnn, and safetensors, with a model card."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional

from dsrg import grid
from dsrg.errors import InputError
from dsrg.files import disk
from dsrg.gate import gate
from dsrg.models.build import build_deeplab
from dsrg.models.deeplab import DeepLab
from dsrg.predict import cards, hub, loading, metadata, opencv
from dsrg.predict.segmenter import Segmenter
from dsrg.run import inference
from dsrg.run.gating import Gate
from dsrg.run.networks import new_gate

ONNX_FILE = "model.onnx"
CARD = "README.md"
OPENCV = "opencv"
"""Name here of the format for OpenCV's dnn, which needs a size and so is none of `tables.EXPORTS`."""
TOLERANCE = 1e-4
"""Largest difference from PyTorch's probabilities that an ONNX file may have."""
SMALLEST = grid.SMALLEST - 1
"""Least height and width, in pixels, of the photographs that the ONNX network takes."""
OPSET = 18
"""The first in which ONNX's Resize knows antialiasing."""
CHECKED = ((1, 65, 65), (2, 97, 129), (1, 100, 76), (1, 375, 500), (3, 32, 63))
"""Batch, height and width of the comparison with PyTorch; some fit the grid of every stride, others none."""
INPUT_DOC = "RGB photographs (batch, height, width, 3), uint8, as PIL and imageio read them; OpenCV's are BGR."
OUTPUT_DOC = {
    "mask": "class indices (batch, height, width), uint8; the names are in the metadata key 'classes'",
    "probs": "class probabilities (batch, classes, height, width), float32",
}
GATED_DOC = OUTPUT_DOC | {
    "probs": "class probabilities (batch, classes, height, width), float32, gated, so that they add up to 1 or less",
    "class_probs": "the classifier's probabilities (batch, classes - 1), float32, of which background has none",
}
"""OUTPUT_DOC of a network with a gate."""


class PixelsToMask(nn.Module):
    """From pixels as files hold them to masks: normalising, resizing and the softmax are part of the network.

    It is `inference.predict_probs` at scale 1, without mirror image and CRF, for photographs of at least SMALLEST
    pixels a side; a gate sees them as it does everywhere, mirror image included.
    """

    def __init__(self, model: DeepLab, gate: Gate | None = None) -> None:
        super().__init__()
        self.model = model
        self.gate = gate
        self.stride = inference.output_stride(model)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Masks (B, H, W) uint8 and probabilities (B, C, H, W) of RGB photographs (B, H, W, 3) uint8; with a gate also
        the classifier's probabilities (B, K)."""
        planes = images.permute(0, 3, 1, 2).float()
        height, width = planes.shape[-2:]
        target = (grid.nearest_of_whole(height, self.stride), grid.nearest_of_whole(width, self.stride))
        inputs = functional.interpolate(planes, target, mode="bilinear", antialias=True)
        logits = self.model(inference.normalise(inputs).contiguous())
        probs = inference.enlarge(logits, (height, width)).softmax(dim=1)
        if self.gate is None:
            return probs.argmax(dim=1).to(torch.uint8), probs
        class_probs = self.gate.class_probs(planes)
        probs = gate(probs, class_probs)
        return probs.argmax(dim=1).to(torch.uint8), probs, class_probs


def export(
    segmenter: Segmenter,
    out: Path,
    formats: Sequence[str],
    *,
    overwrite: bool = False,
    size: tuple[int, int] | None = None,
    licence: str = cards.LICENCE,
    repo: str | None = None,
) -> list[Path]:
    """Write a network in some formats.

    Args:
        segmenter: The network.
        out: A folder, which gets model.onnx, model.safetensors and README.md; or a file, .onnx or .safetensors, for
            this format alone and without the card.
        formats: Some of `tables.EXPORTS`.
        overwrite: Write over files that are there.
        size: Height and width of the photographs, in pixels, for which model-opencv.onnx is written too, rounded to the
            network's grid; None for none.
        licence: The weights' licence, for the card, by the Hub's name.
        repo: owner/name on the Hub where the files will be, for the card.

    Returns:
        The files.

    Raises:
        InputError: a file is there already, packages are missing, or an ONNX network differs from PyTorch's.
    """
    files = _files(out, formats if size is None else [*formats, OPENCV])
    for path in files.values():
        if path.exists() and not overwrite:
            raise InputError(f"{path}: exists already; choose another --out, or add --overwrite.")
    if size is not None and segmenter.gate is not None:
        raise InputError(
            "--opencv: this network has a gate, whose classifier sees the photograph at another size, and OpenCV "
            "cannot resize so; export it with --formats onnx, or from a run with test.gate=false."
        )
    contents: dict[str, bytes] = {}
    if "onnx" in files:
        contents["onnx"] = onnx_bytes(segmenter)
    if "safetensors" in files:
        said = metadata.dump(segmenter) | {"format": "pt"}
        contents["safetensors"] = save(loading.state_of(segmenter), said)
    if size is not None:
        contents[OPENCV] = _opencv_bytes(segmenter, size)
    for name, content in contents.items():
        disk.write_bytes(files[name], content)
    if "card" in files:
        disk.write_text(files["card"], card(segmenter, list(contents), licence=licence, size=size, repo=repo))
    return list(files.values())


def _files(out: Path, formats: Sequence[str]) -> dict[str, Path]:
    if out.suffix in (".onnx", ".safetensors"):
        if list(formats) != [out.suffix[1:]]:
            raise InputError(f"{out}: one file holds one format; give --formats {out.suffix[1:]} or a folder as --out.")
        return {out.suffix[1:]: out}
    if out.is_file():
        raise InputError(f"{out}: is a file; give a folder, or a name that ends in .onnx or .safetensors.")
    names = {"onnx": ONNX_FILE, "safetensors": loading.WEIGHTS_FILE, OPENCV: opencv.FILE, "card": CARD}
    return {name: out / names[name] for name in (*formats, "card")}


def onnx_bytes(segmenter: Segmenter) -> bytes:
    """The network as an ONNX file of any batch, height and width, checked against PyTorch.

    Raises:
        InputError: a package is missing, the exporter cannot write the network, or a probability differs by more than
            TOLERANCE.
    """
    opencv.require_packages("onnx", "onnxruntime", "onnxscript")
    import onnx

    # On the CPU in 32 bits: the export, and what it is compared with.
    network, outputs = _on_cpu(segmenter), _outputs(segmenter)
    sizes = {name: torch.export.Dim(name, min=SMALLEST, max=16384) for name in ("height", "width")}
    batch = torch.export.Dim("batch", min=1, max=1024)
    example = torch.from_numpy(_photographs(2, 97, 129))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        try:
            program = torch.onnx.export(
                network,
                (example,),
                input_names=["images"],
                output_names=list(outputs),
                dynamic_shapes=({0: batch, 1: sizes["height"], 2: sizes["width"]},),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
                external_data=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise InputError(
                f"the network on {segmenter.architecture['backbone']} cannot be written as ONNX "
                f"({type(error.__cause__ or error).__name__}); give --formats safetensors, or choose another backbone."
            ) from None
    assert program is not None
    proto = program.model_proto
    metadata.describe(proto, "Photographs to masks, by dsrg.", metadata.dump(segmenter))
    proto.graph.input[0].doc_string = INPUT_DOC
    for output in proto.graph.output:
        output.doc_string = outputs[output.name]
    onnx.checker.check_model(proto)
    content: bytes = proto.SerializeToString()
    _check(network, content)
    return content


def _opencv_bytes(segmenter: Segmenter, size: tuple[int, int]) -> bytes:
    """The network for OpenCV's dnn, see `dsrg.predict.opencv`."""
    model = _on_cpu(segmenter).model
    height, width = opencv.on_grid(size, inference.output_stride(model))
    return opencv.onnx_bytes(model, _photographs(1, height, width), metadata.dump(segmenter))


def largest_difference(network: PixelsToMask, content: bytes) -> float:
    """The largest difference between the probabilities of PyTorch and of onnxruntime, over CHECKED; the classifier's
    are compared too."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    worst = 0.0
    for batch, height, width in CHECKED:
        images = _photographs(batch, height, width)
        with torch.no_grad():
            wanted = network(torch.from_numpy(images))[1:]
        names = list(_outputs(network))[1:]
        for probs, expected in zip(session.run(names, {"images": images}), wanted, strict=True):
            if probs.shape != tuple(expected.shape):
                raise InputError(
                    f"the ONNX network gives {probs.shape} for {tuple(expected.shape)}; update onnx and onnxruntime."
                )
            worst = max(worst, float(np.abs(probs - expected.numpy()).max()))
    return worst


def _check(network: PixelsToMask, content: bytes) -> None:
    worst = largest_difference(network, content)
    sizes = ", ".join(f"{batch} x {height} x {width}" for batch, height, width in CHECKED)
    if not worst <= TOLERANCE:
        raise InputError(
            f"the ONNX network differs from PyTorch's by {worst:.1e}, above {TOLERANCE:.0e}, and was not written; "
            "update onnx, onnxscript and onnxruntime."
        )
    print(f"ONNX: largest difference from PyTorch {worst:.1e} (probabilities; {sizes} pixels)")


def _outputs(network: Segmenter | PixelsToMask) -> dict[str, str]:
    """Names of the ONNX network's outputs, and what each is."""
    return OUTPUT_DOC if network.gate is None else GATED_DOC


def _on_cpu(segmenter: Segmenter) -> PixelsToMask:
    """The networks in 32 bits; a backbone that both have is in memory, and so in the graph, once."""
    model = build_deeplab(**segmenter.architecture)
    model.load_state_dict(segmenter.model.state_dict())
    if segmenter.gate is None:
        return PixelsToMask(model).eval()
    own = new_gate(segmenter.gate.settings, segmenter.architecture["backbone"], len(segmenter.classes))
    own.load_state_dict(segmenter.gate.state_dict())
    if loading.shares_backbone(segmenter):
        _share(model.backbone, own.classifier.get_submodule("backbone"))
    return PixelsToMask(model, own).eval()


def _share(ours: nn.Module, theirs: nn.Module) -> None:
    """Put the tensors of `ours` in place of those of `theirs`, a backbone with the same names."""
    for name, module in theirs.named_modules():
        source = ours.get_submodule(name)
        for key in module._parameters:
            module._parameters[key] = source._parameters[key]
        for key in module._buffers:
            module._buffers[key] = source._buffers[key]


def _photographs(batch: int, height: int, width: int) -> np.ndarray:
    """Pictures (B, H, W, 3) uint8 with edges and noise, the same at each call."""
    generator = np.random.default_rng(height * width)
    rows, columns = np.mgrid[:height, :width]
    down, across = generator.uniform(5, 30, (2, 3))
    waves = np.sin(rows[..., None] / down) * np.cos(columns[..., None] / across)
    noise = generator.normal(0, 25, (batch, height, width, 3))
    return np.asarray((128 + 90 * np.sign(waves) * waves**2 + noise).clip(0, 255), np.uint8)


def card(
    segmenter: Segmenter,
    formats: Sequence[str],
    *,
    licence: str = cards.LICENCE,
    size: tuple[int, int] | None = None,
    repo: str | None = None,
) -> str:
    """The model card of an export in these formats, see `dsrg.predict.cards.card`; the rest as in `export`."""
    return cards.card(segmenter, formats, _usage(segmenter, formats, size, repo), licence)


def _usage(segmenter: Segmenter, formats: Sequence[str], size: tuple[int, int] | None, repo: str | None) -> list[str]:
    lines: list[str] = []
    outputs = _outputs(segmenter)
    if "safetensors" in formats:
        where = "FOLDER" if repo is None else f"{hub.PREFIX}{repo}"
        code = ["import dsrg", f'segmenter = dsrg.load("{where}")', 'segmenter.predict("photo.jpg").save("mask.png")']
        lines += ["`model.safetensors`, with the settings above:", "", *(f"    {line}" for line in code), ""]
    if "onnx" in formats:
        code = [
            "import numpy as np, onnxruntime",
            "from PIL import Image",
            f'session = onnxruntime.InferenceSession("FOLDER/{ONNX_FILE}")',
            'photo = np.asarray(Image.open("photo.jpg").convert("RGB"))',
            '(mask,) = session.run(["mask"], {"images": photo[None]})',
        ]
        lines += [
            f"`{ONNX_FILE}`, one scale, without mirror image and CRF. Input `images`: {INPUT_DOC} At least {SMALLEST} "
            f"pixels a side. Outputs: {'; '.join(f'`{name}`, {said}' for name, said in outputs.items())}.",
            "",
            *(f"    {line}" for line in code),
            "",
        ]
        if segmenter.settings.size is not None:
            lines += [f"Bring photographs to a long side of {segmenter.settings.size} pixels first.", ""]
    if OPENCV in formats and size is not None:
        height, width = opencv.on_grid(size, inference.output_stride(segmenter.model))
        code = [
            "import cv2",
            f'net = cv2.dnn.readNetFromONNX("FOLDER/{opencv.FILE}")',
            'photo = cv2.imread("photo.jpg")',
            f"net.setInput(cv2.dnn.blobFromImage(photo, 1.0, ({width}, {height}), swapRB=True))",
            "mask = net.forward()[0].argmax(axis=0)",
        ]
        lines += [
            f"`{opencv.FILE}`, for OpenCV's dnn, one scale, without mirror image and CRF. {opencv.INPUT_DOC} of "
            f"{height} x {width} pixels; output `{opencv.OUTPUT}`, {opencv.OUTPUT_DOC}.",
            "",
            *(f"    {line}" for line in code),
            "",
        ]
    return lines
