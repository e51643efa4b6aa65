"""The graph cut of saliency: objects of one colour are found whole, from a part that is salient."""

import numpy as np
import pytest
import torch
from torch import nn

from dsrg import tables
from dsrg.boxes import map_boxes
from dsrg.explain import saliency
from dsrg.models.layers import IMAGENET_MEAN, IMAGENET_STD
from dsrg.run.graph_cut import graph_cut, saliency_graph_cut

SIZE = (48, 64)
OBJECT = np.zeros(SIZE, bool)
OBJECT[12:40, 20:52] = True
OBJECT[16:24, 30:36] = False  # a hole, which has the ground's colour
SPOT = np.zeros(SIZE, bool)
SPOT[26:32, 24:32] = True


def scene(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A photograph with a light object, a small light thing in a corner, and saliency on a spot of the object alone."""
    random = np.random.default_rng(seed)
    light = OBJECT.copy()
    light[1:6, 2:8] = True
    picture = random.integers(70, 110, (*SIZE, 3))
    picture[light] = random.integers(160, 200, (light.sum(), 3))
    values = random.random(SIZE) * 0.05 + 0.1 * light
    values[SPOT] += 1
    return picture.astype(np.uint8), values


def test_the_object_is_found_whole_and_alone() -> None:
    picture, values = scene()
    assert SPOT.sum() < 0.06 * OBJECT.sum()
    assert np.array_equal(graph_cut(picture, values), OBJECT)
    assert np.array_equal(graph_cut(picture, 1e-9 * values), OBJECT)  # quantiles know no scale
    # By a threshold the spot alone, or, below the corner's saliency, more than the object.
    assert map_boxes(torch.tensor(values)[None], SIZE, 0.2)[0].tolist() == [24, 26, 32, 32]


def test_the_same_input_gives_the_same_mask_whatever_ran_before() -> None:
    random = np.random.default_rng(1)
    picture = (scene()[0] + random.integers(0, 56, (*SIZE, 3))).astype(np.uint8)
    values = scene()[1]
    first = graph_cut(picture, values)
    graph_cut(*scene(2))
    assert np.array_equal(graph_cut(picture, values), first)
    assert 0 < first.sum() < first.size


def test_saliency_that_says_nothing_finds_nothing() -> None:
    picture, _ = scene()
    assert not graph_cut(picture, np.full(SIZE, 0.3)).any()
    plain = graph_cut(np.full((*SIZE, 3), 7, np.uint8), scene()[1])  # one colour: no cut, all or nothing
    assert plain.all() or not plain.any()
    assert map_boxes(torch.zeros(1, *SIZE), SIZE).tolist() == [[0, 0, 64, 48]]
    for wrong in (np.full(SIZE, np.nan), np.zeros((3, 3))):
        with pytest.raises(ValueError, match="must be uint8"):
            graph_cut(picture, wrong)


class Light(nn.Module):
    """Two classes: the pixels of the spot, and those of the corner."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        corner = images[:, :, 1:6, 2:8].mean(dim=(1, 2, 3))
        return torch.stack([(images * torch.tensor(SPOT)).sum(dim=(1, 2, 3)), corner], dim=1)


def test_the_method_cuts_the_pixels_that_the_network_sees() -> None:
    pictures = [scene(seed)[0] for seed in (0, 3)]
    pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    images = (pixels / 255 - mean) / std
    classes = torch.tensor([[1, 0], [0, 1]])
    model = Light()
    cut = saliency_graph_cut(model, images, classes)
    assert cut.shape == (2, 2, *SIZE)
    raw = saliency(model, images, classes).numpy()
    for number in range(2):
        for place in range(2):
            assert np.array_equal(cut[number, place].bool().numpy(), graph_cut(pictures[number], raw[number, place]))
    assert np.array_equal(cut[0, 1].bool().numpy(), OBJECT)
    line = tables.MAPS["saliency_cut"]
    assert tables.part(line.place) is saliency_graph_cut
    assert not line.seeds
