"""The losses equal the oracles and plain loops, and their gradients are right and finite."""

import math

import numpy as np
import pytest
import torch

from dsrg.losses import boundary_loss, floor_probs, floored_softmax, seed_loss


@pytest.fixture
def oracle(shared):
    return np.load(shared / "oracles/losses.npz")


def example():
    generator = torch.Generator().manual_seed(0)
    probs = torch.rand(3, 4, 3, 5, generator=generator, dtype=torch.float64).softmax(1)
    refined = torch.rand(3, 4, 3, 5, generator=generator, dtype=torch.float64).mul(12).softmax(1)
    seeds = torch.randint(0, 5, (3, 3, 5), generator=generator)
    seeds[seeds == 4] = 255
    seeds[1][seeds[1] == 0] = 255  # no background seed
    seeds[2] = 255  # no seed at all
    return probs, refined, seeds


def test_oracles(oracle):
    probs, refined, seeds = (torch.from_numpy(oracle[name]) for name in ("probs", "refined", "seeds"))
    assert seed_loss(probs, seeds).item() == pytest.approx(oracle["seed_loss"], abs=1e-6)
    assert boundary_loss(probs, refined).item() == pytest.approx(oracle["boundary_loss"], abs=1e-6)
    assert seed_loss(probs.float(), seeds).item() == pytest.approx(oracle["seed_loss"], abs=1e-5)
    assert boundary_loss(probs.float(), refined.float()).item() == pytest.approx(oracle["boundary_loss"], abs=1e-5)


def test_seed_loss_equals_loops():
    probs, _, seeds = example()
    total = 0.0
    for p, s in zip(probs.numpy(), seeds.numpy(), strict=True):
        for wanted in (s == 0, (s != 0) & (s != 255)):
            terms = [-math.log(p[s[y, x], y, x]) for y, x in np.argwhere(wanted)]
            total += sum(terms) / len(terms) if terms else 0.0
    assert seed_loss(probs, seeds).item() == pytest.approx(total / 3, abs=1e-12)
    assert torch.equal(seed_loss(probs, seeds.to(torch.uint8)), seed_loss(probs, seeds))


def test_boundary_loss_equals_loops():
    probs, refined, _ = example()
    terms = [q * math.log(min(max(q / p, 0.05), 20)) for p, q in zip(probs.flatten(), refined.flatten(), strict=True)]
    assert boundary_loss(probs, refined).item() == pytest.approx(sum(terms).item() / (3 * 3 * 5), abs=1e-12)


def test_gradients_are_right():
    probs, refined, seeds = example()
    logits = probs.log().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: seed_loss(floored_softmax(x), seeds), logits)
    assert torch.autograd.gradcheck(lambda x: boundary_loss(floored_softmax(x), refined), logits)


def test_no_gradient_through_refined():
    probs, refined, _ = example()
    refined.requires_grad_()
    boundary_loss(probs.requires_grad_(), refined).backward()
    assert refined.grad is None and probs.grad is not None


def test_an_image_without_seeds_costs_nothing_and_has_no_gradient():
    probs, _, seeds = example()
    probs.requires_grad_()
    seed_loss(probs, seeds).backward()
    assert probs.grad.isfinite().all() and (probs.grad[2] == 0).all()
    assert seed_loss(probs, torch.full_like(seeds, 255)).item() == 0


def test_zero_probabilities_stay_finite():
    probs = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).requires_grad_()
    for loss in (
        seed_loss(probs, torch.ones(1, 1, 1).long()),
        boundary_loss(probs, torch.tensor([0.0, 1.0]).view(1, 2, 1, 1)),
        boundary_loss(probs, torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)),
    ):
        probs.grad = None
        loss.backward()
        assert loss.isfinite() and probs.grad.isfinite().all()


def test_zero_refined_classes_add_nothing():
    probs = torch.tensor([0.5, 0.5]).view(1, 2, 1, 1)
    assert boundary_loss(probs, torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)).item() == pytest.approx(math.log(2))
    assert boundary_loss(probs, probs).item() == 0


def test_finite_under_bfloat16_autocast():
    features = torch.randn(2, 8, 4, 4, generator=torch.Generator().manual_seed(0)) * 100
    layer = torch.nn.Conv2d(8, 5, 1)
    with torch.autocast("cpu", torch.bfloat16):
        logits = layer(features)
        probs = floored_softmax(logits)
        loss = seed_loss(probs, torch.full((2, 4, 4), 3)) + boundary_loss(probs, probs.roll(1, 1))
    assert logits.dtype == torch.bfloat16 and probs.dtype == loss.dtype == torch.float32
    loss.backward()
    assert loss.isfinite() and layer.weight.grad.isfinite().all()


def test_floor():
    probs = floor_probs(torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1))
    torch.testing.assert_close(probs.flatten(), torch.tensor([1.0001, 1e-4, 1e-4]) / 1.0003)
    ordinary = torch.rand(2, 3, 4, 4).softmax(1)
    torch.testing.assert_close(floor_probs(ordinary), ordinary, atol=1e-4, rtol=0)


@pytest.mark.parametrize("label", [0, 2], ids=["background", "foreground"])
@pytest.mark.parametrize("wrong", [5e-5, 1e-4, 1e-6, 1e-3, 0.3])
def test_a_seed_below_the_floor_passes_the_gradient_of_the_authors_layer(wrong, label):
    """Their softmax layer, p = (p + 1e-4) / sum(p + 1e-4), and their seed loss on one pixel, differentiated by hand."""
    p = np.full(4, (1 - wrong) / 3)
    p[label] = wrong
    # Every p + 1e-4 is divided by the same 1 + 4e-4, so dL/dp is -1 / (p + 1e-4) at the seed's class alone.
    expected = [(p[label] * (p[c] - (c == label))) / (wrong + 1e-4) for c in range(4)]
    if wrong == 5e-5:
        assert expected[label] == pytest.approx(-1 / 3, abs=1e-4)
    logits = torch.from_numpy(np.log(p)).view(1, 4, 1, 1).requires_grad_()
    loss = seed_loss(floored_softmax(logits), torch.full((1, 1, 1), label))
    loss.backward()
    assert loss.item() == pytest.approx(-math.log((wrong + 1e-4) / (1 + 4e-4)))
    np.testing.assert_allclose(logits.grad.flatten().numpy(), expected, rtol=1e-9)


def test_refuses_shapes_that_do_not_fit():
    probs, refined, seeds = example()
    with pytest.raises(ValueError, match=r"seeds \(3, 2, 5\).*expected \(3, 3, 5\); resize"):
        seed_loss(probs, seeds[:, :2])
    with pytest.raises(ValueError, match="probs must be floating point"):
        seed_loss(probs[0], seeds)
    with pytest.raises(ValueError, match=r"refined \(3, 4, 3, 4\) must have the shape of probs \(3, 4, 3, 5\)"):
        boundary_loss(probs, refined[..., :4])
