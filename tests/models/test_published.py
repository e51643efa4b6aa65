"""The networks of the CAM paper's tables that have heads of their own, and NIN: published sizes, torchvision's bits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional

from dsrg import config, explain
from dsrg.errors import InputError
from dsrg.models.backbone import build_backbone
from dsrg.models.build import Head, build_classifier, build_deeplab, load_backbone_from

IMAGENET = 1001
"""Classes of ImageNet with background, which has no logit."""


@pytest.mark.parametrize(
    ("backbone", "head", "parameters", "grid"),
    [
        # torchvision's own counts
        ("alexnet", Head("own"), 61_100_840, (256, 6, 6)),
        ("vgg16", Head("own"), 138_357_544, (512, 7, 7)),
        ("googlenet", Head(), 6_624_904, (1024, 8, 8)),
        # 7.6 million: the 29 MB of the model that the authors released
        ("nin", Head(), 7_595_176, (1024, 8, 8)),
        # what stays of torchvision's, the paper's 3 x 3 convolutions, and a linear layer from them
        ("alexnet", Head(conv=1024), 2_469_696 + 9 * 256 * 1024 + 1024 + 1025 * 1000, (1024, 15, 15)),
        ("alexnet", Head(conv=512, convs=2), 2_469_696 + 9 * 768 * 512 + 2 * 512 + 513 * 1000, (512, 15, 15)),
        ("vgg16", Head(conv=1024), 14_714_688 + 9 * 512 * 1024 + 1024 + 1025 * 1000, (1024, 15, 15)),
    ],
)
def test_parameters_and_grid(backbone: str, head: Head, parameters: int, grid: tuple[int, int, int]) -> None:
    """At 225 pixels, which is the papers' 224 on the grid."""
    stride = 16 if head.cuts else 32
    with torch.device("meta"):
        model = build_classifier(backbone=backbone, num_classes=IMAGENET, output_stride=stride, head=head)
        images = torch.empty(2, 3, 225, 225)
        assert model.features(images).shape == (2, *grid)
        assert model(images).shape == (2, 1000)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_a_second_convolution_reads_the_first() -> None:
    torch.manual_seed(0)
    model = build_classifier(backbone="alexnet", num_classes=4, head=Head(conv=6, convs=3)).eval()
    images = torch.randn(1, 3, 33, 49)
    with torch.no_grad():
        features = model.backbone(images)
        for layer in model.conv[::2]:
            features = functional.conv2d(features, layer.weight, layer.bias, padding=1).clamp(min=0)
        torch.testing.assert_close(model.features(images), features)
        maps = model.activation_maps(images)
        torch.testing.assert_close(maps.mean(dim=(2, 3)) + model.linear.bias, model(images))
    assert [tuple(layer.weight.shape) for layer in model.conv[::2]] == [(6, 256, 3, 3), (6, 6, 3, 3), (6, 6, 3, 3)]
    assert model.last_layers == [model.conv, model.linear]


def test_nin_is_its_layers_one_after_the_other() -> None:
    torch.manual_seed(0)
    net = build_backbone("nin", output_stride=32).eval()
    features = images = torch.randn(1, 3, 65, 97)
    convolutions = iter(layer for layer in net.modules() if isinstance(layer, nn.Conv2d))
    filters = []
    with torch.no_grad():
        for block, (stride, padding, further) in enumerate(((4, 5, 2), (1, 2, 2), (1, 1, 2), (1, 1, 1))):
            if block:
                features = functional.max_pool2d(features, 3, 2, 1)  # of values that are not negative
            for number in range(1 + further):
                layer = next(convolutions)
                filters.append(layer.out_channels)
                where = (stride, padding) if number == 0 else (1, 0)
                features = functional.conv2d(features, layer.weight, layer.bias, *where).clamp(min=0)
        torch.testing.assert_close(net(images), features, rtol=1e-5, atol=1e-5)
    assert filters == [96] * 3 + [256] * 3 + [384] * 3 + [1024] * 2
    assert next(convolutions, None) is None


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    """torchvision's AlexNet for seven classes with random weights, and their file."""
    torch.manual_seed(0)
    network = torchvision.models.alexnet(weights=None, num_classes=7).eval()
    path = tmp_path_factory.mktemp("weights") / "alexnet.pth"
    torch.save(network.state_dict(), path)
    return path, network


def test_alexnet_with_its_own_head_equals_torchvision(alexnet: tuple[Path, nn.Module]) -> None:
    path, network = alexnet
    arguments = {"backbone": "alexnet", "num_classes": 8, "output_stride": 32, "head": Head("own")}
    model = build_classifier(**arguments, weights=path).eval()
    with torch.no_grad():  # the last layer is that of the data set's classes
        model.linear.weight.copy_(network.classifier[-1].weight)
        model.linear.bias.copy_(network.classifier[-1].bias)
        for size in ((225, 225), (193, 257)):
            images = torch.randn(2, 3, *size)
            torch.testing.assert_close(model(images), network(images))
            torch.testing.assert_close(model.classify(model.features(images)), network(images))
    assert model.last_layers == [model.linear]
    images = torch.randn(1, 3, 225, 225)
    assert explain.grad_cam(model, images, torch.tensor([[0, 6]])).shape == (1, 2, 6, 6)
    with pytest.raises(ValueError, match="use grad_cam"):
        explain.cam(model, images, torch.tensor([[0]]))
    segmenter = build_deeplab(backbone="alexnet", num_classes=8, channels=0)
    load_backbone_from(segmenter, model.state_dict())
    assert torch.equal(segmenter.backbone.stages[1][0].weight, network.features[0].weight)


def test_weights_that_do_not_fit_the_own_head_are_refused(alexnet: tuple[Path, nn.Module], tmp_path: Path) -> None:
    state = dict(alexnet[1].state_dict())
    del state["classifier.4.bias"]
    torch.save(state, tmp_path / "short.pth")
    arguments = {"num_classes": 8, "output_stride": 32, "head": Head("own")}
    with pytest.raises(InputError, match=r"short\.pth \(fully connected layers of alexnet\).*classifier\.4\.bias"):
        build_classifier(backbone="alexnet", weights=tmp_path / "short.pth", **arguments)
    with pytest.raises(InputError, match="googlenet's own head is global pooling and one linear layer"):
        build_classifier(backbone="googlenet", **arguments)
    with pytest.raises(InputError, match="alexnet, output_stride 16: padded as published are vgg16 and alexnet"):
        build_backbone("alexnet", output_stride=16, published=True)


def test_settings_of_the_heads() -> None:
    own = ["classifier.head=own", "seeds.source=grad_cam", "classifier.size=225"]
    fitting = ["model.backbone=alexnet", "classifier.output_stride=32"]
    assert config.load(None, [*own, *fitting]).classifier.head == "own"
    for words, said in (
        ([*own, "model.backbone=resnet18", "classifier.output_stride=32"], "own is for vgg16 and alexnet"),
        ([*own, "model.backbone=alexnet"], r"classifier\.output_stride = 16: classifier\.head = own has alexnet's own"),
        ([*own, *fitting, "cam.output_stride=16"], r"cam\.output_stride = 16"),
        ([*own, *fitting, "classifier.conv=8"], "head = own has fully connected layers"),
        ([*own, *fitting, "test.gate=true"], r"test\.gate needs classifier\.head = gap or acol"),
        (["classifier.convs=2"], "convs = 2 needs conv"),
        ([*fitting, "classifier.head=own", "classifier.size=225"], r"seeds\.source = cam needs"),
    ):
        with pytest.raises(InputError, match=said):
            config.load(None, words)
