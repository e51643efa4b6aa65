"""The gate against a loop over pixels, and what it must never change."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dsrg.crf import dense_crf
from dsrg.gate import gate


def draw_probs(batch: int = 2, classes: int = 4, height: int = 5, width: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(batch * classes)
    return torch.rand(batch, classes, height, width, generator=generator, dtype=torch.float64).mul(5).softmax(dim=1)


def test_it_equals_a_loop() -> None:
    probs = draw_probs()
    class_probs = torch.tensor([[0.0, 0.1, 0.49], [0.5, 0.51, 1.0]], dtype=torch.float64)
    gated = gate(probs, class_probs)
    for (image, label, row, column), value in np.ndenumerate(probs.numpy()):
        factor = 1.0 if label == 0 else min(1.0, float(class_probs[image, label - 1]) / 0.5)
        assert float(gated[image, label, row, column]) == pytest.approx(value * factor, abs=1e-15)


SHARES = arrays.arrays(np.float32, (3,), elements=st.floats(0, 1, width=32))
PIXELS = arrays.arrays(np.float32, (1, 4, 2, 3), elements=st.floats(0, 1, width=32))


@settings(deadline=None)
@given(pixels=PIXELS, shares=SHARES)
def test_background_keeps_its_bits_and_so_does_what_the_classifier_sees(pixels: np.ndarray, shares: np.ndarray) -> None:
    probs = torch.from_numpy(pixels)
    gated = gate(probs, torch.from_numpy(shares)[None])
    assert torch.equal(gated[:, 0], probs[:, 0])
    seen = np.flatnonzero(shares >= 0.5) + 1
    assert torch.equal(gated[:, seen], probs[:, seen])
    assert (gated <= probs).all()
    # where background was ahead of a class it stays so
    behind = probs[:, 1:] <= probs[:, :1]
    assert (gated[:, 1:] <= gated[:, :1])[behind].all()


def test_the_crf_needs_no_sum_of_one() -> None:
    """So nothing is divided out before it: without iterations it gives back the argmax of the gated values."""
    gated = gate(draw_probs(), torch.tensor([[0.2, 0.05, 0.9], [0.01, 0.3, 0.5]]))
    images = torch.randint(0, 255, (2, 3, 5, 6), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    whole = gated / gated.sum(dim=1, keepdim=True)
    for iterations in (0, 3):
        refined = dense_crf(gated, images, engine="exact", iterations=iterations)
        torch.testing.assert_close(refined, dense_crf(whole, images, engine="exact", iterations=iterations))
        assert iterations or torch.equal(refined.argmax(dim=1), gated.argmax(dim=1))


@pytest.mark.parametrize("shape", [(2, 4), (1, 3), (2, 3, 1)])
def test_what_does_not_fit_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(2, 3\)"):
        gate(draw_probs(), torch.zeros(shape))
