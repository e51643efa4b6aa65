"""Vision transformers of timm: their patch tokens as a grid of features.

A ViT of patch p divides an image into size / p patches; the project's grid has (size - 1) // s + 1 cells, cell i on
pixel s i. `CellsToPatches` maps one onto the other, so that any patch serves any output stride s, on the grid that all
backbones have.

Stage 1 is the embedding: colours, patches, positions. The blocks are divided evenly over the stages 2 to 5, the last of
which ends in the final norm and drops the class and register tokens. Between the stages stands one plain tensor
(B, D, P + h, w): the grid of patch tokens below P rows, one for each class or register token, which fills its row. So a
stage knows height and width without being told, and can be run on a stored output of the one before.
"""

from __future__ import annotations

import copy
import functools
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dsrg.errors import InputError
from dsrg.models.architectures import NUM_STAGES, Architecture, Stages
from dsrg.models.layers import InputScale

_GONE = ("attn_pool", "fc_norm", "head_drop", "head", "head_dist")
"""What follows the tokens. A norm after the pooling (fc_norm) becomes the tokens' last one."""


class CellsToPatches(nn.Module):
    """Pad and resize images so that the patch of each cell of the grid has its middle on the cell's pixel.

    Half a cell of mirrored image around all sides makes s pixels of every cell, and these are resized to the p pixels
    of a patch (bilinear, with antialiasing; nothing is resized where s = p). An even s has no half: cell i's patch is
    centred on pixel s i + 1/2, as under an even kernel. Moving the image by that half would blur it.

    Args:
        patch: p, side of a patch in pixels.
        stride: s, the output stride.
    """

    def __init__(self, patch: int, stride: int) -> None:
        super().__init__()
        self.patch, self.stride = patch, stride

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) of more than `stride` pixels a side -> (B, 3, p h, p w), h = (H - 1) // s + 1 and w alike."""
        stride = self.stride
        rows, columns = ((side - 1) // stride for side in images.shape[-2:])
        images = images[..., : rows * stride + 1, : columns * stride + 1]
        before, after = (stride - 1) // 2, stride // 2
        images = functional.pad(images, (before, after, before, after), mode="reflect")
        if self.patch == stride:
            return images
        sides = [self.patch * (rows + 1), self.patch * (columns + 1)]
        return functional.interpolate(images, sides, mode="bilinear", antialias=True)


class _Embedding(nn.Module):
    """A network whose blocks and norm are gone: what its forward pass is left with is the embedding."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        self.prefix: int = network.num_prefix_tokens
        self.patch: int = network.patch_embed.patch_size[0]

    def forward(self, images: Tensor) -> Tensor:
        """Patches (B, 3, p h, p w) -> (B, D, P + h, w)."""
        height, width = (side // self.patch for side in images.shape[-2:])
        return _to_grid(self.network.forward_features(images), self.prefix, height, width)


class _Blocks(nn.Module):
    """Some blocks of a network, with its rotary positions where it has them."""

    def __init__(self, blocks: list[nn.Module], prefix: int, rope: Any) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.prefix = prefix
        self.rope = copy.deepcopy(rope)  # without parameters, so nothing of it is in a checkpoint

    def forward(self, grid: Tensor) -> Tensor:
        """(B, D, P + h, w) -> (B, D, P + h, w)."""
        height, width = grid.shape[2] - self.prefix, grid.shape[3]
        tokens = _to_tokens(grid, self.prefix)
        positions = {} if self.rope is None else {"rope": self.rope.get_embed(shape=[height, width])}
        for block in self.blocks:
            tokens = block(tokens, **positions)
        return _to_grid(tokens, self.prefix, height, width)


class _Features(nn.Module):
    """The final norm of the patch tokens alone."""

    def __init__(self, norm: nn.Module, prefix: int) -> None:
        super().__init__()
        self.norm = norm
        self.prefix = prefix

    def forward(self, grid: Tensor) -> Tensor:
        """(B, D, P + h, w) -> (B, D, h, w)."""
        features: Tensor = self.norm(grid[:, :, self.prefix :].permute(0, 2, 3, 1))
        return features.permute(0, 3, 1, 2)


def _to_grid(tokens: Tensor, prefix: int, height: int, width: int) -> Tensor:
    """Tokens (B, P + h w, D) as (B, D, P + h, w)."""
    others, patches = tokens[:, :prefix].mT, tokens[:, prefix:].mT
    rows = others[..., None].expand(-1, -1, -1, width)
    return torch.cat([rows, patches.reshape(*patches.shape[:2], height, width)], dim=2)


def _to_tokens(grid: Tensor, prefix: int) -> Tensor:
    """The opposite of `_to_grid`."""
    return torch.cat([grid[:, :, :prefix, 0].mT, grid[:, :, prefix:].flatten(2).mT], dim=1)


def serves(network: Any) -> bool:
    """Whether a network of timm is a plain ViT: one convolution makes the patches, and blocks of one width follow.
    Rotary positions that are learnt, another for each block, are none."""
    from timm.layers.patch_embed import PatchEmbed
    from timm.models.eva import Eva
    from timm.models.vision_transformer import VisionTransformer

    if not isinstance(network, VisionTransformer | Eva) or type(network.patch_embed) is not PatchEmbed:
        return False
    rope = getattr(network, "rope", None)
    return rope is None or not any(True for _ in rope.parameters())


def architecture(
    name: str, network: Any, make: Callable[..., Any], head: tuple[str, ...], download: Callable[[], dict[str, Any]]
) -> Architecture:
    """How a ViT is made and taken apart.

    Args:
        name: 'timm/<name>'.
        network: It, on any device.
        make: Makes it; takes keyword arguments of timm's.
        head: Prefixes of its classification head's parameters.
        download: As in `Architecture`.
    """

    def strided(output_stride: int) -> Any:
        made = make(dynamic_img_size=True)
        made.cells = CellsToPatches(made.patch_embed.patch_size[0], output_stride)
        return made

    return Architecture(
        make=functools.partial(strided, 32),
        split=functools.partial(_split, name),
        head=(*head, "attn_pool."),
        out_channels=network.num_features,
        strided=strided,
        download=download,
        adapt=_adapt,
    )


def _adapt(network: Any, state: Mapping[str, Any]) -> dict[str, Any]:
    """A file's tensors, the position embeddings resampled to the network's grid, without the rotary tables that some
    files hold: they follow from the size."""
    from timm.layers.pos_embed import resample_abs_pos_embed

    own = network.state_dict()
    state = {key: value for key, value in state.items() if key in own or not key.startswith("rope.")}
    given, wanted = state.get("pos_embed"), own.get("pos_embed")
    if isinstance(given, Tensor) and wanted is not None and given.ndim == 3 and given.shape[1] != wanted.shape[1]:
        prefix = 0 if network.no_embed_class else network.num_prefix_tokens
        count = given.shape[1] - prefix
        side = math.isqrt(max(0, count))
        if given.is_floating_point() and count == side * side > 0:
            grid = list(network.patch_embed.grid_size)
            state["pos_embed"] = resample_abs_pos_embed(given, grid, [side, side], prefix)
    return state


def _split(name: str, network: Any) -> Stages:
    prefix, config, blocks = network.num_prefix_tokens, network.pretrained_cfg, list(network.blocks)
    norm, cells, rope = nn.Sequential(network.norm, network.fc_norm), network.cells, getattr(network, "rope", None)
    device = next(network.parameters()).device
    image = torch.linspace(-1, 1, 3 * 65 * 97, device=device).view(1, 3, 65, 97)
    before = network.training
    with torch.no_grad():
        patches = cells(image)
        height, width = (side // network.patch_embed.patch_size[0] for side in patches.shape[-2:])
        whole = network.eval().fc_norm(network.forward_features(patches))
        expected = whole[:, prefix:].mT.unflatten(2, (height, width))
    network.blocks, network.norm, network.cells = nn.Sequential(), nn.Identity(), None
    for part in _GONE:
        setattr(network, part, nn.Identity())
    # Stage 1 embeds; the blocks are divided over the others, as evenly as whole numbers are.
    bounds = [len(blocks) * number // (NUM_STAGES - 1) for number in range(NUM_STAGES)]
    stages: Stages = [[cells, _Embedding(network)]]
    stages += [[_Blocks(blocks[start:end], prefix, rope)] for start, end in itertools.pairwise(bounds)]
    stages[-1].append(_Features(norm, prefix))
    chain = nn.Sequential(*(layer for stage in stages for layer in stage)).eval()
    with torch.no_grad():
        found = chain(image)
    chain.train(before)
    if found.shape != expected.shape or not (device.type == "meta" or torch.allclose(found, expected, atol=1e-4)):
        raise InputError(
            f"model.backbone = {name}: is no plain ViT; choose another, such as timm/vit_small_patch16_224."
        )
    stages[0].insert(0, InputScale(config["mean"], config["std"]))
    return stages
