"""Backbones of timm (PyTorch Image Models): its convolutional networks that are a chain of layers. Its ViTs are taken
apart in `timm_transformer`.

A network is asked for as 'timm/<its name in timm>'. timm makes it at the output stride, by its own means; one made of
patches (ConvNeXt) gets its stride and its edges here. Its layers are taken in the order in which they are registered
and divided into stages at the modules that timm lists as its feature levels. That this chain gives the network's own
features, on the grid that all backbones have, is checked when it is taken apart.
"""

from __future__ import annotations

import functools
import importlib.util
import math
from typing import Any

import torch
from torch import nn

from dsrg.errors import InputError
from dsrg.models import timm_transformer
from dsrg.models.architectures import NUM_STAGES, Architecture, Neck, Stages
from dsrg.models.layers import InputScale

PREFIX = "timm/"
_CONTAINERS = ("blocks", "stages", "features")
"""Sequences of blocks, whose members are layers of the chain."""
_PATCH = 32
"""Pixels of a cell of a network of patches."""
_SIZE = 65
"""Side of the image, in pixels, on which the chain is compared with the network."""


def architecture(name: str) -> Architecture:
    """How a network of timm is made and taken apart.

    Args:
        name: 'timm/<name>'.

    Raises:
        InputError: timm is not installed, has no such network, or it has no grid of features or no output stride.
    """
    if importlib.util.find_spec("timm") is None:
        raise InputError(f"model.backbone = {name}: needs timm; run python -m pip install 'dsrg[timm]'.")
    with torch.device("meta"):
        network = _create(name)
        head = tuple(f"{part}." for part in _classifiers(network))
        download = functools.partial(_download, name)
        if timm_transformer.serves(network):
            make = functools.partial(_create, name)
            return timm_transformer.architecture(name, network, make, head, download)
        strided = _make_patches if _made_of_patches(network) else _make
        network = strided(name, 32)
    return Architecture(
        make=functools.partial(strided, name, 32),
        split=functools.partial(_split, name),
        head=head,
        out_channels=network.num_features,
        strided=functools.partial(strided, name),
        download=download,
        neck=_neck(network),
    )


def _neck(network: Any) -> Neck | None:
    """The layers after the last feature level, if there are any."""
    last = network.feature_info[-1]
    layers = [key for key, _ in _chain(network)]
    count = len(layers) - layers.index(last["module"]) - 1 if last["module"] in layers else 0
    return Neck(count, last["num_chs"]) if count and last["num_chs"] != network.num_features else None


def _classifiers(network: Any) -> tuple[str, ...]:
    """The names of its classification head's layers."""
    named = network.pretrained_cfg.get("classifier") or "classifier"
    return (named,) if isinstance(named, str) else tuple(named)


def _create(name: str, **settings: Any) -> Any:
    import timm

    try:
        return timm.create_model(name.removeprefix(PREFIX), pretrained=False, num_classes=0, **settings)
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"model.backbone = {name}: timm has no such network ({' '.join(str(error).split())}); "
            "timm.list_models() has their names."
        ) from None


def _make(name: str, output_stride: int) -> Any:
    try:
        return _create(name, global_pool="", output_stride=output_stride)
    except (TypeError, AssertionError):  # an output stride, which it does not know
        raise InputError(
            f"model.backbone = {name}: cannot be made at an output stride; choose a convolutional network of timm, or "
            "a plain ViT, such as timm/vit_small_patch16_224."
        ) from None


def _made_of_patches(network: Any) -> bool:
    """Whether its convolutions halve by patches alone, side by side and without padding, as ConvNeXt's do."""
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d) and max(layer.stride) > 1]
    patches = all(layer.kernel_size == layer.stride and not any(layer.padding) for layer in convolutions)
    return patches and math.prod(layer.stride[0] for layer in convolutions) == _PATCH


def _make_patches(name: str, output_stride: int) -> Any:
    """A network of patches, of which 32 x 32 pixels make one cell, at an output stride.

    Halvings beyond it become dilation, so that the output, subsampled, is that of the network as published; timm's own
    way moves it by a cell. Mirrored edges give the first and the last cell whole patches: cell i is centred on pixel
    output_stride * i + 1/2.
    """
    network = _create(name, global_pool="")
    stride = dilation = 1
    for layer in network.modules():
        if not isinstance(layer, nn.Conv2d):
            continue
        factor = layer.stride[0]
        if stride * factor > output_stride:
            layer.stride, layer.dilation = (1, 1), (dilation, dilation)
            dilation *= factor
        elif factor > 1:
            stride *= factor
        elif max(layer.kernel_size) > 1:
            layer.padding = (layer.kernel_size[0] // 2 * dilation, layer.kernel_size[1] // 2 * dilation)
            layer.dilation = (dilation, dilation)
    for level in network.feature_info:
        level["reduction"] = min(level["reduction"], output_stride)
    network.edges = nn.ReflectionPad2d(((_PATCH - 1) // 2, _PATCH // 2) * 2)
    return network


def _download(name: str) -> dict[str, Any]:
    """timm's own weights, by its names, from its hub.

    Raises:
        InputError: they cannot be had.
    """
    import timm

    try:
        network = timm.create_model(name.removeprefix(PREFIX), pretrained=True)
    except Exception as error:  # each hub client has errors of its own
        raise InputError(
            f"timm's weights of {name} could not be downloaded ({type(error).__name__}); give a file as model.weights."
        ) from None
    state: dict[str, Any] = network.state_dict()
    return state


def _split(name: str, network: Any) -> Stages:
    edges = network._modules.pop("edges", None)
    chain = _chain(network)
    reached = {level["module"]: level["reduction"] for level in network.feature_info}
    levels = len(network.feature_info)
    stages: Stages = [[] for _ in range(NUM_STAGES)]
    # A level for each halving; where timm lists fewer, the stem has several.
    at = max(0, NUM_STAGES - levels)
    for key, layer in chain:
        stages[min(at, NUM_STAGES - 1)].append(layer)
        if key in reached:
            at += 1
    _check(name, network, stages, edges or nn.Identity())
    config = network.pretrained_cfg
    if edges is not None:
        stages[0].insert(0, edges)
    stages[0].insert(0, InputScale(config["mean"], config["std"]))
    return stages


def _chain(network: Any) -> list[tuple[str, nn.Module]]:
    """The layers before the pooling with their names, in the order in which they are registered."""
    head = {"global_pool", "head_drop", str(network.pretrained_cfg.get("classifier", "")).partition(".")[0], "head"}
    layers: list[tuple[str, nn.Module]] = []
    for key, child in network.named_children():
        if key in head:
            break
        if key in _CONTAINERS and isinstance(child, nn.Sequential):
            layers += [(f"{key}.{number}", block) for number, block in child.named_children()]
        else:
            layers.append((key, child))
    return layers


@torch.no_grad()
def _check(name: str, network: Any, stages: Stages, edges: nn.Module) -> None:
    """Refuse a network whose features the chain does not give."""
    before = network.training
    network.eval()
    device = next(network.parameters()).device
    image = torch.linspace(-1, 1, 3 * _SIZE * _SIZE, device=device).view(1, 3, _SIZE, _SIZE)
    image = edges(image)
    expected = network.forward_features(image)
    try:
        found = nn.Sequential(*(layer for stage in stages for layer in stage))(image)
    except (RuntimeError, TypeError, ValueError):
        found = None
    network.train(before)
    cells = (_SIZE - 1) // network.feature_info[-1]["reduction"] + 1
    fits = isinstance(found, torch.Tensor) and found.ndim == 4 and found.shape[2:] == (cells, cells)
    same = fits and found.shape == expected.shape and (device.type == "meta" or torch.equal(found, expected))
    if not same:
        raise InputError(
            f"model.backbone = {name}: is no chain of layers that ends in a grid of (size - 1) / stride + 1 cells; "
            "choose another network, such as timm/tf_efficientnet_lite0 or timm/resnet18."
        )
