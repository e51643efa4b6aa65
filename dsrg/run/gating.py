"""The gate in use: what the trained classifier says of a photograph scales what the segmentation network says of its
pixels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dsrg import grid
from dsrg.gate import gate
from dsrg.run import inference
from dsrg.schema import Classifier as Settings

KEYS = (
    *("head", "pooling", "conv", "convs", "acol_channels", "acol_threshold"),
    *("output_stride", "size", "resize", "loss"),
)
"""Keys of the section classifier on which the gate depends, besides the trained weights."""


class Gate(nn.Module):
    """A trained classifier that gates class probabilities.

    It sees the photograph once, whole, as its training did but for chance, and once mirrored. With classifier.resize =
    warp that is a square of classifier.size pixels; with crop the long side has classifier.size pixels, which is the
    random scale 1, and both sides are rounded to the classifier's grid. Its output stride is that of its training,
    and neither `test.scales`, `test.size` nor `test.mirror` change what it sees.

    Args:
        classifier: The network, at classifier.output_stride; from now on it does not train.
        settings: The section classifier, of which KEYS are read.
        amp: bfloat16 autocast.
    """

    def __init__(self, classifier: nn.Module, settings: Settings, *, amp: bool = False) -> None:
        super().__init__()
        self.classifier = classifier.requires_grad_(False)
        self.graph: inference.Network | None = None
        """What computes in the classifier's place, see `dsrg.run.onnx_network`."""
        self.settings = settings
        self.amp = amp

    @property
    def facts(self) -> dict[str, Any]:
        """What decides on the gate besides the weights: the settings named by KEYS, as plain values."""
        return self.settings.model_dump(mode="json", include=set(KEYS))

    def class_probs(self, images: Tensor) -> Tensor:
        """Probabilities (B, K) float32 that photographs (B, 3, H, W) of 0..255 show each foreground class.

        The mean over photograph and mirror image of the sigmoid, or of the softmax where classifier.loss is
        single_label.
        """
        inputs = functional.interpolate(images.float(), self._size(images), mode="bilinear", antialias=True)
        pair = inference.normalise(torch.cat([inputs, inputs.flip(-1)]))
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.amp):
            logits: Tensor = (self.graph or self.classifier)(pair)
        single = self.settings.loss == "single_label"
        probs = logits.float().softmax(dim=1) if single else logits.float().sigmoid()
        return probs.reshape(2, images.shape[0], -1).mean(dim=0)

    def forward(self, probs: Tensor, images: Tensor) -> Tensor:
        """Probabilities (B, C, H, W) of photographs (B, 3, H, W) of 0..255, gated as `dsrg.gate.gate` says."""
        return gate(probs, self.class_probs(images))

    def _size(self, images: Tensor) -> tuple[Any, Any]:
        # In whole numbers and without a comparison in Python: an exported graph works it out for each photograph.
        size, stride = self.settings.size, inference.output_stride(self.classifier)
        if self.settings.resize == "warp":
            return grid.nearest(size, stride), grid.nearest(size, stride)
        longest: Any = torch.sym_max(*images.shape[-2:])
        sides = (grid.nearest_of_share(side, longest, size, stride) for side in images.shape[-2:])
        height, width = (torch.sym_max(grid.SMALLEST, side) for side in sides)
        return height, width
