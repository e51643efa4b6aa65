"""torchvision's ImageNet networks as dense feature extractors at output stride 8, 16 or 32.

Shapes: B images, H and W pixels, D feature channels, h = (H - 1) // output_stride + 1 and w alike. That grid is
the same for every network and stride, so seeds made with one network fit another.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dsrg import tables
from dsrg.errors import InputError, reason
from dsrg.files.storage import load_checkpoint
from dsrg.models.architectures import NUM_STAGES, Architecture, Stages
from dsrg.models.layers import IMAGENET_MEAN as IMAGENET_MEAN
from dsrg.models.layers import IMAGENET_STD as IMAGENET_STD
from dsrg.models.layers import RectifiedMaxPool2d
from dsrg.tables import BACKBONES

OUTPUT_STRIDES = (8, 16, 32)


class Backbone(nn.Module):
    """A chain of stages; stage n (from 1) ends at stride 2**n in the network as published.

    The stages do not depend on the output stride, so weights move between strides.

    Attributes:
        out_channels: D.
        output_stride: pixels of the image for each cell of the features.
        frozen_stages: that many stages, from the first, never train.
        frozen_bn: batch norm keeps its ImageNet statistics and affine parameters.
        neck: that many layers at the end of the last stage are the network's neck, which widens the last features.
        neck_left_out: that many of its layers are left out.
        published: convolutions and pools pad as in the network as published, so that the grid is no longer
            (H - 1) // output_stride + 1 cells a side.
    """

    def __init__(
        self,
        stages: Sequence[nn.Sequential],
        *,
        out_channels: int,
        output_stride: int,
        frozen_stages: int = 0,
        frozen_bn: bool = False,
        neck: int = 0,
        neck_left_out: int = 0,
        published: bool = False,
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.neck = neck
        self.neck_left_out = neck_left_out
        self.out_channels = out_channels
        self.output_stride = output_stride
        self.frozen_stages = frozen_stages
        self.frozen_bn = frozen_bn
        self.published = published
        self.stages[:frozen_stages].requires_grad_(False)
        self.train()

    def forward(self, images: Tensor, cached: bool = False) -> Tensor:
        """Features (B, D, h, w) of images (B, 3, H, W) with ImageNet's mean and deviation removed.

        Args:
            images: The images; or, with `cached`, what `frozen_features` gives of them.
            cached: Begin after the frozen layers.
        """
        features = images
        frozen, rest = self._divided()
        if not cached:
            # no graph for the frozen part, the largest in memory: nothing in it takes a gradient, unless the caller
            # asks for that of the pixels or of a layer's output
            for layers in frozen:
                with torch.set_grad_enabled(torch.is_grad_enabled() and features.requires_grad):
                    features = layers(features)
        for layers in rest:
            features = layers(features)
        return features

    @torch.no_grad()
    def frozen_features(self, images: Tensor) -> Tensor:
        """What the frozen stages, without the neck, make of images (B, 3, H, W): the same in every iteration."""
        for layers in self._divided()[0]:
            images = layers(images)
        return images

    def frozen_tensors(self) -> Iterator[Tensor]:
        """All on which `frozen_features` depends."""
        for layers in self._divided()[0]:
            yield from layers.state_dict().values()

    def _divided(self) -> tuple[list[nn.Module], list[nn.Module]]:
        """The frozen layers that do not belong to the neck, and those after them."""
        stages = list(self.stages)
        if self.neck:
            last = stages.pop()
            body = len(last) - self.neck  # type: ignore[arg-type]  # nn.ModuleList types its members as modules
            stages += [last[:body], last[body:]]  # type: ignore[index]
        return stages[: self.frozen_stages], stages[self.frozen_stages :]

    def train(self, mode: bool = True) -> Backbone:
        """Switch the training mode; what is frozen stays in evaluation mode."""
        super().train(mode)
        if self.frozen_bn:
            freeze_batch_norm(self)
        self.stages[: self.frozen_stages].eval()
        return self


def freeze_batch_norm(module: nn.Module) -> None:
    """Put every batch norm inside `module` in evaluation mode and take its affine parameters out of training.

    `module.train()` undoes the mode, but not the parameters: call it again from an overridden `train`.
    """
    for layer in module.modules():
        if isinstance(layer, _BatchNorm):
            layer.eval()
            layer.requires_grad_(False)


def build_backbone(
    name: str,
    *,
    output_stride: int,
    weights: str | Path | None = None,
    freeze_stages: int = 0,
    freeze_bn: bool = False,
    cut: bool = False,
    neck: bool = True,
    published: bool = False,
) -> Backbone:
    """Make a backbone.

    Args:
        name: One of `tables.BACKBONES`, or of a family of `tables.BACKBONE_FAMILIES`.
        output_stride: 8, 16 or 32. Strides beyond it become dilation, as in DeepLab.
        weights: None (random), "torchvision" (download) or a state_dict file in torchvision's layout; half
            precision, a wrapping {"state_dict": ...} and "module." prefixes are understood.
        freeze_stages: 0..5; stage 1 reaches stride 2 (in AlexNet it is empty), stage 2 stride 4, and so on.
        freeze_bn: Freeze every batch norm.
        cut: Leave out the last halving and what follows it: AlexNet ends at conv5, VGG16 at conv5-3, GoogLeNet at
            inception4e, as in Zhou et al. 2016, "Learning deep features for discriminative localization", Sect. 3.
        neck: Keep the 1 x 1 convolution that widens the last features before the pooling, in networks that have one.
        published: Pad as the network does as published, which its own fully connected layers need; at stride 32.

    Raises:
        InputError: an argument is out of range, the download failed, or the file does not fit the network exactly.
    """
    architecture = architecture_of(name)
    _check_choice(name, architecture, output_stride, freeze_stages, cut=cut, published=published)
    network = architecture.strided(output_stride) if architecture.strided else architecture.make()
    if weights is not None:
        state = read_weights(name, weights)
        body = {key: value for key, value in state.items() if not key.startswith(architecture.head)}
        if architecture.adapt is not None:
            body = architecture.adapt(network, body)
        load_strictly(network, body, f"{weights} (weights of {name})")
    stages = architecture.published(network) if published and architecture.published else architecture.split(network)
    if cut:
        _remove_last_halving(stages)
    if architecture.strided is None and not published:
        _set_output_stride([layer for stage in stages for layer in stage], output_stride)
    channels = architecture.cut_channels if cut and architecture.cut_channels else architecture.out_channels
    layers = architecture.neck.layers if architecture.neck else 0
    if architecture.neck and not neck:
        del stages[-1][-layers:]
        channels = architecture.neck.in_channels
    return Backbone(
        [nn.Sequential(*stage) for stage in stages],
        out_channels=channels,
        output_stride=output_stride,
        frozen_stages=freeze_stages,
        frozen_bn=freeze_bn,
        neck=layers if neck else 0,
        neck_left_out=0 if neck else layers,
        published=published,
    )


def _check_choice(
    name: str, architecture: Architecture, output_stride: int, freeze_stages: int, *, cut: bool, published: bool
) -> None:
    """Refuse what `build_backbone` cannot make of a network; raises InputError."""
    if output_stride not in OUTPUT_STRIDES:
        raise InputError(f"output_stride {output_stride} is not possible; choose 8, 16 or 32.")
    if not 0 <= freeze_stages <= NUM_STAGES:
        raise InputError(f"freeze_stages {freeze_stages} is not possible; choose 0 to {NUM_STAGES}.")
    if cut and architecture.cut_channels is None:
        known = ", ".join(key for key, backbone in BACKBONES.items() if backbone.cut)
        raise InputError(f"{name} is not among the networks that the CAM paper cuts ({known}).")
    if cut and output_stride == max(OUTPUT_STRIDES):
        raise InputError(f"output_stride {output_stride} is not possible with {name} cut at stride 16; choose 8 or 16.")
    if published and (architecture.published is None or cut or output_stride != max(OUTPUT_STRIDES)):
        known = " and ".join(key for key, line in BACKBONES.items() if line.own_head)
        raise InputError(
            f"{name}, output_stride {output_stride}: padded as published are {known}, whole, at stride 32."
        )


def load_strictly(module: nn.Module, state: Mapping[str, Any], source: str) -> None:
    """Copy a state_dict into `module`, whatever its floating-point type, when it fits exactly.

    `num_batches_tracked` may be missing: files from before PyTorch 0.4.1 do not have it.

    Raises:
        InputError: a key is missing or unexpected, a shape or the kind of number differs, or a value is no number;
            names `source` and the first of them.
    """
    own = module.state_dict()
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [str(key) for key in state if key not in own or not isinstance(state[key], Tensor)]
    wrong = [key for key, value in own.items() if key in state and not _holds_numbers(state[key], value)]
    shapes = [
        f"{key} is {tuple(state[key].shape)} and not {tuple(value.shape)}"
        for key, value in own.items()
        if isinstance(state.get(key), Tensor) and state[key].shape != value.shape
    ]
    faults = [
        f"{len(keys)} {kind} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"
        for kind, keys in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape", shapes),
            ("without proper numbers", wrong),
        )
        if keys
    ]
    if faults:
        raise InputError(
            f"{source}: does not fit this network: keys {'; '.join(faults)}; choose the file that belongs to it."
        )
    module.load_state_dict(dict(state))  # a plain dict has no version, so old batch norms get their missing counter


def _holds_numbers(value: Any, own: Tensor) -> bool:
    """Whether a tensor's numbers are finite and of the kind of `own`'s; what is no tensor is another fault."""
    if not isinstance(value, Tensor) or value.is_meta:  # without memory: names and shapes alone are compared
        return True
    plain = value.layout == torch.strided and not value.is_quantized and not value.is_complex()
    if not plain or value.is_floating_point() != own.is_floating_point():
        return False
    return bool(torch.isfinite(value).all())


def vgg16_fc(weights: str | Path, channels: int = 1024) -> dict[str, Tensor]:
    """fc6 and fc7 of an ImageNet VGG16 as convolutions, subsampled as DeepLab's authors did.

    fc6, 4096 filters of 7 x 7, keeps every (4096 / channels)-th filter and every third row and column; fc7 keeps
    the same filters and the inputs that are left. (Chen et al. 2015, "Semantic image segmentation with deep
    convolutional nets and fully connected CRFs", Sect. 3.1, and the fc-reduced model they released.)

    Args:
        weights: As in `build_backbone`, but not None.
        channels: How many of the 4096 filters to keep; a divisor of 4096.

    Returns:
        "fc6.weight" (channels, 512, 3, 3), "fc6.bias" (channels,), "fc7.weight" (channels, channels, 1, 1) and
        "fc7.bias" (channels,), float32.

    Raises:
        InputError: `channels` does not divide 4096, or the file has no such layers.
    """
    if channels < 1 or 4096 % channels:
        raise InputError(f"channels {channels} cannot be drawn from VGG16's 4096 evenly; use 1024 or a power of two.")
    state = read_weights("vgg16", weights)
    shapes = {
        "classifier.0.weight": (4096, 25088),
        "classifier.0.bias": (4096,),
        "classifier.3.weight": (4096, 4096),
        "classifier.3.bias": (4096,),
    }
    for key, shape in shapes.items():
        if not isinstance(state.get(key), Tensor) or tuple(state[key].shape) != shape:
            raise InputError(
                f"{weights}: has no {key} of shape {shape} to start fc6 and fc7 from; "
                "use torchvision's whole vgg16 file or set channels to 0."
            )
    step = 4096 // channels
    fc6, fc6_bias, fc7, fc7_bias = (state[key] for key in shapes)
    tensors = {
        "fc6.weight": fc6.view(4096, 512, 7, 7)[::step, :, ::3, ::3],
        "fc6.bias": fc6_bias[::step],
        "fc7.weight": fc7[::step, ::step, None, None],
        "fc7.bias": fc7_bias[::step],
    }
    return {key: value.float().clone() for key, value in tensors.items()}  # copies: let go of the 500 MB behind


def architecture_of(name: str) -> Architecture:
    """The architecture of a backbone; raises InputError where the name is not known."""
    try:
        found = tables.part(tables.backbone(name).place)
    except KeyError:
        known = ", ".join([*BACKBONES, *(f"{beginning}<name>" for beginning in tables.BACKBONE_FAMILIES)])
        raise InputError(f"the backbone '{name}' is not known; choose one of {known}.") from None
    architecture: Architecture = found if isinstance(found, Architecture) else found(name)
    return architecture


def read_weights(name: str, weights: str | Path) -> Mapping[str, Any]:
    """torchvision's state_dict of the network `name`, downloaded or from a file, without wrappers and prefixes."""
    download = architecture_of(name).download
    if download is not None and str(weights) in tables.NAMED_WEIGHTS:
        return download()
    if str(weights) == "torchvision":
        from torchvision.models import get_model_weights

        try:
            entry = get_model_weights(name).IMAGENET1K_V1
            # The hash is that of the download alone: a file of the cache is read as a stranger's too.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch's advice on pickles of other programs
                downloaded: Mapping[str, Any] = entry.get_state_dict(check_hash=True, weights_only=True)
            return downloaded
        # No network, no space, a corrupt download; or a file of the cache (~/.cache/torch) that is broken.
        except (OSError, RuntimeError, HTTPException, EOFError, UnpicklingError, KeyError, ValueError) as error:
            raise InputError(
                f"torchvision's weights of {name} could not be downloaded or read ({reason(error)}); "
                "give the path of a state_dict file as weights."
            ) from None
    state: Any = load_checkpoint(weights)
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not state or not all(isinstance(key, str) for key in state):
        raise InputError(f"{weights}: holds no state_dict; give one in the layout of torchvision's {name}.")
    # "module.": saved from inside DataParallel
    prefix = "module." if all(key.startswith("module.") for key in state) else ""
    return {key.removeprefix(prefix): value for key, value in state.items()}


def _set_output_stride(blocks: Sequence[nn.Module], output_stride: int) -> None:
    """Turn every halving beyond `output_stride` into dilation, in place.

    A block (a residual or inception block, or a single layer) halves at most once, in its main path and its shortcut
    together; only AlexNet's first convolution halves twice. The layer that loses its stride keeps the dilation in
    force; the kernels after it are spread twice as far. So the output, subsampled, is that of the network as published.

    Args:
        blocks: The whole network's blocks in forward order, their layers registered in forward order.
        output_stride: The stride to stop at.
    """
    stride = dilation = 1
    for block in blocks:
        layers = [layer for layer in block.modules() if isinstance(layer, nn.Conv2d | nn.MaxPool2d)]
        factor = max((_stride(layer) for layer in layers), default=1)
        remove = factor > 1 and stride == output_stride
        if not remove:
            stride *= factor
        following = dilation
        for layer in layers:
            if isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1):
                layer.dilation = (following, following)
                layer.padding = (layer.kernel_size[0] // 2 * following, layer.kernel_size[1] // 2 * following)
            elif isinstance(layer, RectifiedMaxPool2d):
                layer.dilation = following
            # other pools stay dense, as DeepLab's pool5: at output stride 8 this is where VGG16 leaves the identity
            if remove and _stride(layer) > 1:
                layer.stride = (1, 1)
                following = 2 * dilation
        dilation = following


def _stride(layer: nn.Conv2d | nn.MaxPool2d) -> int:
    return layer.stride if isinstance(layer.stride, int) else layer.stride[0]


def _remove_last_halving(stages: Stages) -> None:
    """Take the last layer with a stride, and what follows it, off the last stage, in place."""
    last = stages[-1]
    halves = [isinstance(layer, nn.Conv2d | nn.MaxPool2d) and _stride(layer) > 1 for layer in last]
    del last[halves.index(True) :]
