"""The classifier: shapes, the identity between CAM and logit, frozen layers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dsrg.errors import InputError
from dsrg.models.build import build_classifier
from dsrg.models.classifier import Classifier


class TinyBackbone(nn.Sequential):
    """One strided convolution: 7 feature channels."""

    out_channels = 7

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 7, 3, stride=2, padding=1), nn.ReLU())


def _tiny(**options) -> Classifier:
    torch.manual_seed(0)
    model = Classifier(TinyBackbone(), 4, **options).double()
    nn.init.normal_(model.linear.bias)
    return model


@pytest.mark.parametrize("pooling", ["avg", "max"])
def test_shapes_and_gradients(pooling: str) -> None:
    model = _tiny(pooling=pooling)
    images = torch.randn(2, 3, 9, 12, dtype=torch.float64)
    assert model.activation_maps(images).shape == (2, 4, 5, 6)
    logits = model(images)
    assert logits.shape == (2, 4)
    logits.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_mean_of_the_map_and_bias_is_the_logit() -> None:
    model = _tiny(pooling="avg", dropout=0.5).eval()
    images = torch.randn(3, 3, 10, 8, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(model.activation_maps(images).mean(dim=(2, 3)) + model.linear.bias, model(images))


def test_max_pooling_takes_each_features_maximum() -> None:
    model = _tiny(pooling="max")
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        peaks = model.backbone(images).flatten(2).max(dim=2).values
        torch.testing.assert_close(model(images), model.linear(peaks))


def test_maps_keep_negative_values_and_have_no_dropout() -> None:
    model = _tiny(dropout=0.9).train()
    images = torch.randn(1, 3, 16, 16, dtype=torch.float64)
    maps = model.activation_maps(images)
    assert maps.min() < 0
    assert torch.equal(maps, model.activation_maps(images))


def test_unknown_pooling_is_refused() -> None:
    with pytest.raises(InputError, match="'sum'.*avg, max"):
        Classifier(TinyBackbone(), 4, pooling="sum")


def test_built_classifier_counts_background_and_stays_frozen() -> None:
    model = build_classifier(
        backbone="resnet18",
        num_classes=7,
        output_stride=16,
        weights=None,
        pooling="avg",
        dropout=0.0,
        freeze_bn=True,
        freeze_stages=1,
    ).train()
    assert model(torch.randn(2, 3, 33, 33)).shape == (2, 6)
    assert not any(m.training for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    assert not any(p.requires_grad for p in model.backbone.stages[0].parameters())
    assert model.last_layers == [model.linear]
