"""Background weighed by saliency, against a loop over pixels, and what it must never change."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dsrg.saliency import weigh_background

MAPS = arrays.arrays(np.float32, (2, 3), elements=st.floats(0, 1, width=32))
SCORES = arrays.arrays(np.float32, (4, 2, 3), elements=st.floats(-5, 5, width=32))


@pytest.mark.parametrize("odds", [1.0, 0.1])
@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0, 3.0])
def test_it_equals_a_loop(weight: float, odds: float) -> None:
    generator = torch.Generator().manual_seed(0)
    probs = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64).softmax(dim=1)
    saliency = torch.rand(2, 4, 5, generator=generator, dtype=torch.float64)
    saliency[0, 0, :2] = torch.tensor([0.0, 1.0])
    found = weigh_background(probs, saliency, weight, odds)
    for (image, row, column), value in np.ndenumerate(saliency.numpy()):
        held = min(max(value, 0.05), 0.95)
        own = probs[image, :, row, column].tolist()
        own[0] *= odds * ((1 - held) / held) ** weight
        expected = [part / sum(own) for part in own]
        assert found[image, :, row, column].tolist() == pytest.approx(expected, abs=1e-12)


@settings(deadline=None)
@given(scores=SCORES, saliency=MAPS, weight=st.floats(0, 4))
def test_only_background_moves_against_the_rest(scores: np.ndarray, saliency: np.ndarray, weight: float) -> None:
    probs = torch.from_numpy(scores).double().softmax(dim=0)[None]
    found = weigh_background(probs, torch.from_numpy(saliency).double()[None], weight)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(1, 2, 3, dtype=torch.float64))
    torch.testing.assert_close(found[:, 1:] * probs[:, 1:2], probs[:, 1:] * found[:, 1:2])
    high = torch.from_numpy(saliency >= 0.5)
    assert (found[0, 0][high] <= probs[0, 0][high] + 1e-12).all()
    assert (found[0, 0][~high] >= probs[0, 0][~high] - 1e-12).all()


def test_what_does_not_fit_is_refused() -> None:
    probs = torch.full((1, 2, 3, 3), 0.5)
    with pytest.raises(ValueError, match="saliency"):
        weigh_background(probs, torch.zeros(1, 2, 3), 1)
    with pytest.raises(ValueError, match="weight"):
        weigh_background(probs, torch.zeros(1, 3, 3), -1)
    with pytest.raises(ValueError, match="odds"):
        weigh_background(probs, torch.zeros(1, 3, 3), 1, 0)
