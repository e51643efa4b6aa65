"""Backbones of timm: their own features, at every output stride, under the names of their files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dsrg.errors import InputError
from dsrg.models.backbone import build_backbone
from dsrg.models.layers import IMAGENET_MEAN, IMAGENET_STD

timm = pytest.importorskip("timm")
LITE = "tf_efficientnet_lite0"
PATCHES = "convnext_atto"


def normalised(images: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    return (images - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


@pytest.mark.parametrize("stride", [8, 16, 32])
@pytest.mark.parametrize("name", [LITE, "resnet18", "mobilenetv2_100"])
def test_the_features_are_timms_own(tmp_path: Path, name: str, stride: int) -> None:
    torch.manual_seed(0)
    theirs = timm.create_model(name, pretrained=False, output_stride=stride).eval()
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    own = build_backbone(f"timm/{name}", output_stride=stride, weights=tmp_path / "weights.pth").eval()
    images = torch.rand(2, 3, 33, 65)
    config = theirs.pretrained_cfg
    with torch.no_grad():
        expected = theirs.forward_features(normalised(images, config["mean"], config["std"]))
        found = own(normalised(images, IMAGENET_MEAN, IMAGENET_STD))
    assert found.shape == (2, theirs.num_features, 32 // stride + 1, 64 // stride + 1)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_patches_give_the_same_features_at_every_stride(tmp_path: Path) -> None:
    """ConvNeXt: timm's own on mirrored edges at stride 32, of which every other stride is a finer sampling."""
    torch.manual_seed(0)
    theirs = timm.create_model(PATCHES, pretrained=False).eval()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.1)  # their initial scales of 1e-6 would hide a layer that is left out
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    images = torch.rand(2, 3, 97, 129)
    config = theirs.pretrained_cfg
    padded = torch.from_numpy(np.pad(images.numpy(), ((0, 0), (0, 0), (15, 16), (15, 16)), mode="reflect"))
    with torch.no_grad():
        expected = theirs.forward_features(normalised(padded, config["mean"], config["std"]))
    for stride in (32, 16, 8):
        own = build_backbone(f"timm/{PATCHES}", output_stride=stride, weights=tmp_path / "weights.pth").eval()
        with torch.no_grad():
            found = own(normalised(images, IMAGENET_MEAN, IMAGENET_STD))
        assert found.shape == (2, theirs.num_features, 96 // stride + 1, 128 // stride + 1)
        torch.testing.assert_close(found[:, :, :: 32 // stride, :: 32 // stride], expected, atol=1e-3, rtol=1e-3)


def test_every_stage_ends_at_its_stride() -> None:
    with torch.device("meta"):
        backbone = build_backbone(f"timm/{LITE}", output_stride=32)
        features = torch.empty(1, 3, 65, 65)
        for number, stage in enumerate(backbone.stages, 1):
            features = stage(features)
            assert features.shape[2] == 64 // 2**number + 1
    assert any(isinstance(layer, nn.Conv2d) and layer.out_channels == 1280 for layer in backbone.stages[4].modules())


def test_frozen_stages_stay_frozen() -> None:
    backbone = build_backbone(f"timm/{LITE}", output_stride=16, freeze_stages=5).train()
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert not any(layer.training for layer in backbone.modules() if isinstance(layer, nn.BatchNorm2d))


def test_half_precision_safetensors_are_read(tmp_path: Path) -> None:
    theirs = timm.create_model(LITE, pretrained=False)
    state = {key: value.half() if value.is_floating_point() else value for key, value in theirs.state_dict().items()}
    save_file(state, tmp_path / "weights.safetensors")
    own = build_backbone(f"timm/{LITE}", output_stride=16, weights=tmp_path / "weights.safetensors")
    torch.testing.assert_close(own.stages[0][1].weight, state["conv_stem.weight"].float())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm/no_such_network", "timm has no such network"),
        ("timm/swin_tiny_patch4_window7_224", "cannot be made at an output stride"),
        ("timm/hrnet_w18_small", "cannot be made at an output stride"),
        ("timm/convnext_atto_ols", "no chain of layers"),
    ],
)
def test_what_is_no_backbone_is_refused(name: str, message: str) -> None:
    with pytest.raises(InputError, match=f"model.backbone = {name}.*{message}"):
        build_backbone(name, output_stride=16)


def test_weights_of_the_real_network_load(shared: Path) -> None:
    path = shared / f"weights/{LITE}-imagenet.safetensors"
    backbone = build_backbone(f"timm/{LITE}", output_stride=16, weights=path, freeze_stages=5)
    assert backbone.stages[0][1].weight.std() > 0.05
