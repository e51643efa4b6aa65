"""ViTs of timm: their own tokens on the project's grid, in stages that pass one plain tensor on."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from dsrg import config, explain, tables
from dsrg.errors import InputError
from dsrg.labels import Classes
from dsrg.losses import seed_loss
from dsrg.models.backbone import Backbone, build_backbone
from dsrg.models.build import build_classifier, build_deeplab
from dsrg.models.layers import IMAGENET_MEAN, IMAGENET_STD
from dsrg.models.timm_transformer import CellsToPatches
from dsrg.predict import export
from dsrg.predict.segmenter import Segmenter, Settings

timm = pytest.importorskip("timm")
TINY = "test_vit"
"""Six blocks of 64 features, patches of 16."""
KINDS = [
    TINY,
    "deit_tiny_distilled_patch16_224",  # two tokens beside the patches
    "vit_wee_patch16_reg1_gap_256",  # a register token; its last norm stands behind the pooling
    "vit_tiny_patch16_dinov3_qkvb",  # rotary positions
]


def normalised(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    return (images - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


@pytest.mark.parametrize("name", KINDS)
def test_the_features_are_timms_own_tokens(tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    theirs = timm.create_model(name, pretrained=False, dynamic_img_size=True).eval()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.1)  # their initial zeros and ones would hide a layer that is left out
    save_file(theirs.state_dict(), tmp_path / "weights.safetensors")
    own = build_backbone(f"timm/{name}", output_stride=16, weights=tmp_path / "weights.safetensors").eval()
    images = torch.rand(2, 3, 33, 65)
    padded = torch.from_numpy(np.pad(images.numpy(), ((0, 0), (0, 0), (7, 8), (7, 8)), mode="reflect"))
    settings = theirs.pretrained_cfg
    with torch.no_grad():
        tokens = theirs.forward_features(normalised(padded, settings["mean"], settings["std"]))
        expected = theirs.fc_norm(tokens)[:, theirs.num_prefix_tokens :].reshape(2, 3, 5, -1).permute(0, 3, 1, 2)
        found = own(normalised(images, IMAGENET_MEAN, IMAGENET_STD))
    assert found.shape == (2, own.out_channels, 3, 5)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


PATCHES = [(16, 16), (14, 16), (16, 8), (8, 8), (14, 8), (16, 32), (32, 32)]


@pytest.mark.parametrize(("patch", "stride"), PATCHES)
def test_a_patch_is_centred_on_its_cells_pixel(patch: int, stride: int) -> None:
    """Half a pixel behind it: an even cell has no middle pixel. Colours are coordinates here, so means are centres."""
    rows, columns = torch.meshgrid(torch.arange(4.0 * stride + 1), torch.arange(6.0 * stride + 1), indexing="ij")
    seen = CellsToPatches(patch, stride)(torch.stack([rows, columns, rows])[None])
    assert seen.shape == (1, 3, 5 * patch, 7 * patch)
    means = functional.avg_pool2d(seen, patch)[0, :2, 1:-1, 1:-1]
    places = torch.meshgrid(torch.arange(1, 4), torch.arange(1, 6), indexing="ij")
    torch.testing.assert_close(means, stride * torch.stack(places).float() + 0.5, atol=1e-3, rtol=0)


@pytest.mark.parametrize(("patch", "stride"), PATCHES)
def test_a_lone_bright_cell_is_its_patch(patch: int, stride: int) -> None:
    """At the corners and edges too; and pixels beyond the last cell change nothing."""
    height, width, reach = 3 * stride + 1, 4 * stride + 1, stride // 2
    layer = CellsToPatches(patch, stride)
    for row, column in itertools.product(range(4), range(5)):
        images = torch.zeros(1, 3, height, width)
        y, x = row * stride, column * stride
        images[..., max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1] = 1
        bright = functional.avg_pool2d(layer(images), patch)[0, 0]
        assert divmod(int(bright.argmax()), 5) == (row, column)
        assert bright[row, column] > 0.85
    longer = torch.cat([images, torch.rand(1, 3, height, stride - 1)], dim=3)
    assert torch.equal(layer(longer), layer(images))


@pytest.mark.parametrize("name", [TINY, "vit_tiny_patch16_dinov3_qkvb"])
def test_a_tensor_between_two_stages_is_all_that_the_next_needs(name: str) -> None:
    torch.manual_seed(0)
    backbone = build_backbone(f"timm/{name}", output_stride=16).eval()
    images = torch.randn(1, 3, 65, 49)
    with torch.no_grad():
        expected = tensor = backbone(images)
        for count in range(1, 5):
            tensor = nn.Sequential(*backbone.stages[:count])(images)
            assert tensor.ndim == 4
            later = nn.Sequential(*build_later(backbone, count))
            torch.testing.assert_close(later(tensor.contiguous().clone()), expected)
    assert [len(stage[0].blocks) for stage in backbone.stages[1:]] == ([3] * 4 if "tiny" in name else [1, 2, 1, 2])


def build_later(backbone: Backbone, count: int) -> list[nn.Module]:
    """The stages behind `count`, after another size has gone through the network."""
    backbone(torch.randn(1, 3, 33, 33))
    return list(backbone.stages[count:])


@pytest.mark.parametrize("frozen", [0, 1, 3, 5])
def test_gradients_reach_what_is_not_frozen(frozen: int) -> None:
    backbone = build_backbone(f"timm/{TINY}", output_stride=16, freeze_stages=frozen).train()
    backbone(torch.randn(2, 3, 33, 33)).square().mean().backward() if frozen < 5 else None
    for number, stage in enumerate(backbone.stages):
        assert all((parameter.grad is not None) == (number >= frozen) for parameter in stage.parameters())
        assert all(layer.training == (number >= frozen) for layer in stage.modules())


@pytest.mark.parametrize("stride", [8, 16, 32])
@pytest.mark.parametrize("name", [TINY, "vit_small_patch14_reg4_dinov2"])
def test_weights_move_between_output_strides(name: str, stride: int) -> None:
    with torch.device("meta"):
        published = build_backbone(f"timm/{name}", output_stride=16)
        backbone = build_backbone(f"timm/{name}", output_stride=stride)
        features = backbone(torch.empty(2, 3, 65, 97))
    assert features.shape == (2, backbone.out_channels, 64 // stride + 1, 96 // stride + 1)
    shapes = [{key: value.shape for key, value in found.state_dict().items()} for found in (published, backbone)]
    assert shapes[0] == shapes[1]


def test_position_embeddings_of_another_size_are_resampled(tmp_path: Path) -> None:
    state = timm.create_model(TINY, pretrained=False, img_size=384).state_dict()
    side = round((state["pos_embed"].shape[1] - 1) ** 0.5)
    torch.save(state, tmp_path / "weights.pth")
    own = build_backbone(f"timm/{TINY}", output_stride=16, weights=tmp_path / "weights.pth")
    found = own.stages[0][-1].network.pos_embed
    grid = round((found.shape[1] - 1) ** 0.5)
    assert side == 24 > grid
    first, rest = state["pos_embed"][:, :1], state["pos_embed"][:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    rest = functional.interpolate(rest, (grid, grid), mode="bicubic", antialias=True)
    torch.testing.assert_close(found.data, torch.cat([first, rest.flatten(2).mT], dim=1))
    torch.save(state | {"pos_embed": state["pos_embed"][:, :-1]}, tmp_path / "weights.pth")  # of no square
    with pytest.raises(InputError, match=r"of another shape \(pos_embed"):
        build_backbone(f"timm/{TINY}", output_stride=16, weights=tmp_path / "weights.pth")


def test_the_seed_loss_falls() -> None:
    torch.manual_seed(0)
    model = build_deeplab(
        backbone=f"timm/{TINY}", num_classes=3, output_stride=8, channels=0, rates=(1, 2), freeze_stages=2
    ).train()
    frozen = [parameter.clone() for parameter in model.backbone.stages[:2].parameters()]
    images = torch.randn(2, 3, 65, 65)
    seeds = torch.full((2, 9, 9), 255)
    seeds[:, :3], seeds[0, 5:], seeds[1, 5:] = 0, 1, 2
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    losses = []
    for _ in range(12):
        loss = seed_loss(model(images).softmax(dim=1), seeds)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    assert all(map(torch.equal, frozen, model.backbone.stages[:2].parameters()))


def test_cam_is_the_linear_layer_on_the_tokens() -> None:
    torch.manual_seed(0)
    model = build_classifier(backbone=f"timm/{TINY}", num_classes=4, output_stride=16).eval()
    images, classes = torch.randn(2, 3, 49, 65), torch.tensor([[0, 2], [1, 2]])
    with torch.no_grad():
        features, weight = model.backbone(images), model.linear.weight
        expected = torch.einsum("kd,bdhw->bkhw", weight, features)
        torch.testing.assert_close(model.activation_maps(images), expected)
        torch.testing.assert_close(model(images), expected.mean(dim=(2, 3)) + model.linear.bias)
    chosen = expected.gather(1, classes[:, :, None, None].expand(-1, -1, *expected.shape[2:]))
    torch.testing.assert_close(explain.cam(model, images, classes), chosen)
    cells = expected.shape[2] * expected.shape[3]
    torch.testing.assert_close(explain.grad_cam(model, images, classes), chosen.relu() / cells)


def test_onnx_gives_the_same_masks() -> None:
    torch.manual_seed(0)
    architecture = {
        "backbone": f"timm/{TINY}", "num_classes": 3, "output_stride": 16,
        "rates": (1,), "channels": 0, "dropout": 0.5, "pool_features": False,
    }  # fmt: skip
    model = build_deeplab(**architecture).eval()
    classes = Classes(("background", "cat", "dog"), "here")
    record = {"network": "dsrg", "data": "here", "run": "run", "figures": {}}
    segmenter = Segmenter(model, classes, torch.device("cpu"), Settings(), architecture=architecture, record=record)
    photo = export._photographs(1, 83, 120)
    (probs,) = onnxruntime.InferenceSession(export.onnx_bytes(segmenter)).run(["probs"], {"images": photo})
    with torch.no_grad():
        expected = export.PixelsToMask(model)(torch.from_numpy(photo))[1]
    np.testing.assert_allclose(probs, expected.numpy(), atol=export.TOLERANCE)


def test_no_batch_norm_needs_no_weights() -> None:
    words = ["model.weights=null", "model.freeze_batch_norm=true"]
    assert config.load("demo/resnet18", [*words, "model.backbone=timm/vit_tiny_patch16_224"]).model.weights is None
    with pytest.raises(InputError, match=r"model\.freeze_batch_norm needs model\.weights"):
        config.load("demo/resnet18", [*words, "model.backbone=timm/resnet18"])


@pytest.mark.parametrize("beginning", tables.BACKBONE_FAMILIES["timm/"].without_batch_norm)
def test_names_without_batch_norm_have_none(beginning: str) -> None:
    names = timm.list_models(f"{beginning.removeprefix('timm/')}*")
    for name in names[:: max(1, len(names) // 3)]:
        with torch.device("meta"):
            network = timm.create_model(name)
        assert not any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules()), name


@pytest.mark.parametrize("name", ["vit_relpos_small_patch16_224", "vit_small_patch16_rope_mixed_224"])
def test_a_vit_whose_positions_are_bound_to_one_size_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"model.backbone = timm/{name}: cannot be made at an output stride"):
        build_backbone(f"timm/{name}", output_stride=16)
