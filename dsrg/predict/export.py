"""A trained network for other programs: ONNX, and safetensors with a model card."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
from dsrg.predict import loading, metadata
from dsrg.predict.segmenter import Segmenter
from dsrg.run import inference
from dsrg.run.gating import Gate
from dsrg.run.networks import new_gate

ONNX_FILE = "model.onnx"
CARD = "README.md"
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


def export(segmenter: Segmenter, out: Path, formats: Sequence[str], *, overwrite: bool = False) -> list[Path]:
    """Write a network in some formats.

    Args:
        segmenter: The network.
        out: A folder, which gets model.onnx, model.safetensors and README.md; or a file, .onnx or .safetensors, for
            this format alone and without the card.
        formats: Some of `tables.EXPORTS`.
        overwrite: Write over files that are there.

    Returns:
        The files.

    Raises:
        InputError: a file is there already, packages are missing, or the ONNX network differs from PyTorch's.
    """
    files = _files(out, formats)
    for path in files.values():
        if path.exists() and not overwrite:
            raise InputError(f"{path}: exists already; choose another --out, or add --overwrite.")
    contents: dict[str, bytes] = {}
    if "onnx" in files:
        contents["onnx"] = onnx_bytes(segmenter)
    if "safetensors" in files:
        said = metadata.dump(segmenter) | {"format": "pt"}
        contents["safetensors"] = save(loading.state_of(segmenter), said)
    for name, content in contents.items():
        disk.write_bytes(files[name], content)
    if "card" in files:
        disk.write_text(files["card"], card(segmenter, list(contents)))
    return list(files.values())


def _files(out: Path, formats: Sequence[str]) -> dict[str, Path]:
    if out.suffix in (".onnx", ".safetensors"):
        if list(formats) != [out.suffix[1:]]:
            raise InputError(f"{out}: one file holds one format; give --formats {out.suffix[1:]} or a folder as --out.")
        return {out.suffix[1:]: out}
    if out.is_file():
        raise InputError(f"{out}: is a file; give a folder, or a name that ends in .onnx or .safetensors.")
    names = {"onnx": ONNX_FILE, "safetensors": loading.WEIGHTS_FILE, "card": CARD}
    return {name: out / names[name] for name in (*formats, "card")}


def onnx_bytes(segmenter: Segmenter) -> bytes:
    """The network as an ONNX file of any batch, height and width, checked against PyTorch.

    Raises:
        InputError: a package is missing, the exporter cannot write the network, or a probability differs by more than
            TOLERANCE.
    """
    missing = [name for name in ("onnx", "onnxruntime", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"ONNX export needs {', '.join(missing)}; run: python -m pip install 'dsrg[export]'.")
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
    proto.doc_string = "Photographs to masks, by dsrg."
    proto.graph.input[0].doc_string = INPUT_DOC
    for output in proto.graph.output:
        output.doc_string = outputs[output.name]
    onnx.helper.set_model_props(proto, metadata.dump(segmenter))
    onnx.checker.check_model(proto)
    content: bytes = proto.SerializeToString()
    _check(network, content)
    return content


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


def card(segmenter: Segmenter, formats: Sequence[str]) -> str:
    """The model card, in Markdown: what the network is, what it was trained on, how well it does, how to load it."""
    record, architecture, settings = segmenter.record, segmenter.architecture, segmenter.settings
    ways = {
        "retrain": "trained on pseudo-labels that DSRG made from image-level labels",
        "dsrg": "trained from image-level labels by Deep Seeded Region Growing (Huang et al., CVPR 2018)",
        "supervised": "trained on ground-truth masks",
    }
    rates = ", ".join(map(str, architecture["rates"]))
    lines = [
        f"# {record['data']}: DeepLab-ASPP on {architecture['backbone']}",
        "",
        f"Semantic segmentation of photographs into {len(segmenter.classes)} classes, {ways[record['network']]}.",
        "",
        f"- Architecture: DeepLab-ASPP on {architecture['backbone']}, output stride {architecture['output_stride']}, "
        f"rates {rates}, {architecture['channels'] or 'no'} channels in fc6 and fc7",
        f"- Classes, in the order of the indices: {', '.join(segmenter.classes.names)}",
        f"- Training data: {record['data']}, split {record['train_split']}; the backbone started at {record['start']}",
        f"- Settings: scales {', '.join(map(str, settings.scales))} of "
        f"{'the photograph' if settings.size is None else f'a long side of {settings.size} pixels'}, "
        f"mirror image {_yes(settings.mirror)}, merged as {settings.merge}, CRF {_yes(settings.crf)}",
        *_gate_line(segmenter),
        f"- Made in the run {record['run']}, with dsrg {record['dsrg'] or 'of unknown version'}, "
        f"commit {record['commit'] or 'unknown'}",
        "",
        "## Figures",
        "",
        *_figures(record),
        "",
        "## Use",
        "",
        *_usage(segmenter, formats),
        "## Licence",
        "",
        "dsrg's code has the MIT licence. These weights were learnt from the photographs named above and started at "
        f"{record['start']}: whether they may be used or passed on depends on the terms of both, which dsrg does not "
        "know.",
    ]
    return "\n".join(lines) + "\n"


def _gate_line(segmenter: Segmenter) -> list[str]:
    if segmenter.gate is None:
        return []
    backbone = "the same backbone" if loading.shares_backbone(segmenter) else "a backbone of its own"
    return [
        "- Gate: each foreground class's probability is multiplied by min(1, p / 0.5), with p that of a classifier on "
        f"{backbone}, which sees the whole photograph"
    ]


def _figures(record: dict[str, Any]) -> list[str]:
    figures = record["figures"]
    total = figures.get(f"{record['network']}_miou")
    if not isinstance(total, float | int):
        return ["Not measured: there were no ground-truth masks, or the run's folder no longer has its figures."]
    by_class = figures.get(f"{record['network']}_iou", {})
    rows = [
        f"| {name} | {f'{value:.3f}' if isinstance(value, float | int) else 'absent'} |"
        for name, value in (by_class.items() if isinstance(by_class, dict) else ())
    ]
    head = f"On {record['data']}, split {record['val_split']}, with the settings above:"
    return [head, "", "| class | IoU |", "|---|---:|", *rows, f"| **mean** | **{total:.3f}** |"]


def _usage(segmenter: Segmenter, formats: Sequence[str]) -> list[str]:
    lines: list[str] = []
    outputs = _outputs(segmenter)
    if "safetensors" in formats:
        code = ["import dsrg", 'segmenter = dsrg.load("FOLDER")', 'segmenter.predict("photo.jpg").save("mask.png")']
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
    return lines


def _yes(value: bool) -> str:
    return "yes" if value else "no"
