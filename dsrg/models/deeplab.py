"""The segmentation network: a backbone and DeepLab v2's atrous spatial pyramid (ASPP)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class Branch(nn.Module):
    """fc6 (3 x 3, dilated), fc7 (1 x 1) and fc8 (1 x 1, to the classes); ReLU and dropout after the first two."""

    def __init__(self, depth: int, num_classes: int, *, rate: int, channels: int, dropout: float) -> None:
        super().__init__()
        self.fc6 = _hidden(_conv3(depth, channels, rate))
        self.fc7 = _hidden(nn.Conv2d(channels, channels, 1))
        self.fc8 = _class_scores(nn.Conv2d(channels, num_classes, 1))
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        """This branch's share of the logits, (B, C, h, w), of features (B, D, h, w)."""
        hidden = self.dropout(F.relu(self.fc6(features), inplace=True))
        hidden = self.dropout(F.relu(self.fc7(hidden), inplace=True))
        logits: Tensor = self.fc8(hidden)
        return logits


class DeepLab(nn.Module):
    """One branch for each rate, their logits summed (Chen et al. 2017, "DeepLab", Fig. 7; Huang et al. 2018).

    With channels > 0 a branch is fc6-fc7-fc8 (`Branch`): the VGG16 form. With channels = 0 it is a single dilated
    3 x 3 convolution to the classes: the ResNet-101 form.

    Args:
        backbone: Features (B, D, h, w) of images; has `out_channels` = D, and `output_stride`.
        num_classes: C, background included.
        rates: Dilation of each branch, in cells of the feature grid.
        channels: Width of fc6 and fc7, or 0.
        dropout: Probability of dropping a feature after fc6 and fc7; unused with channels = 0.
        pool_features: Average the features over 3 x 3 cells first (pool5a of the DSRG authors' released network).
        standardise: Bring each feature to mean 0 and deviation 1 first, by batch norm without parameters.
    """

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int,
        *,
        rates: Sequence[int] = (6, 12, 18, 24),
        channels: int = 1024,
        dropout: float = 0.5,
        pool_features: bool = False,
        standardise: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.pool_features = pool_features
        depth: int = backbone.out_channels  # type: ignore[assignment]  # nn.Module types attributes as tensors
        self.standardise = nn.BatchNorm2d(depth, affine=False) if standardise else nn.Identity()
        self.branches = nn.ModuleList(
            Branch(depth, num_classes, rate=rate, channels=channels, dropout=dropout)
            if channels
            else _class_scores(_conv3(depth, num_classes, rate))
            for rate in rates
        )

    def forward(self, images: Tensor, cached: bool = False) -> Tensor:
        """Logits (B, C, h, w), before the softmax, of images (B, 3, H, W), or of what is `cached` of them."""
        features = self.standardise(self.backbone(images, cached) if cached else self.backbone(images))
        if self.pool_features:
            features = F.avg_pool2d(features, 3, stride=1, padding=1)  # at the edge zeros count, as in Caffe
        logits: Tensor = sum(branch(features) for branch in self.branches)
        return logits

    @property
    def output_stride(self) -> int:
        """Pixels of the image for each cell of the maps."""
        stride: int = self.backbone.output_stride  # type: ignore[assignment]  # nn.Module types attributes as tensors
        return stride

    @property
    def last_layers(self) -> list[nn.Module]:
        """The layers that give class scores (fc8 of each branch), which learn at a higher rate."""
        return [branch.fc8 if isinstance(branch, Branch) else branch for branch in self.branches]

    def copy_fc(self, tensors: Mapping[str, Tensor]) -> None:
        """Start fc6 and fc7 of every branch from the same tensors; needs channels > 0.

        Args:
            tensors: "fc6.weight" (channels, D, 3, 3), "fc6.bias", "fc7.weight" (channels, channels, 1, 1) and
                "fc7.bias", as `dsrg.models.backbone.vgg16_fc` returns them.

        Raises:
            KeyError, RuntimeError: a name is missing or a shape differs.
        """
        for branch in self.branches:
            for name in ("fc6", "fc7"):
                layer = branch.get_submodule(name)
                layer.load_state_dict({key: tensors[f"{name}.{key}"] for key in ("weight", "bias")})


def _conv3(depth: int, width: int, rate: int) -> nn.Conv2d:
    return nn.Conv2d(depth, width, 3, padding=rate, dilation=rate)


def _class_scores(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer with DeepLab's initial values for class scores."""
    nn.init.normal_(layer.weight, std=0.01)
    return _zero_bias(layer)


def _hidden(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer with initial values that keep the features' scale where there are no weights to start from."""
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return _zero_bias(layer)


def _zero_bias(layer: nn.Conv2d) -> nn.Conv2d:
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
