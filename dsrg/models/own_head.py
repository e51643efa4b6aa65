"""AlexNet and VGG16 with the classification heads that they were published with, fully connected layers and all.

They are what the CAM paper's networks are measured against (Zhou et al., "Learning Deep Features for Discriminative
Localization", CVPR 2016, tables 1 and 2): better at naming, and without a map of their own. Networks whose own head is
global average pooling and one linear layer (GoogLeNet, NIN, ResNet, MobileNet) are a `Classifier` as they are.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from dsrg.errors import InputError
from dsrg.models.backbone import Backbone, architecture_of, load_strictly, read_weights
from dsrg.tables import BACKBONES

_HEAD = ("avgpool.", "classifier.")
"""How the names of the head's parameters begin, here and in torchvision's files."""


class OwnHead(nn.Module):
    """Backbone, pooling to the grid that the fully connected layers were made for (6 x 6 in AlexNet, 7 x 7 in VGG16,
    which 225 x 225 pixels have already), the fully connected layers, and a linear layer to the classes.

    Args:
        backbone: Features (B, D, h, w) of images, padded as published (`Backbone.published`).
        hidden: From features to what the linear layer reads; its last linear layer says how many numbers that are.
        num_foreground: K, the classes without background.
    """

    def __init__(self, backbone: Backbone, hidden: nn.Module, num_foreground: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.hidden = hidden
        *_, last = (layer for layer in hidden.modules() if isinstance(layer, nn.Linear))
        self.linear = nn.Linear(last.out_features, num_foreground)
        nn.init.normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)

    def features(self, images: Tensor, cached: bool = False) -> Tensor:
        """The last pool's output (B, D, h, w), of images (B, 3, H, W) or of what is `cached` of them (`Backbone`)."""
        features: Tensor = self.backbone(images, cached) if cached else self.backbone(images)
        return features

    def classify(self, features: Tensor) -> Tensor:
        """Logits (B, K), before the sigmoid or the softmax, of features (B, D, h, w)."""
        logits: Tensor = self.linear(self.hidden(features))
        return logits

    def forward(self, images: Tensor, cached: bool = False) -> Tensor:
        """Logits (B, K), before the sigmoid or the softmax, of what `features` takes."""
        return self.classify(self.features(images, cached))

    @property
    def output_stride(self) -> int:
        """Pixels of the image from one cell of the features to the next."""
        return self.backbone.output_stride

    @property
    def last_layers(self) -> list[nn.Module]:
        """The layer without ImageNet weights, which learns at a higher rate."""
        return [self.linear]


def hidden_layers(name: str, weights: str | Path | None) -> nn.Sequential:
    """The layers between a backbone's features and the last linear layer of its own head.

    Args:
        name: A backbone whose own head has fully connected layers (`dsrg.tables.Backbone.own_head`).
        weights: As in `dsrg.models.backbone.build_backbone`.

    Raises:
        InputError: the network has no such layers, or the weights do not fit.
    """
    make = architecture_of(name).hidden
    if make is None:
        known = " and ".join(key for key, line in BACKBONES.items() if line.own_head)
        raise InputError(
            f"{name}'s own head is global pooling and one linear layer, which is the head 'gap'; 'own' is for {known}."
        )
    hidden = make()
    if weights is not None:
        state = {key: value for key, value in read_weights(name, weights).items() if key.startswith(_HEAD)}
        own = {key.rpartition(".")[0] for key in hidden.state_dict()}
        further = sorted({key.rpartition(".")[0] for key in state} - own)[:1]  # the file's own last layer
        body = {key: value for key, value in state.items() if key.rpartition(".")[0] not in further}
        load_strictly(hidden, body, f"{weights} (fully connected layers of {name})")
    return hidden
