"""The segmentation network: a backbone and DeepLab v2's atrous spatial pyramid (ASPP)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from torch import Tensor, nn


class DeepLab(nn.Module):
    """One branch for each rate, their logits summed (Chen et al. 2017, "DeepLab", Fig. 7; Huang et al. 2018).

    With channels > 0 a branch is fc6 (3 x 3, dilated), fc7 (1 x 1) and fc8 (1 x 1, to the classes), with ReLU and
    dropout after the first two: the VGG16 form. With channels = 0 it is a single dilated 3 x 3 convolution to the
    classes: the ResNet-101 form.

    Args:
        backbone: Features (B, D, h, w) of images; has `out_channels` = D.
        num_classes: C, background included.
        rates: Dilation of each branch, in cells of the feature grid.
        channels: Width of fc6 and fc7, or 0.
        dropout: Probability of dropping a feature after fc6 and fc7; unused with channels = 0.
    """

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int,
        *,
        rates: Sequence[int] = (6, 12, 18, 24),
        channels: int = 1024,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        depth = backbone.out_channels
        self.branches = nn.ModuleList(
            _deep_branch(depth, num_classes, rate, channels, dropout) if channels else _conv3(depth, num_classes, rate)
            for rate in rates
        )
        for layer in self.last_layers:
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, C, h, w), before the softmax, of images (B, 3, H, W)."""
        features = self.backbone(images)
        return sum(branch(features) for branch in self.branches)

    @property
    def last_layers(self) -> list[nn.Module]:
        """The layers that give class scores (fc8 of each branch), which learn at a higher rate."""
        return [branch if isinstance(branch, nn.Conv2d) else branch.fc8 for branch in self.branches]

    def copy_fc(self, tensors: Mapping[str, Tensor]) -> None:
        """Start fc6 and fc7 of every branch from the same tensors; needs channels > 0.

        Args:
            tensors: "fc6.weight" (channels, D, 3, 3), "fc6.bias", "fc7.weight" (channels, channels, 1, 1) and
                "fc7.bias", as `dsrg.models.backbone.vgg16_fc` returns them.

        Raises:
            RuntimeError, KeyError: names or shapes differ.
        """
        for branch in self.branches:
            for name in ("fc6", "fc7"):
                layer = branch.get_submodule(name)
                layer.load_state_dict({key: tensors[f"{name}.{key}"] for key in ("weight", "bias")})


def _conv3(depth: int, width: int, rate: int) -> nn.Conv2d:
    return nn.Conv2d(depth, width, 3, padding=rate, dilation=rate)


def _deep_branch(depth: int, num_classes: int, rate: int, channels: int, dropout: float) -> nn.Sequential:
    branch = nn.Sequential(
        OrderedDict(
            fc6=_conv3(depth, channels, rate),
            relu6=nn.ReLU(inplace=True),
            drop6=nn.Dropout(dropout),
            fc7=nn.Conv2d(channels, channels, 1),
            relu7=nn.ReLU(inplace=True),
            drop7=nn.Dropout(dropout),
            fc8=nn.Conv2d(channels, num_classes, 1),
        )
    )
    for layer in (branch.fc6, branch.fc7):  # keeps the features' scale where there are no weights to start from
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
    return branch
