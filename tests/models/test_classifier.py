"""The classifier: shapes, the identity between CAM and logit, frozen layers."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from dsrg.errors import InputError
from dsrg.models.build import Head, build_classifier, build_deeplab
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


@pytest.mark.parametrize("conv", [0, 5])
def test_the_identity_holds_with_the_papers_convolution(conv: int) -> None:
    """Against the sum over filters and cells that the paper writes, of features made with torch's own functions."""
    model = _tiny(pooling="avg", conv=conv).eval()
    images = torch.randn(2, 3, 9, 12, dtype=torch.float64)
    with torch.no_grad():
        features = model.backbone(images)
        if conv:
            layer = model.conv[0]
            assert layer.weight.shape == (5, 7, 3, 3)
            features = functional.conv2d(features, layer.weight, layer.bias, stride=1, padding=1).clamp(min=0)
        torch.testing.assert_close(model.features(images), features)
        maps = model.activation_maps(images)
        assert maps.shape == (2, 4, *features.shape[2:])
        for k in range(4):
            naive = sum(model.linear.weight[k, f] * features[:, f] for f in range(features.shape[1]))
            torch.testing.assert_close(maps[:, k], naive)
            torch.testing.assert_close(naive.mean(dim=(1, 2)) + model.linear.bias[k], model(images)[:, k])


@pytest.mark.parametrize("pooling", ["avg", "max"])
def test_forward_is_classify_of_features(pooling: str) -> None:
    model = _tiny(pooling=pooling, conv=6).eval()
    images = torch.randn(2, 3, 9, 12, dtype=torch.float64)
    assert torch.equal(model.classify(model.features(images)), model(images))


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
        freeze_bn=True,
        freeze_stages=1,
    ).train()
    assert model(torch.randn(2, 3, 33, 33)).shape == (2, 6)
    assert not any(m.training for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    assert not any(p.requires_grad for p in model.backbone.stages[0].parameters())
    assert model.last_layers == [model.linear]


def test_a_checkpoint_of_a_plain_classifier_holds_backbone_and_linear_alone() -> None:
    """The names that runs from before the other heads have on disk."""
    with torch.device("meta"):
        model = build_classifier(backbone="vgg16", num_classes=7)
    assert {key.partition(".")[0] for key in model.state_dict()} == {"backbone", "linear"}
    assert model.backbone.out_channels == model.linear.in_features == 512


@pytest.mark.parametrize("stride", [8, 16])
@pytest.mark.parametrize(
    ("backbone", "depth"), [("alexnet", 256), ("vgg16", 512), ("googlenet", 832), ("resnet18", 512)]
)
def test_convolution_and_acol_follow_the_cut_backbone(backbone: str, depth: int, stride: int) -> None:
    """At 224 pixels VGG16 and GoogLeNet have the paper's 14 x 14 cells."""
    with torch.device("meta"):
        images = torch.empty(2, 3, 224, 224)
        classifier = build_classifier(backbone=backbone, num_classes=7, output_stride=stride, head=Head(conv=1024))
        acol = build_classifier(backbone=backbone, num_classes=7, output_stride=stride, head=Head("acol", channels=64))
        assert classifier.features(images).shape == (2, 1024, 224 // stride, 224 // stride)
        assert acol.features(images).shape == (2, depth, 224 // stride, 224 // stride)
        for model in (classifier, acol):
            assert model.activation_maps(images).shape == (2, 6, 224 // stride, 224 // stride)
            assert model(images).shape == (2, 6)
    assert classifier.conv[0].in_channels == depth
    assert classifier.last_layers == [classifier.conv, classifier.linear]
    assert acol.branch_b[1][0].weight.shape == (64, 64, 3, 3)


def test_unknown_head_is_refused() -> None:
    with pytest.raises(InputError, match="'spg'.*gap, acol"):
        build_classifier(backbone="resnet18", num_classes=7, head=Head("spg"))


@pytest.mark.parametrize("head", [Head(conv=8), Head("acol", channels=8)])
def test_a_segmenter_starts_at_a_cut_vgg16(head: Head) -> None:
    """What VGG16 loses by the cut, pool5, has no parameters."""
    with torch.device("meta"):
        classifier = build_classifier(backbone="vgg16", num_classes=7, head=head)
        names = [key for key in classifier.state_dict() if key.startswith("backbone.")]
        whole = build_deeplab(backbone="vgg16", num_classes=7, channels=0)
    assert names == [key for key in whole.state_dict() if key.startswith("backbone.")]
