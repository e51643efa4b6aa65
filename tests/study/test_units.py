"""Class-specific units against the plain definitions."""

from collections import deque

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from dsrg.study.units import TopImages, class_units, driving_region


def test_units_are_those_with_the_largest_weights() -> None:
    weight = torch.tensor([[0.0, 1.0, 2.0, 3.0], [0.5, -2.0, 0.5, 0.1]])
    units, weights = class_units(weight, 1, 3)
    assert (units.tolist(), weights.tolist()) == ([0, 2, 3], pytest.approx([0.5, 0.5, 0.1]))
    for label, count in ((2, 1), (-1, 1), (0, 0), (0, 5)):
        with pytest.raises(ValueError, match="must fit"):
            class_units(weight, label, count)


def naive_top(features: np.ndarray, unit: int, keep: int) -> list[int]:
    """All images sorted at once by maximum, then mean, then number."""
    order = sorted(range(len(features)), key=lambda n: (-features[n, unit].max(), -features[n, unit].mean(), n))
    return order[:keep]


@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 5), st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_top_images_are_those_of_a_full_sort(count: int, keep: int, batch: int, seed: int) -> None:
    # Few values, so that maxima are often equal, as where ReLU6 cuts them off; quarters have exact means.
    features = np.random.default_rng(seed).integers(0, 3, (count, 6, 2, 2)).astype(np.float32)
    units = torch.tensor([4, 0, 5])
    top = TopImages(units, keep)
    for first in range(0, count, batch):
        top.update(torch.from_numpy(features[first : first + batch]))
    assert top.maps is not None
    assert top.maps.shape == (3, keep, 2, 2)  # memory does not grow with the images
    for place, unit in enumerate(units.tolist()):
        expected = naive_top(features, unit, keep)
        filled = len(expected)
        assert top.images[place].tolist() == expected + [-1] * (keep - filled)
        assert torch.equal(top.maps[place, :filled], torch.from_numpy(features[expected, unit]))
        assert torch.equal(top.values[place, :filled], torch.from_numpy(features[expected, unit].max(axis=(1, 2))))
        assert (top.values[place, filled:] == -torch.inf).all()


def naive_region(unit_map: torch.Tensor, size: tuple[int, int], fraction: float) -> np.ndarray:
    """Flood fill from each pixel of the maximum; the largest of the fills."""
    large = functional.interpolate(unit_map[None, None].double(), size, mode="bilinear", align_corners=True)[0, 0]
    above = (large > fraction * large.max()).numpy()
    best = np.zeros(size, bool)
    for start in np.argwhere(np.isclose(large.numpy(), float(large.max()), rtol=1e-9, atol=0)):
        filled, waiting = np.zeros(size, bool), deque([tuple(start)])
        while waiting:
            row, column = waiting.popleft()
            inside = 0 <= row < size[0] and 0 <= column < size[1]
            if inside and above[row, column] and not filled[row, column]:
                filled[row, column] = True
                waiting.extend((row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1))
        if filled.sum() > best.sum():
            best = filled
    return best


@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.3, 0.5, 0.9]))
@settings(max_examples=30, deadline=None)
def test_region_is_the_largest_fill_from_the_peak(seed: int, fraction: float) -> None:
    random = np.random.default_rng(seed)
    unit_map = torch.from_numpy(random.random((4, 5)) ** 3 + 0.01)
    region = driving_region(unit_map, (17, 13), fraction)
    expected = naive_region(unit_map, (17, 13), fraction)
    assert region is not None
    assert np.array_equal(region.mask, expected)
    rows, columns = np.nonzero(expected)
    assert region.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def test_a_plateau_in_two_places_gives_the_larger() -> None:
    unit_map = torch.tensor([[6.0, 0, 0, 6, 6], [0, 0, 0, 6, 6]])
    region = driving_region(unit_map, (2, 5))
    assert region is not None
    assert region.box == (3, 0, 5, 2)


def test_a_unit_that_does_not_fire_has_no_region() -> None:
    assert driving_region(torch.zeros(3, 3), (9, 9)) is None
    with pytest.raises(ValueError, match="fraction"):
        driving_region(torch.ones(3, 3), (9, 9), 1.0)
