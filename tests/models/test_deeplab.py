"""The segmentation network: shapes, the sum of branches, initial values, size, weights from the classifier."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torchvision
from torch import Tensor, nn

from dsrg.errors import InputError
from dsrg.models import backbone as backbone_module
from dsrg.models.build import build_classifier, build_deeplab, load_backbone_from
from dsrg.models.deeplab import DeepLab


class TinyBackbone(nn.Sequential):
    """One strided convolution: 5 feature channels."""

    out_channels = 5

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 5, 3, stride=2, padding=1), nn.ReLU())


@pytest.mark.parametrize("channels", [0, 8])
def test_shapes_and_gradients(channels: int) -> None:
    torch.manual_seed(0)
    model = DeepLab(TinyBackbone(), 3, rates=(1, 2), channels=channels, dropout=0.1).train()
    logits = model(torch.randn(2, 3, 13, 10))
    assert logits.shape == (2, 3, 7, 5)
    logits.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize("channels", [0, 8])
def test_logits_are_the_sum_of_the_branches(channels: int) -> None:
    torch.manual_seed(0)
    model = DeepLab(TinyBackbone(), 3, rates=(1, 2, 3), channels=channels).eval()
    images = torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        features = model.backbone(images)
        expected = torch.stack([branch(features) for branch in model.branches]).sum(dim=0)
        torch.testing.assert_close(model(images), expected)


def test_pooled_features_are_means_over_nine_cells() -> None:
    torch.manual_seed(0)
    model = DeepLab(TinyBackbone(), 3, rates=(1,), channels=0, pool_features=True).eval()
    images = torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        features = model.backbone(images)
        padded = nn.functional.pad(features, (1, 1, 1, 1))
        mean = torch.stack([padded[..., y : y + 8, x : x + 8] for y in range(3) for x in range(3)]).mean(dim=0)
        torch.testing.assert_close(model(images), model.branches[0](mean))
        model.pool_features = False
        assert not torch.allclose(model(images), model.branches[0](mean))


def test_branch_has_its_rate() -> None:
    deep = DeepLab(TinyBackbone(), 3, rates=(6, 12), channels=8)
    single = DeepLab(TinyBackbone(), 3, rates=(6, 12), channels=0)
    assert [(b.fc6.dilation, b.fc6.padding) for b in deep.branches] == [((6, 6), (6, 6)), ((12, 12), (12, 12))]
    assert [(b.dilation, b.padding) for b in single.branches] == [((6, 6), (6, 6)), ((12, 12), (12, 12))]
    assert deep.last_layers == [branch.fc8 for branch in deep.branches]
    assert single.last_layers == list(single.branches)


@pytest.mark.parametrize("channels", [0, 512])
def test_last_layers_start_small(channels: int) -> None:
    torch.manual_seed(0)
    model = DeepLab(TinyBackbone(), 21, rates=(6, 12), channels=channels)
    for layer in model.last_layers:
        assert layer.weight.std().item() == pytest.approx(0.01, rel=0.1)
        assert layer.bias.count_nonzero() == 0


def test_every_branch_gets_a_copy_of_fc() -> None:
    torch.manual_seed(0)
    model = DeepLab(TinyBackbone(), 3, rates=(1, 2), channels=8)
    shapes = {"fc6.weight": (8, 5, 3, 3), "fc6.bias": (8,), "fc7.weight": (8, 8, 1, 1), "fc7.bias": (8,)}
    tensors = {key: torch.randn(shape) for key, shape in shapes.items()}
    model.copy_fc(tensors)
    for branch in model.branches:
        assert all(torch.equal(branch.get_parameter(key), value) for key, value in tensors.items())
    with torch.no_grad():
        model.branches[0].fc6.weight.zero_()
    assert model.branches[1].fc6.weight.count_nonzero() and tensors["fc6.weight"].count_nonzero()


def test_vgg16_aspp_parameter_count() -> None:
    """VGG16-ASPP with 21 classes has 37,877,652 parameters.

    13 convolutions of VGG16, 14,714,688; and 4 branches of fc6 512 x 9 x 1024 + 1024, fc7 1024 x 1024 + 1024,
    fc8 1024 x 21 + 21, 5,790,741 each.
    """
    widths = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    convs = sum(9 * before * after + after for before, after in pairwise(widths))
    branch = (512 * 9 * 1024 + 1024) + (1024 * 1024 + 1024) + (1024 * 21 + 21)
    with torch.device("meta"):
        model = build_deeplab(
            backbone="vgg16",
            num_classes=21,
            output_stride=8,
            weights=None,
            rates=(6, 12, 18, 24),
            channels=1024,
            dropout=0.5,
            freeze_bn=False,
            freeze_stages=0,
        )
        assert model(torch.empty(1, 3, 321, 321)).shape == (1, 21, 41, 41)
    assert sum(p.numel() for p in model.parameters()) == convs + 4 * branch == 37_877_652


def test_vgg16_weights_reach_backbone_and_branches(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.device("meta"):
        shapes = {key: v.shape for key, v in torchvision.models.vgg16(weights=None).state_dict().items()}
    # one random number a layer, expanded: the head's 124 million take no memory
    state: dict[str, Tensor] = {key: torch.rand(1).expand(shape) for key, shape in shapes.items()}
    monkeypatch.setattr(backbone_module, "load_checkpoint", lambda path: state)
    model = build_deeplab(backbone="vgg16", num_classes=3, weights="vgg16.pth", rates=(6, 12), channels=64)
    assert (model.backbone.stages[4][0].weight == state["features.24.weight"][0, 0, 0, 0]).all()
    for branch in model.branches:
        assert (branch.fc6.weight == state["classifier.0.weight"][0, 0]).all()
        assert (branch.fc6.bias == state["classifier.0.bias"][0]).all()
        assert (branch.fc7.weight == state["classifier.3.weight"][0, 0]).all()
        assert (branch.fc7.bias == state["classifier.3.bias"][0]).all()


def test_backbone_of_a_classifier_moves_across_strides() -> None:
    torch.manual_seed(0)
    classifier = build_classifier(backbone="mobilenet_v2", num_classes=3, output_stride=16)
    model = build_deeplab(backbone="mobilenet_v2", num_classes=3, output_stride=8, channels=8, rates=(1,))
    load_backbone_from(model, classifier.state_dict())
    own, other = model.backbone.state_dict(), classifier.backbone.state_dict()
    assert own.keys() == other.keys() and all(torch.equal(own[key], other[key]) for key in own)


def test_another_backbone_is_refused() -> None:
    model = build_deeplab(backbone="mobilenet_v2", num_classes=3, channels=8, rates=(1,))
    classifier = build_classifier(backbone="resnet18", num_classes=3)
    with pytest.raises(InputError, match="classifier.pt: does not fit.*missing"):
        load_backbone_from(model, classifier.state_dict(), "classifier.pt")
    with pytest.raises(InputError, match="backbone"):
        load_backbone_from(model, {"linear.weight": torch.zeros(1)})


def test_standardised_features_do_not_depend_on_their_scale() -> None:
    class Scaled(TinyBackbone):
        factor = 1.0

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            features: torch.Tensor = super().forward(images) * self.factor
            return features

    backbone = Scaled()
    model = DeepLab(backbone, 3, rates=(1,), channels=0, standardise=True).train()
    images = torch.randn(4, 3, 33, 33)
    expected = model(images)
    backbone.factor = 1000.0
    torch.testing.assert_close(model(images), expected, atol=1e-4, rtol=1e-3)
    own = backbone(images)
    by_hand = (own - own.mean((0, 2, 3), keepdim=True)) / own.var((0, 2, 3), keepdim=True, unbiased=False).sqrt()
    torch.testing.assert_close(model.branches[0](by_hand), model(images), atol=1e-4, rtol=1e-3)
