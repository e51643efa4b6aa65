"""Stage 1's network: image-level classification whose linear layer also gives class activation maps."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from dsrg.errors import InputError
from dsrg.models.layers import conv3_relu

POOLINGS = ("avg", "max")


class Classifier(nn.Module):
    """Backbone, convolutions where the paper adds them, global pooling, linear layer (Zhou et al. 2016, "Learning
    deep features for discriminative localization", Sect. 2 and 3).

    Args:
        backbone: Features (B, D, h, w) of images; has `out_channels` = D, and `output_stride`.
        num_foreground: K, the classes without background.
        pooling: "avg", or "max" (each feature's maximum over the image).
        dropout: Probability of dropping a pooled feature in training.
        conv: Filters of a 3 x 3 convolution with ReLU before the pooling, and then D; 0 for none.
        convs: How many such convolutions.

    Raises:
        InputError: `pooling` is neither.
    """

    def __init__(
        self,
        backbone: nn.Module,
        num_foreground: int,
        *,
        pooling: str = "avg",
        dropout: float = 0.0,
        conv: int = 0,
        convs: int = 1,
    ) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise InputError(f"the pooling '{pooling}' is not known; choose one of {', '.join(POOLINGS)}.")
        self.backbone = backbone
        self.pooling = pooling
        self.dropout = nn.Dropout(dropout)
        depth: int = backbone.out_channels  # type: ignore[assignment]  # nn.Module types attributes as tensors
        self.conv = conv3_relu(depth, conv, convs) if conv else nn.Identity()
        self.linear = nn.Linear(conv or depth, num_foreground)
        nn.init.normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)

    def features(self, images: Tensor, cached: bool = False) -> Tensor:
        """What is pooled, (B, D, h, w), of images (B, 3, H, W) or of what is `cached` of them (`Backbone`)."""
        features: Tensor = self.conv(self.backbone(images, cached) if cached else self.backbone(images))
        return features

    def classify(self, features: Tensor) -> Tensor:
        """Logits (B, K), before the sigmoid or the softmax, of features (B, D, h, w)."""
        pooled = features.mean(dim=(2, 3)) if self.pooling == "avg" else features.amax(dim=(2, 3))
        logits: Tensor = self.linear(self.dropout(pooled))
        return logits

    def forward(self, images: Tensor, cached: bool = False) -> Tensor:
        """Logits (B, K), before the sigmoid or the softmax, of what `features` takes."""
        return self.classify(self.features(images, cached))

    def activation_maps(self, images: Tensor) -> Tensor:
        """Raw CAMs (B, K, h, w): M_c(x, y) = sum_k w_k^c f_k(x, y), no bias, no ReLU, not normalised.

        With average pooling the mean of a map plus the bias is the class's logit.
        """
        return F.conv2d(self.features(images), self.linear.weight[:, :, None, None])

    @property
    def output_stride(self) -> int:
        """Pixels of the image for each cell of the maps."""
        stride: int = self.backbone.output_stride  # type: ignore[assignment]  # nn.Module types attributes as tensors
        return stride

    @property
    def last_layers(self) -> list[nn.Module]:
        """The layers without ImageNet weights, which learn at a higher rate."""
        return [self.linear] if isinstance(self.conv, nn.Identity) else [self.conv, self.linear]
