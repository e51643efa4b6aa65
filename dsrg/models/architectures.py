"""torchvision's ImageNet networks, made without their classification heads and taken apart into stages.

A stage belongs to each of the five halvings of the resolution; stage n (from 1) ends at stride 2**n.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from dsrg.models.layers import InputScale, RectifiedMaxPool2d

NUM_STAGES = 5

Stages = list[list[nn.Module]]


@dataclass(frozen=True)
class Neck:
    """The layers that widen the last features before the pooling."""

    layers: int
    """How many of the last stage's layers they are."""
    in_channels: int
    """Channels before them."""


@dataclass(frozen=True)
class Architecture:
    """How one torchvision network is made and taken apart."""

    make: Callable[[], Any]
    """The network with random weights and torchvision's parameter names, its classification head gone."""
    split: Callable[[Any], Stages]
    """Its layers in forward order, one list for each stage."""
    head: tuple[str, ...]
    """Prefixes of the classification heads' parameters in torchvision's files."""
    out_channels: int
    """Channels of the last stage."""
    cut_channels: int | None = None
    """Channels before the last halving, where the CAM paper cuts this network off; None where it does not."""
    strided: Callable[[int], Any] | None = None
    """Makes the network at an output stride; None where strides become dilation here."""
    download: Callable[[], dict[str, Any]] | None = None
    """The state_dict of its trained weights; None where torchvision has them by the network's name."""
    neck: Neck | None = None
    """Its neck, where it has one."""
    adapt: Callable[[Any, Mapping[str, Any]], dict[str, Any]] | None = None
    """Fits a state_dict of another input size to the network; None where the size changes nothing."""
    published: Callable[[Any], Stages] | None = None
    """As `split`, with the network's own pools, which its fully connected layers were trained on; None where it has no
    such layers."""
    hidden: Callable[[], nn.Sequential] | None = None
    """Likewise what stands between the features and the last linear layer, with torchvision's parameter names."""


def _make_mobilenet_v2() -> Any:
    from torchvision import models  # here and below: it takes as long to import as PyTorch

    network = models.mobilenet_v2(weights=None)
    network.classifier = nn.Identity()
    return network


def _split_mobilenet_v2(network: Any) -> Stages:
    layers = list(network.features)
    return [layers[0:2], layers[2:4], layers[4:7], layers[7:14], layers[14:19]]


def _resnet(name: str, out_channels: int) -> Architecture:
    def make() -> Any:
        from torchvision import models

        network = models.get_model(name, weights=None)
        network.fc = nn.Identity()
        return network

    def split(network: Any) -> Stages:
        stem = [network.conv1, network.bn1, network.relu]
        return [stem, [network.maxpool, *network.layer1], *(list(getattr(network, f"layer{n}")) for n in (2, 3, 4))]

    return Architecture(make, split, ("fc.",), out_channels)


def _make_plain(name: str) -> Any:
    """VGG or AlexNet."""
    from torchvision import models

    device = torch.get_default_device()
    with torch.device("meta"):  # no memory, no initialisation for the head: 124 million parameters in VGG16
        network = models.get_model(name, weights=None)
    network.classifier = nn.Identity()
    init_convolutions(network.to_empty(device=device))
    return network


def init_convolutions(network: nn.Module) -> None:
    """Initial values of convolutions without batch norm, as torchvision has them in VGG."""
    for key, parameter in network.named_parameters():
        if key.endswith("bias"):
            nn.init.zeros_(parameter)
        else:
            nn.init.kaiming_normal_(parameter, mode="fan_out", nonlinearity="relu")


def _make_hidden(name: str) -> nn.Sequential:
    """VGG's or AlexNet's pooling to a grid of one size, and its fully connected layers but for the last."""
    from torchvision import models

    device = torch.get_default_device()
    with torch.device("meta"):
        network = models.get_model(name, weights=None)
    layers = OrderedDict(avgpool=network.avgpool, flatten=nn.Flatten(), classifier=network.classifier[:-1])
    hidden = nn.Sequential(layers).to_empty(device=device)
    for key, parameter in hidden.named_parameters():  # as torchvision does in VGG
        if key.endswith("bias"):
            nn.init.zeros_(parameter)
        else:
            nn.init.normal_(parameter, std=0.01)
    return hidden


def _split_vgg16(network: Any, published: bool = False) -> Stages:
    """The five blocks of convolutions, each with its pool; 3 x 3 pools put 321 pixels on 41, as in DeepLab."""
    stages: Stages = [[]]
    for layer in network.features:
        if isinstance(layer, nn.MaxPool2d):
            stages[-1].append(layer if published else nn.MaxPool2d(3, stride=2, padding=1))
            stages.append([])
        else:
            stages[-1].append(layer)
    return stages[:NUM_STAGES]


def _split_alexnet(network: Any, published: bool = False) -> Stages:
    """The first convolution halves twice, so that the first stage is empty. The last holds pool5 alone."""
    stages: Stages = [[], []]
    for layer in network.features:
        if isinstance(layer, nn.MaxPool2d):
            stages.append([layer if published else RectifiedMaxPool2d(3, stride=2)])
        else:
            stages[-1].append(layer)
    return stages


def _make_googlenet() -> Any:
    from torchvision import models

    # torchvision's initial values take five times as long to draw, and batch norm undoes their scale
    network = models.googlenet(weights=None, aux_logits=False, init_weights=False)
    network.fc = nn.Identity()
    return network


def _split_googlenet(network: Any) -> Stages:
    """Every pool opens a stage."""
    inception: dict[str, list[nn.Module]] = {number: [] for number in "345"}
    for name, block in network.named_children():
        if name.startswith("inception"):
            block.branch4[0] = RectifiedMaxPool2d(3, stride=1)
            inception[name.removeprefix("inception")[0]].append(block)
    return [
        [InputScale(), network.conv1],
        [RectifiedMaxPool2d(3, stride=2), network.conv2, network.conv3],
        [RectifiedMaxPool2d(3, stride=2), *inception["3"]],
        [RectifiedMaxPool2d(3, stride=2), *inception["4"]],
        [RectifiedMaxPool2d(2, stride=2), *inception["5"]],
    ]


MOBILENET_V2 = Architecture(_make_mobilenet_v2, _split_mobilenet_v2, ("classifier.",), 1280, neck=Neck(1, 320))
RESNET18 = _resnet("resnet18", 512)
RESNET50 = _resnet("resnet50", 2048)
RESNET101 = _resnet("resnet101", 2048)
VGG16 = Architecture(
    lambda: _make_plain("vgg16"),
    _split_vgg16,
    ("classifier.",),
    512,
    512,
    published=partial(_split_vgg16, published=True),
    hidden=partial(_make_hidden, "vgg16"),
)
ALEXNET = Architecture(
    lambda: _make_plain("alexnet"),
    _split_alexnet,
    ("classifier.",),
    256,
    256,
    published=partial(_split_alexnet, published=True),
    hidden=partial(_make_hidden, "alexnet"),
)
GOOGLENET = Architecture(_make_googlenet, _split_googlenet, ("fc.", "aux1.", "aux2."), 1024, 832)
