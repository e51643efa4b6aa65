"""ACoL: what is erased, how the two maps are fused, and which of its parts learn what."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from dsrg import cam
from dsrg.models.acol import ACoL, erase, to_unit_range


class TinyBackbone(nn.Sequential):
    """One strided convolution: 6 feature channels."""

    out_channels = 6

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU())


def _tiny(**options) -> ACoL:
    torch.manual_seed(0)
    model = ACoL(TinyBackbone(), 4, channels=5, **options).double()
    for branch in (model.branch_a, model.branch_b):  # far apart, for the likeliest class to be no tie
        nn.init.normal_(branch[2].weight)
    return model


def _images(count: int = 3) -> Tensor:
    return torch.randn(count, 3, 13, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def _tags() -> Tensor:
    tags = torch.zeros(3, 5, dtype=torch.bool)
    tags[:, 0] = True
    tags[0, 2] = tags[1, 1] = tags[1, 4] = tags[2, 1:] = True
    return tags


def _naive_unit(grid: list[list[float]]) -> list[list[float]]:
    values = [value for row in grid for value in row]
    low, high = min(values), max(values)
    return [[(value - low) / (high - low) if high > low else 0.0 for value in row] for row in grid]


def _naive_erase(features: Tensor, maps: Tensor, own: Tensor, threshold: float) -> Tensor:
    """Algorithm 1, cell by cell: normalise A's map of each own class, and clear the features above the threshold."""
    erased = features.clone()
    for b in range(len(features)):
        for k in range(maps.shape[1]):
            unit = _naive_unit(maps[b, k].tolist())
            for y, row in enumerate(unit):
                for x, value in enumerate(row):
                    if own[b, k] and value > threshold:
                        for d in range(features.shape[1]):
                            erased[b, d, y, x] = 0.0
    return erased


def _naive_branch(branch: nn.Sequential, features: Tensor) -> Tensor:
    """Two 3 x 3 convolutions with ReLU and a 1 x 1 convolution, from the parameters alone."""
    parameters = list(branch.parameters())
    assert [tuple(p.shape) for p in parameters] == [(5, 6, 3, 3), (5,), (5, 5, 3, 3), (5,), (4, 5, 1, 1), (4,)]
    hidden = functional.conv2d(features, *parameters[0:2], padding=1).clamp(min=0)
    hidden = functional.conv2d(hidden, *parameters[2:4], padding=1).clamp(min=0)
    return functional.conv2d(hidden, *parameters[4:6])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), threshold=st.floats(0, 1), levels=st.integers(1, 6))
def test_erasing_follows_the_naive_loop(seed: int, threshold: float, levels: int) -> None:
    """Maps of few levels have ties, equal values all over, and values exactly at the threshold."""
    random = torch.Generator().manual_seed(seed)
    features = torch.rand(2, 3, 4, 5, generator=random, dtype=torch.float64)
    maps = torch.randint(0, levels, (2, 3, 4, 5), generator=random).double() - 2
    own = torch.rand(2, 3, generator=random) < 0.5
    expected = _naive_erase(features, maps, own, threshold)
    assert torch.equal(erase(features, maps, own, threshold), expected)
    assert torch.equal(erase(features, 7 * maps + 3, own, 1.0), features)


def test_no_gradient_reaches_the_maps_that_erase() -> None:
    maps = torch.randn(1, 2, 4, 4, requires_grad=True)
    features = torch.rand(1, 3, 4, 4, requires_grad=True)
    erased = erase(features, maps, torch.tensor([[True, False]]), 0.6)
    erased.sum().backward()
    assert maps.grad is None
    assert torch.equal(features.grad, (erased != 0).float())
    assert 0 < (erased == 0).sum() < erased.numel()


@pytest.mark.parametrize("tagged", [True, False])
@pytest.mark.parametrize("threshold", [0.3, 0.6, 0.9])
def test_fused_maps_follow_the_naive_ones(tagged: bool, threshold: float) -> None:
    model, images, tags = _tiny(threshold=threshold).eval(), _images(), _tags()
    with torch.no_grad():
        features = model.backbone(images)
        maps_a = _naive_branch(model.branch_a, features)
        own = tags[:, 1:]
        if not tagged:
            own = torch.zeros(3, 4, dtype=torch.bool)
            for b, scores in enumerate(maps_a.mean(dim=(2, 3)).tolist()):
                own[b, scores.index(max(scores))] = True
        maps_b = _naive_branch(model.branch_b, _naive_erase(features, maps_a, own, threshold))
        fused = model.activation_maps(images, tags if tagged else None)
    assert fused.shape == (3, 4, 7, 5)
    for b in range(3):
        for k in range(4):
            first, second = _naive_unit(maps_a[b, k].tolist()), _naive_unit(maps_b[b, k].tolist())
            expected = [[max(pair) for pair in zip(*rows, strict=True)] for rows in zip(first, second, strict=True)]
            torch.testing.assert_close(fused[b, k], torch.tensor(expected, dtype=torch.float64))


def test_logits_of_both_branches() -> None:
    model, images, tags = _tiny().train(), _images(), _tags()
    features = model.features(images)
    maps_a = _naive_branch(model.branch_a, features)
    maps_b = _naive_branch(model.branch_b, _naive_erase(features, maps_a, tags[:, 1:], 0.6))
    both = model(images, tags)
    assert both.shape == (2, 3, 4)
    torch.testing.assert_close(both, torch.stack([maps_a.mean(dim=(2, 3)), maps_b.mean(dim=(2, 3))]))
    torch.testing.assert_close(model(images), both[0])
    torch.testing.assert_close(model.classify(features), both[0])


def test_every_part_learns_from_the_sum_of_the_losses() -> None:
    model = _tiny()
    model(_images(), _tags()).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    last = {id(p) for layer in model.last_layers for p in layer.parameters()}
    assert last == {id(p) for key, p in model.named_parameters() if not key.startswith("backbone.")}


def test_merging_scales_weighs_each_alike() -> None:
    """The fused maps have the maximum 1, so that a scale with ten times the response counts the same in the sum."""
    model, images = _tiny().eval(), _images()
    with torch.no_grad():
        maps = model.activation_maps(images)
        model.branch_a[2].weight *= 10
        model.branch_b[2].weight *= 10
        model.branch_a[2].bias *= 10
        model.branch_b[2].bias *= 10
        torch.testing.assert_close(model.activation_maps(images), maps)
    assert maps.amin() >= 0
    assert (maps.amax(dim=(2, 3)) == 1).all()
    merged = cam.merge_scales([maps, maps], (7, 5))
    tags = _tags()
    torch.testing.assert_close(cam.normalise(merged, tags), maps.masked_fill(~tags[:, 1:, None, None], 0))


def test_a_map_of_equal_values_is_zero() -> None:
    maps = torch.stack([torch.full((2, 3), 4.0), torch.arange(6.0).view(2, 3)])[None]
    assert torch.equal(to_unit_range(maps)[0, 0], torch.zeros(2, 3))
    torch.testing.assert_close(to_unit_range(maps)[0, 1], torch.arange(6.0).view(2, 3) / 5)
