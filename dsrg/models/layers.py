"""Small layers that several networks share, and ImageNet's colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""RGB mean of ImageNet on a 0..1 scale, removed from every image."""
IMAGENET_STD = (0.229, 0.224, 0.225)
"""RGB standard deviation of ImageNet on a 0..1 scale; images are divided by it."""


class RectifiedMaxPool2d(nn.MaxPool2d):
    """Max pooling of features that are not negative, onto (H - 1) // stride + 1 cells whatever kernel and dilation.

    Cell i looks at the pixels around stride * i, an even kernel at one more behind than before. The zeros at the
    border never win. nn.MaxPool2d itself pads by half a kernel at most, which is too little for a dilated one.
    """

    def forward(self, features: Tensor) -> Tensor:
        """(B, D, H, W) -> (B, D, (H - 1) // stride + 1, (W - 1) // stride + 1)."""
        kernel, dilation = cast(int, self.kernel_size), cast(int, self.dilation)
        before = (kernel - 1) // 2 * dilation
        after = (kernel - 1) * dilation - before
        pooled: Tensor = super().forward(functional.pad(features, (before, after, before, after)))
        return pooled


class InputScale(nn.Module):
    """From images without ImageNet's mean and deviation to images without those that a network was trained on.

    With 0.5 each, the default, these lie in -1..1: torchvision calls that `transform_input`, and its GoogLeNet's
    weights need it. It cannot go into the weights of the first convolution: the zeros that pad the images are grey
    only after it.

    Args:
        mean: The network's own RGB mean on a 0..1 scale.
        std: Its own standard deviation.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: Sequence[float] = (0.5, 0.5, 0.5), std: Sequence[float] = (0.5, 0.5, 0.5)) -> None:
        super().__init__()
        theirs, own = torch.tensor([IMAGENET_MEAN, IMAGENET_STD]), torch.tensor([[*mean], [*std]])
        # constants: no part of a checkpoint
        self.register_buffer("scale", (theirs[1] / own[1])[:, None, None], persistent=False)
        self.register_buffer("shift", ((theirs[0] - own[0]) / own[1])[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """The images (B, 3, H, W), normalised anew."""
        return images * self.scale + self.shift


def conv3_relu(depth: int, filters: int, count: int = 1) -> nn.Sequential:
    """`count` times a 3 x 3 convolution (stride 1, padding 1) and a ReLU, with initial values that keep the features'
    scale."""
    layers: list[nn.Module] = []
    for channels in [depth, *[filters] * (count - 1)]:
        conv = nn.Conv2d(channels, filters, 3, padding=1)
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        assert conv.bias is not None
        nn.init.zeros_(conv.bias)
        layers += [conv, nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
