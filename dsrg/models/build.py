"""Wire the networks' parts together, by keyword."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from dsrg import tables
from dsrg.errors import InputError
from dsrg.models.acol import ACoL
from dsrg.models.backbone import Backbone, build_backbone, load_strictly, vgg16_fc
from dsrg.models.classifier import Classifier
from dsrg.models.deeplab import DeepLab
from dsrg.models.own_head import OwnHead, hidden_layers

HEADS = ("gap", "acol", "own")
AnyClassifier: TypeAlias = Classifier | ACoL | OwnHead


@dataclass(frozen=True)
class Head:
    """What stands on a classifier's features."""

    kind: str = "gap"
    """"gap" for `Classifier`, "acol" for `ACoL`, "own" for `OwnHead`."""
    pooling: str = "avg"
    """As in `Classifier`, like the following three."""
    dropout: float = 0.0
    conv: int = 0
    convs: int = 1
    channels: int = 1024
    """As in `ACoL`, like the following."""
    threshold: float = 0.6

    @property
    def cuts(self) -> bool:
        """Whether it has convolutions of its own, under which some backbones lose their last halving."""
        return self.kind == "acol" or self.conv > 0


def build_classifier(
    *,
    backbone: str,
    num_classes: int,
    output_stride: int = 16,
    weights: str | Path | None = None,
    head: Head = Head(),
    freeze_bn: bool = False,
    freeze_stages: int = 0,
) -> AnyClassifier:
    """The classifier of stage 1.

    With convolutions of its own before the pooling (`Head.cuts`), AlexNet, VGG16 and GoogLeNet are
    cut off before their last halving, as the CAM and ACoL papers do; the other backbones stay whole.

    Args:
        backbone, output_stride, weights, freeze_bn, freeze_stages: As in `build_backbone`.
        num_classes: C, background included; the classifier gives K = C - 1 logits.
        head: What stands on the features.

    Raises:
        InputError: an argument is not possible, or the weights do not fit.
    """
    if head.kind not in HEADS:
        raise InputError(f"the head '{head.kind}' is not known; choose one of {', '.join(HEADS)}.")
    hidden = hidden_layers(backbone, weights) if head.kind == "own" else None
    features = build_backbone(
        backbone,
        output_stride=output_stride,
        weights=weights,
        freeze_stages=freeze_stages,
        freeze_bn=freeze_bn,
        cut=tables.backbone(backbone).cut and head.cuts,
        published=head.kind == "own",
    )
    if hidden is not None:
        return OwnHead(features, hidden, num_classes - 1)
    if head.kind == "acol":
        return ACoL(features, num_classes - 1, channels=head.channels, threshold=head.threshold)
    return Classifier(
        features, num_classes - 1, pooling=head.pooling, dropout=head.dropout, conv=head.conv, convs=head.convs
    )


def build_deeplab(
    *,
    backbone: str,
    num_classes: int,
    output_stride: int = 8,
    weights: str | Path | None = None,
    rates: Sequence[int] = (6, 12, 18, 24),
    channels: int = 1024,
    dropout: float = 0.5,
    pool_features: bool = False,
    standardise: bool = False,
    neck: bool = True,
    freeze_bn: bool = False,
    freeze_stages: int = 0,
) -> DeepLab:
    """The segmentation network. With VGG16's weights, fc6 and fc7 of every branch start from them too.

    Args:
        backbone, output_stride, weights, freeze_bn, freeze_stages, neck: As in `build_backbone`.
        num_classes: C, background included.
        rates, channels, dropout, pool_features, standardise: As in `DeepLab`.

    Raises:
        InputError: an argument is not possible, or the weights do not fit.
    """
    features = build_backbone(
        backbone,
        output_stride=output_stride,
        weights=weights,
        freeze_stages=freeze_stages,
        freeze_bn=freeze_bn,
        neck=neck,
    )
    model = DeepLab(
        features,
        num_classes,
        rates=rates,
        channels=channels,
        dropout=dropout,
        pool_features=pool_features,
        standardise=standardise,
    )
    if tables.backbone(backbone).fc and weights is not None and channels:
        model.copy_fc(vgg16_fc(weights, channels))
    return model


def load_backbone_from(
    model: AnyClassifier | DeepLab, checkpoint_state_dict: Mapping[str, Any], source: str = "the checkpoint"
) -> None:
    """Copy the backbone of a trained network (of a classifier, say) into `model.backbone`.

    Args:
        model: A network of this module with the same backbone; output strides may differ.
        checkpoint_state_dict: The other network's state_dict; only its "backbone.*" entries are read.
        source: The file it comes from, for errors.

    Raises:
        InputError: there are no such entries, or they belong to another backbone.
    """
    prefix = "backbone."
    state = {key.removeprefix(prefix): v for key, v in checkpoint_state_dict.items() if key.startswith(prefix)}
    if not state:
        raise InputError(f"{source}: holds no 'backbone.*' tensors; give the checkpoint of a classifier.")
    backbone: Backbone = model.backbone  # type: ignore[assignment]  # nn.Module types attributes as tensors
    last, body = len(backbone.stages) - 1, len(backbone.stages[-1])  # type: ignore[arg-type]  # and members as modules
    for layer in range(body, body + backbone.neck_left_out):
        state = {key: value for key, value in state.items() if not key.startswith(f"stages.{last}.{layer}.")}
    load_strictly(backbone, state, source)
