"""Masks from probabilities: own classes alone, and nothing where the network is unsure."""

import numpy as np
import pytest
import torch

from dsrg import inference
from dsrg.crf import dense_crf
from dsrg.labels import IGNORE

CRF = {
    "engine": "exact",
    "iterations": 5,
    "bilateral_sxy": 4.0,
    "bilateral_srgb": 13.0,
    "bilateral_weight": 4.0,
    "gaussian_sxy": 1.0,
    "gaussian_weight": 1.0,
}


@pytest.fixture
def probs() -> torch.Tensor:
    return torch.randn(5, 7, 9, generator=torch.Generator().manual_seed(0)).softmax(dim=0)


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.randint(0, 256, (3, 7, 9), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


@pytest.mark.parametrize("crf", [None, CRF])
@pytest.mark.parametrize("own", [(0, 2, 3), (0, 1, 2, 3, 4), None])
def test_unsure_pixels_are_left_out(
    probs: torch.Tensor, pixels: torch.Tensor, crf: dict | None, own: tuple[int, ...] | None
) -> None:
    tags = None if own is None else torch.tensor([index in own for index in range(5)])
    classes = list(own or range(5))
    refined = probs
    if crf is not None:
        refined = dense_crf(probs[None], pixels[None], None if tags is None else tags[None], **crf)[0]
    mask = inference.to_mask(probs, pixels, tags, crf=crf, confidence=0.5)
    everything = inference.to_mask(probs, pixels, tags, crf=crf)
    for row in range(7):
        for column in range(9):
            best = max(classes, key=lambda index: float(refined[index, row, column]))
            trust = float(probs[best, row, column]) / sum(float(probs[index, row, column]) for index in classes)
            assert int(everything[row, column]) == best
            assert int(mask[row, column]) == (best if trust >= 0.5 else IGNORE)
    assert 0 < np.mean(mask.numpy() == IGNORE) < 1
