"""Pixel-adaptive refinement, against a loop over pixels and neighbours, and what it must keep."""

import math
import statistics

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dsrg.par import refine

AROUND = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]
MAPS = arrays.arrays(np.float64, (1, 2, 4, 5), elements=st.floats(0, 1))
IMAGES = arrays.arrays(np.float64, (1, 3, 4, 5), elements=st.integers(0, 255).map(float))


def softmax(values: list[float]) -> list[float]:
    top = max(values)
    odds = [math.exp(value - top) for value in values]
    return [value / sum(odds) for value in odds]


def one_iteration(maps: np.ndarray, image: np.ndarray, dilations: tuple[int, ...]) -> np.ndarray:
    """Of one image: maps (K, h, w), image (3, h, w)."""
    height, width = image.shape[1:]
    mixed = np.zeros_like(maps)
    distances = [math.hypot(far * row, far * column) for far in dilations for row, column in AROUND]
    spread = statistics.stdev(distances) + 1e-8
    near = softmax([-((distance / spread / 0.3) ** 2) for distance in distances])
    for row in range(height):
        for column in range(width):
            places = [
                (min(max(row + far * down, 0), height - 1), min(max(column + far * right, 0), width - 1))
                for far in dilations
                for down, right in AROUND
            ]
            deviations = [statistics.stdev(image[channel][place] for place in places) + 1e-8 for channel in range(3)]
            like = [
                -sum(((image[c][place] - image[c, row, column]) / deviations[c] / 0.3) ** 2 for c in range(3)) / 3
                for place in places
            ]
            for weight, other, place in zip(softmax(like), near, places, strict=True):
                mixed[:, row, column] += (weight + 0.01 * other) / 1.01 * maps[:, place[0], place[1]]
    return mixed


@pytest.mark.parametrize("dilations", [(1,), (1, 2, 4)])
def test_it_equals_a_loop(dilations: tuple[int, ...]) -> None:
    generator = np.random.default_rng(0)
    maps, images = generator.random((2, 3, 5, 6)), generator.integers(0, 256, (2, 3, 5, 6)).astype(float)
    found = refine(torch.from_numpy(maps), torch.from_numpy(images), 2, dilations)
    for own, image, result in zip(maps, images, found.numpy(), strict=True):
        expected = one_iteration(one_iteration(own, image, dilations), image, dilations)
        np.testing.assert_allclose(result, expected, atol=1e-10)


@settings(deadline=None)
@given(maps=MAPS, images=IMAGES, shift=st.floats(-100, 100))
def test_it_is_a_mean_of_neighbours(maps: np.ndarray, images: np.ndarray, shift: float) -> None:
    own, colours = torch.from_numpy(maps), torch.from_numpy(images)
    found = refine(own, colours, 3, (1, 2))
    for index in range(2):
        assert own[0, index].min() - 1e-9 <= found[0, index].min()
        assert found[0, index].max() <= own[0, index].max() + 1e-9
    torch.testing.assert_close(refine(own + shift, colours, 3, (1, 2)), found + shift)
    torch.testing.assert_close(refine(own.flip(-1), colours.flip(-1), 3, (1, 2)), found.flip(-1))


def test_a_map_follows_the_edge_in_the_photograph() -> None:
    images = torch.zeros(1, 3, 8, 8)
    images[..., 5:] = 200
    maps = torch.zeros(1, 1, 8, 8)
    maps[..., 4:] = 1  # one column too many
    found = refine(maps, images, 20, (1, 2))[0, 0]
    assert found[:, :5].max() < 0.5 < found[:, 5:].min()


def test_no_iteration_changes_nothing_and_what_does_not_fit_is_refused() -> None:
    maps, images = torch.rand(1, 2, 3, 3), torch.rand(1, 3, 3, 3)
    assert refine(maps, images, 0) is maps
    for arguments, named in (
        ((maps, images[:, :2]), "images"),
        ((maps, images, -1), "iterations"),
        ((maps, images, 1, ()), "dilations"),
    ):
        with pytest.raises(ValueError, match=named):
            refine(*arguments)  # type: ignore[arg-type]
