"""Backbones: shapes at every stride, dilation, frozen layers, strict weights."""

from __future__ import annotations

import itertools
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from dsrg import tables
from dsrg.errors import InputError
from dsrg.models import backbone as backbone_module
from dsrg.models.backbone import build_backbone, freeze_batch_norm, vgg16_fc
from dsrg.models.layers import IMAGENET_MEAN, IMAGENET_STD, InputScale, RectifiedMaxPool2d


@pytest.mark.parametrize("stride", [8, 16, 32])
@pytest.mark.parametrize("name", tables.BACKBONES)
def test_grid_of_every_backbone_and_stride(name: str, stride: int) -> None:
    with torch.device("meta"):  # shapes only: no memory, no arithmetic
        net = build_backbone(name, output_stride=stride)
        for height, width in ((321, 320), (65, 66), (72, 97), (33, 224)):
            features = net(torch.empty(2, 3, height, width))
            expected = (2, net.out_channels, (height - 1) // stride + 1, (width - 1) // stride + 1)
            assert tuple(features.shape) == expected
    assert net.output_stride == stride


@pytest.mark.parametrize("name", ["vgg16", "mobilenet_v2"])
def test_321_pixels_give_41_cells(name: str) -> None:
    with torch.device("meta"):
        assert build_backbone(name, output_stride=8)(torch.empty(1, 3, 321, 321)).shape[2:] == (41, 41)


@pytest.mark.parametrize("stride", [8, 16])
@pytest.mark.parametrize(("name", "depth"), [("vgg16", 512), ("alexnet", 256), ("googlenet", 832)])
def test_grid_of_every_cut_backbone(name: str, depth: int, stride: int) -> None:
    assert tables.BACKBONES[name].cut
    with torch.device("meta"):
        net = build_backbone(name, output_stride=stride, cut=True, freeze_stages=5)
        for height, width in ((224, 321), (65, 66), (33, 72)):
            features = net(torch.empty(1, 3, height, width))
            assert tuple(features.shape) == (1, depth, (height - 1) // stride + 1, (width - 1) // stride + 1)
    assert net.out_channels == depth


@pytest.mark.parametrize(("name", "stages"), [("alexnet", 4), ("googlenet", 4), ("vgg16", 5)])
def test_a_cut_backbone_is_the_whole_one_up_to_its_last_halving(name: str, stages: int) -> None:
    torch.manual_seed(0)
    whole = build_backbone(name, output_stride=16).eval()
    cut = build_backbone(name, output_stride=16, cut=True).eval()
    cut.load_state_dict({key: value for key, value in whole.state_dict().items() if key in cut.state_dict()})
    features = images = torch.randn(1, 3, 40, 33)
    with torch.no_grad():
        for stage in whole.stages[:stages]:
            features = stage(features)
        if name == "vgg16":  # pool5 stands at the end of the fifth stage, and not at the beginning of a next one
            features = nn.Sequential(*whole.stages[:4], whole.stages[4][:-1])(images)
        torch.testing.assert_close(cut(images), features, rtol=0, atol=0)


def test_mobilenet_forward_is_finite() -> None:
    features = build_backbone("mobilenet_v2", output_stride=8)(torch.randn(2, 3, 33, 40))
    assert features.shape == (2, 1280, 5, 5)
    assert torch.isfinite(features).all()


@pytest.mark.parametrize(
    ("name", "stride", "coarse"),
    [
        ("mobilenet_v2", 8, 32),
        ("mobilenet_v2", 16, 32),
        ("resnet18", 8, 32),  # its blocks have a second 3 x 3 behind the one that loses the stride
        ("resnet50", 8, 32),
        ("vgg16", 16, 32),  # at 8, DeepLab's dense pool5 leaves the identity
        ("alexnet", 8, 32),
        ("alexnet", 16, 32),
        ("googlenet", 8, 32),  # its pools are dilated too, in the inception blocks and between them
        ("googlenet", 16, 32),
    ],
)
def test_dilated_features_subsampled_are_the_strided_ones(name: str, stride: int, coarse: int) -> None:
    """The algorithme a trous: exact at the border too, as zero padding stands at the same places."""
    torch.manual_seed(0)
    strided = build_backbone(name, output_stride=coarse).eval()
    dilated = build_backbone(name, output_stride=stride).eval()
    dilated.load_state_dict(strided.state_dict())
    images = torch.randn(1, 3, 65, 70)
    with torch.no_grad():
        expected, dense = strided(images), dilated(images)
    step = coarse // stride
    scale = expected.abs().max()  # random networks without batch statistics have features of any size
    assert scale > 0
    torch.testing.assert_close(dense[:, :, ::step, ::step] / scale, expected / scale, rtol=0, atol=1e-5)


def test_vgg16_follows_deeplab_at_stride_8() -> None:
    with torch.device("meta"):
        net = build_backbone("vgg16", output_stride=8)
    pools = [layer for layer in net.modules() if isinstance(layer, nn.MaxPool2d)]
    convs = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d)]
    assert [pool.stride for pool in pools] == [2, 2, 2, (1, 1), (1, 1)]
    assert all((pool.kernel_size, pool.padding, pool.dilation) == (3, 1, 1) for pool in pools)
    assert [conv.dilation[0] for conv in convs] == [1] * 10 + [2] * 3


@pytest.mark.parametrize(
    ("stride", "replace"), [(8, (False, True, True)), (16, (False, False, True)), (32, (False,) * 3)]
)
def test_resnet50_equals_torchvision(
    monkeypatch: pytest.MonkeyPatch, stride: int, replace: tuple[bool, bool, bool]
) -> None:
    torch.manual_seed(0)
    reference = torchvision.models.resnet50(weights=None, replace_stride_with_dilation=list(replace)).eval()
    monkeypatch.setattr(backbone_module, "load_checkpoint", lambda path: reference.state_dict())
    net = build_backbone("resnet50", output_stride=stride, weights="resnet50.pth").eval()
    reference.avgpool = reference.fc = nn.Identity()
    images = torch.randn(1, 3, 65, 65)
    with torch.no_grad():
        torch.testing.assert_close(net(images).flatten(1), reference(images), rtol=1e-5, atol=1e-5)


def test_mobilenet_equals_torchvision(tmp_path: Path) -> None:
    reference = torchvision.models.mobilenet_v2(weights=None).eval()
    torch.save(reference.state_dict(), tmp_path / "weights.pth")
    net = build_backbone("mobilenet_v2", output_stride=32, weights=tmp_path / "weights.pth").eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(net(images), reference.features(images))


@torch.no_grad()
def _scatter_statistics(network: nn.Module) -> None:
    """Batch norms that a wrong order or a lost parameter would show."""
    for norm in network.modules():
        if isinstance(norm, _BatchNorm):
            norm.running_mean.normal_(std=0.2)
            norm.running_var.uniform_(0.5, 2)
            norm.weight.uniform_(0.5, 2)
            norm.bias.normal_(std=0.2)


@torch.no_grad()
def _check_interior(net: nn.Module, features: nn.Module, shift: int, size: int, cells: slice) -> None:
    """torchvision pads none of the two networks' pools at the top and left, so that its cells lie `shift` pixels
    further on. Cells whose field of view stays inside the photograph are equal."""
    images = torch.randn(1, 3, size, size)
    expected = features(images)[:, :, cells, cells]
    ours = net(images[:, :, shift:, shift:])[:, :, cells, cells]
    assert ours.shape == expected.shape and expected.numel() > 0
    scale = expected.abs().max()
    assert expected.std() / scale > 0.01
    torch.testing.assert_close(ours / scale, expected / scale, rtol=0, atol=1e-5)


def test_alexnet_equals_torchvision_away_from_the_border(tmp_path: Path) -> None:
    torch.manual_seed(0)
    reference = torchvision.models.alexnet(weights=None, num_classes=7).eval()
    torch.save(reference.state_dict(), tmp_path / "weights.pth")
    arguments = {"output_stride": 16, "weights": tmp_path / "weights.pth"}
    conv5 = build_backbone("alexnet", **arguments, cut=True).eval()
    # The field of view at conv5 is 163 pixels: cell 6 of stride 16 sees pixels 30 to 192.
    _check_interior(conv5, reference.features[:-1], 15, 224, slice(6, 8))
    whole = build_backbone("alexnet", **arguments | {"output_stride": 32}).eval()
    _check_interior(whole, reference.features, 31, 321, slice(4, 5))


def test_googlenet_equals_torchvision_away_from_the_border(tmp_path: Path) -> None:
    """With the input scaled as torchvision does for its weights, whose file also holds two auxiliary classifiers."""
    torch.manual_seed(0)
    reference = torchvision.models.googlenet(
        weights=None, aux_logits=True, transform_input=True, init_weights=False, num_classes=7
    ).eval()
    _scatter_statistics(reference)
    torch.save(reference.state_dict(), tmp_path / "weights.pth")
    net = build_backbone("googlenet", output_stride=32, weights=tmp_path / "weights.pth").eval()
    reference.avgpool = reference.fc = reference.dropout = nn.Identity()

    def features(images: torch.Tensor) -> torch.Tensor:
        return reference(images).unflatten(1, (1024, images.shape[2] // 32, images.shape[3] // 32))

    _check_interior(net, features, 14, 512, slice(8, 9))


def test_googlenet_equals_torchvision_with_pools_that_pad(tmp_path: Path) -> None:
    """Borders too: at every cell, whatever the photograph's size."""
    torch.manual_seed(0)
    reference = torchvision.models.googlenet(weights=None, transform_input=True, init_weights=False).eval()
    _scatter_statistics(reference)
    torch.save(reference.state_dict(), tmp_path / "weights.pth")
    net = build_backbone("googlenet", output_stride=32, weights=tmp_path / "weights.pth").eval()
    for number in (1, 2, 3):
        setattr(reference, f"maxpool{number}", nn.MaxPool2d(3, stride=2, padding=1))
    reference.avgpool = reference.fc = nn.Identity()
    for height, width in ((65, 97), (70, 64)):
        images = torch.randn(2, 3, height, width)
        with torch.no_grad():
            expected = reference(images)
            torch.testing.assert_close(net(images).flatten(1), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kernel", [2, 3])
@pytest.mark.parametrize("dilation", [1, 2, 4])
@pytest.mark.parametrize("stride", [1, 2])
def test_rectified_max_pool_is_the_maximum_around_each_cell(kernel: int, dilation: int, stride: int) -> None:
    pool = RectifiedMaxPool2d(kernel, stride=stride, dilation=dilation)
    features = torch.rand(2, 3, 9, 6)
    pooled = pool(features)
    assert pooled.shape == (2, 3, (9 - 1) // stride + 1, (6 - 1) // stride + 1)
    offsets = [dilation * (step - (kernel - 1) // 2) for step in range(kernel)]
    for row, column in itertools.product(range(pooled.shape[2]), range(pooled.shape[3])):
        cells = itertools.product((row * stride + o for o in offsets), (column * stride + o for o in offsets))
        seen = [features[:, :, y, x] for y, x in cells if 0 <= y < 9 and 0 <= x < 6]
        assert torch.equal(pooled[:, :, row, column], torch.stack(seen).amax(dim=0))


def test_the_input_scale_is_no_part_of_a_checkpoint() -> None:
    scale = InputScale()
    assert not scale.state_dict()
    pixels = torch.rand(2, 3, 5, 4)
    images = (pixels - torch.tensor(IMAGENET_MEAN)[:, None, None]) / torch.tensor(IMAGENET_STD)[:, None, None]
    torch.testing.assert_close(scale(images), (pixels - 0.5) / 0.5)


def test_frozen_batch_norm_stays_frozen_in_train() -> None:
    net = build_backbone("mobilenet_v2", output_stride=16, freeze_bn=True)
    nn.Sequential(net).train()
    norms = [layer for layer in net.modules() if isinstance(layer, _BatchNorm)]
    before = [norm.running_mean.clone() for norm in norms]
    net(torch.randn(2, 3, 33, 33)).mean().backward()
    assert norms and not any(norm.training for norm in norms)
    assert all(p.grad is None and not p.requires_grad for norm in norms for p in norm.parameters())
    assert all(torch.equal(norm.running_mean, mean) for norm, mean in zip(norms, before, strict=True))
    assert net.training and net.stages[0][0][0].weight.grad is not None


def test_batch_norm_trains_unless_frozen() -> None:
    net = build_backbone("mobilenet_v2", output_stride=16)
    norms = [layer for layer in net.train().modules() if isinstance(layer, _BatchNorm)]
    assert all(norm.training and norm.weight.requires_grad for norm in norms)
    freeze_batch_norm(net)
    assert not any(norm.training or norm.weight.requires_grad or norm.bias.requires_grad for norm in norms)


@pytest.mark.parametrize("frozen", [0, 2, 5])
def test_frozen_stages_get_no_gradient(frozen: int) -> None:
    net = build_backbone("resnet18", output_stride=16, freeze_stages=frozen).train()
    features = net(torch.randn(2, 3, 33, 33))
    if frozen < 5:
        features.mean().backward()
    assert features.requires_grad == (frozen < 5)
    for number, stage in enumerate(net.stages):
        assert stage.training == (number >= frozen)
        assert all((p.grad is not None) == p.requires_grad == (number >= frozen) for p in stage.parameters())


def test_half_precision_file_loads(shared: Path) -> None:
    weights = shared / "weights/mobilenet_v2-imagenet.pth"
    net = build_backbone("mobilenet_v2", output_stride=16, weights=weights)
    first = torch.load(weights, weights_only=True)["features.0.0.weight"]
    assert first.dtype == torch.float16
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    assert torch.equal(net.stages[0][0][0].weight, first.float())


def test_wrapped_and_prefixed_file_loads(shared: Path, tmp_path: Path) -> None:
    weights = shared / "weights/mobilenet_v2-imagenet.pth"
    state = torch.load(weights, weights_only=True)
    wrapped = {"state_dict": {f"module.{key}": value for key, value in state.items()}, "epoch": 3}
    torch.save(wrapped, tmp_path / "wrapped.pth")
    plain = build_backbone("mobilenet_v2", output_stride=16, weights=weights).state_dict()
    other = build_backbone("mobilenet_v2", output_stride=16, weights=tmp_path / "wrapped.pth").state_dict()
    assert all(torch.equal(plain[key], other[key]) for key in plain)


def test_head_and_batch_counters_may_be_missing(tmp_path: Path) -> None:
    state = torchvision.models.resnet18(weights=None).state_dict()
    old = {key: v for key, v in state.items() if not key.startswith("fc.") and "num_batches" not in key}
    torch.save(old, tmp_path / "old.pth")
    net = build_backbone("resnet18", output_stride=8, weights=tmp_path / "old.pth")
    assert torch.equal(net.stages[0][0].weight, state["conv1.weight"])


def _drop(state: dict) -> None:
    del state["features.0.0.weight"]


def _add(state: dict) -> None:
    state["decoder.weight"] = torch.zeros(1)


def _reshape(state: dict) -> None:
    state["features.0.0.weight"] = torch.zeros(32, 1, 3, 3)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_drop, "1 missing .features.0.0.weight"),
        (_add, "1 unexpected .decoder.weight"),
        (_reshape, r"features.0.0.weight is \(32, 1, 3, 3\) and not \(32, 3, 3, 3\)"),
        (dict.clear, "holds no state_dict"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, spoil, words: str) -> None:
    state = dict(torchvision.models.mobilenet_v2(weights=None).state_dict())
    spoil(state)
    torch.save(state, tmp_path / "spoilt.pth")
    with pytest.raises(InputError, match=f"spoilt.pth.*{words}"):
        build_backbone("mobilenet_v2", output_stride=16, weights=tmp_path / "spoilt.pth")


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), tmp_path / "resnet18.pth")
    with pytest.raises(InputError, match=r"resnet18.pth .weights of mobilenet_v2.*missing.*features\.0.*unexpected"):
        build_backbone("mobilenet_v2", output_stride=16, weights=tmp_path / "resnet18.pth")


def test_failed_download_says_to_give_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args, **kwargs) -> None:
        raise URLError("no network")

    monkeypatch.setattr(torchvision.models.MobileNet_V2_Weights, "get_state_dict", unreachable)
    with pytest.raises(InputError, match="mobilenet_v2.*no network.*path"):
        build_backbone("mobilenet_v2", output_stride=16, weights="torchvision")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "lenet", "output_stride": 8}, "lenet.*vgg16"),
        ({"name": "vgg16", "output_stride": 4}, "output_stride 4"),
        ({"name": "vgg16", "output_stride": 8, "freeze_stages": 6}, "freeze_stages 6"),
        ({"name": "resnet18", "output_stride": 8, "weights": "nowhere.pth"}, "nowhere.pth"),
        ({"name": "resnet18", "output_stride": 8, "cut": True}, "resnet18.*vgg16, alexnet, googlenet"),
        ({"name": "vgg16", "output_stride": 32, "cut": True}, "output_stride 32.*vgg16.*choose 8 or 16"),
    ],
)
def test_impossible_arguments_are_refused(arguments: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        build_backbone(**arguments)


def _vgg16_head() -> dict[str, torch.Tensor]:
    """A head whose values tell row from column, expanded so that its 120 million numbers take no memory."""
    return {
        "classifier.0.weight": torch.arange(25088.0).expand(4096, 25088),
        "classifier.0.bias": torch.arange(4096.0),
        "classifier.3.weight": torch.arange(4096.0)[:, None].expand(4096, 4096),
        "classifier.3.bias": -torch.arange(4096.0),
    }


def test_vgg16_fc_subsampling(monkeypatch: pytest.MonkeyPatch) -> None:
    head = _vgg16_head()
    monkeypatch.setattr(backbone_module, "load_checkpoint", lambda path: head)
    fc = vgg16_fc("vgg16.pth")
    assert {key: tuple(value.shape) for key, value in fc.items()} == {
        "fc6.weight": (1024, 512, 3, 3),
        "fc6.bias": (1024,),
        "fc7.weight": (1024, 1024, 1, 1),
        "fc7.bias": (1024,),
    }
    assert all(value.dtype == torch.float32 for value in fc.values())
    # column of fc6 in torchvision's layout: channel * 49 + row * 7 + column
    for channel, row, column in ((0, 0, 0), (0, 1, 2), (511, 2, 1), (300, 2, 2)):
        source = channel * 49 + 3 * row * 7 + 3 * column
        assert (fc["fc6.weight"][:, channel, row, column] == source).all()
    assert torch.equal(fc["fc6.bias"], torch.arange(0.0, 4096, 4))
    assert torch.equal(fc["fc7.weight"][:, 7, 0, 0], torch.arange(0.0, 4096, 4))
    assert torch.equal(fc["fc7.bias"], -torch.arange(0.0, 4096, 4))
    # the transposed values tell the other axis of each
    head["classifier.0.weight"] = torch.arange(4096.0)[:, None].expand(4096, 25088)
    head["classifier.3.weight"] = torch.arange(4096.0).expand(4096, 4096)
    fc = vgg16_fc("vgg16.pth")
    assert torch.equal(fc["fc6.weight"][:, 300, 2, 1], torch.arange(0.0, 4096, 4))
    assert torch.equal(fc["fc7.weight"][7, :, 0, 0], torch.arange(0.0, 4096, 4))


def test_vgg16_fc_refuses_what_it_cannot_subsample(monkeypatch: pytest.MonkeyPatch) -> None:
    head = _vgg16_head()
    monkeypatch.setattr(backbone_module, "load_checkpoint", lambda path: head)
    with pytest.raises(InputError, match="channels 1000"):
        vgg16_fc("vgg16.pth", 1000)
    del head["classifier.3.bias"]
    with pytest.raises(InputError, match=r"vgg16.pth.*classifier\.3\.bias"):
        vgg16_fc("vgg16.pth")
