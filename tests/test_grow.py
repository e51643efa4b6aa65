"""Growing equals a flood fill, the oracles, and itself on both code paths."""

from collections import deque

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dsrg import grow
from dsrg.grow import grow_seeds

PATHS = {"cpu": grow._seeded_components_cpu, "device": grow._seeded_components_device}


@pytest.fixture(params=PATHS)
def path(request, monkeypatch):
    """Run a test through each of the two ways to find components, both on CPU tensors."""
    monkeypatch.setattr(grow, "_seeded_components_cpu", PATHS[request.param])


def flood_fill(seeds, probs, tags, theta_fg, theta_bg):
    """The paper's loop with a queue, one image: seeds (h, w), probs (C, h, w), tags (C,)."""
    height, width = seeds.shape
    # A frame of a label that no candidate has keeps the search inside; -1 marks pixels that are no candidate.
    candidate = np.full((height + 2, width + 2), -1)
    own = np.flatnonzero(tags)
    if len(own):
        winner = own[probs[own].argmax(axis=0)]
        threshold = np.where(winner == 0, theta_bg, theta_fg).astype(probs.dtype)
        candidate[1:-1, 1:-1] = np.where(probs[own].max(axis=0) > threshold, winner, -1)
    grown = np.pad(seeds, 1, constant_values=255).ravel().tolist()
    candidate = candidate.ravel().tolist()
    row = width + 2
    queue = deque(place for place, label in enumerate(grown) if label != 255)
    while queue:
        place = queue.popleft()
        for step in (-row - 1, -row, -row + 1, -1, 1, row - 1, row, row + 1):
            if grown[place + step] == 255 and candidate[place + step] == grown[place]:
                grown[place + step] = grown[place]
                queue.append(place + step)
    return np.array(grown, seeds.dtype).reshape(height + 2, row)[1:-1, 1:-1]


def random_batch(seed, batch, height, width, classes, density, blob):
    """A batch whose probabilities are blocky, confident and full of exact ties and threshold values."""
    rng = np.random.default_rng(seed)
    coarse = rng.choice([0, 0.5, 0.85, 0.9, 0.99, 1], (batch, classes, -(-height // blob), -(-width // blob)))
    probs = coarse.repeat(blob, 2).repeat(blob, 3)[:, :, :height, :width].astype(np.float32)
    tags = rng.random((batch, classes)) < rng.choice([0.1, 0.6])
    seeds = np.where(rng.random((batch, height, width)) < density, rng.integers(0, classes, (1, height, width)), 255)
    return torch.from_numpy(seeds.astype(np.uint8)), torch.from_numpy(probs), torch.from_numpy(tags)


batches = st.builds(
    random_batch,
    seed=st.integers(0, 2**32 - 1),
    batch=st.integers(1, 2),
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    classes=st.integers(2, 81),
    density=st.sampled_from([0, 0.001, 0.01, 0.1, 0.5, 1]),
    blob=st.integers(1, 12),
)


@given(case=batches)
@settings(deadline=None, max_examples=2000)
def test_every_path_equals_a_flood_fill(case):
    seeds, probs, tags = case
    expected = [flood_fill(*(t.numpy() for t in image), 0.85, 0.99) for image in zip(seeds, probs, tags, strict=True)]
    for find in PATHS.values():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(grow, "_seeded_components_cpu", find)
            np.testing.assert_array_equal(grow_seeds(seeds, probs, tags).numpy(), np.stack(expected))
    if torch.cuda.is_available():
        on_gpu = grow_seeds(seeds.cuda(), probs.cuda(), tags.cuda())
        np.testing.assert_array_equal(on_gpu.cpu().numpy(), np.stack(expected))


@given(case=batches)
@settings(deadline=None, max_examples=40)
def test_keeps_seeds_is_idempotent_and_monotone(case):
    seeds, probs, tags = case
    grown = grow_seeds(seeds, probs, tags)
    seeded = seeds != 255
    assert torch.equal(grown[seeded], seeds[seeded])
    assert torch.equal(grow_seeds(grown, probs, tags), grown)
    stricter = grow_seeds(seeds, probs, tags, theta_fg=0.9, theta_bg=0.995)
    assert torch.equal(stricter[stricter != 255], grown[stricter != 255])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_oracles(path, shared, dtype):
    oracle = np.load(shared / "oracles/grow.npz")
    for i in range(int(oracle["count"])):
        seeds, probs, tags = (torch.from_numpy(oracle[f"{name}_{i}"])[None] for name in ("seeds", "probs", "tags"))
        grown = grow_seeds(seeds.to(dtype), probs, tags)
        assert grown.dtype == dtype
        np.testing.assert_array_equal(grown[0].numpy(), oracle[f"grown_{i}"])


def spiral(size):
    """A path one pixel wide from the corner to the middle, its windings one pixel apart."""
    mask = np.zeros((size, size), bool)
    y, x, dy, dx = 0, 0, 0, 1
    mask[0, 0] = True
    for _ in range(2 * size):
        while True:
            ahead, beyond = (y + dy, x + dx), (y + 2 * dy, x + 2 * dx)
            inside = 0 <= ahead[0] < size and 0 <= ahead[1] < size
            blocked = 0 <= beyond[0] < size and 0 <= beyond[1] < size and mask[beyond]
            if not inside or blocked or mask[ahead]:
                break
            y, x = ahead
            mask[y, x] = True
        dy, dx = dx, -dy
    return mask, (y, x)


@pytest.mark.parametrize("flip", [False, True])
def test_grows_along_a_spiral_to_its_end(path, flip):
    arm, end = spiral(41)
    assert 700 < arm.sum() < 900
    start = end if flip else (0, 0)
    seeds = torch.full((1, 41, 41), 255, dtype=torch.uint8)
    seeds[0][start] = 1
    foreground = torch.from_numpy(np.where(arm, 0.9, 0.5).astype(np.float32))
    grown = grow_seeds(seeds, torch.stack((1 - foreground, foreground))[None], torch.ones(1, 2, dtype=torch.bool))
    np.testing.assert_array_equal(grown[0] == 1, arm)


def test_the_device_path_compares_thrice_at_most_even_on_a_spiral(monkeypatch):
    """Each comparison makes the host wait for the device."""
    compared = []
    equal = torch.equal
    monkeypatch.setattr(torch, "equal", lambda *tensors: compared.append(1) or equal(*tensors))
    arm, end = spiral(90)
    seeded = torch.zeros(1, 90, 90, dtype=torch.bool)
    seeded[0][end] = True
    reached = grow._seeded_components_device(torch.from_numpy(np.where(arm, 1, 255))[None], seeded)
    assert (reached[0].numpy() & arm).sum() == arm.sum() > 4000
    assert len(compared) <= 3


def test_images_do_not_touch(path):
    seeds = torch.full((3, 4, 5), 255)
    seeds[1] = 1
    probs = torch.zeros(3, 2, 4, 5)
    probs[:, 1] = 1
    grown = grow_seeds(seeds, probs, torch.ones(3, 2, dtype=torch.bool))
    assert torch.equal(grown, seeds)


def test_absent_background_is_no_candidate(path):
    probs = torch.tensor([0.6, 0.9]).view(1, 2, 1, 1).expand(1, 2, 3, 3).flip(1)
    seeds = torch.full((1, 3, 3), 255)
    seeds[0, 0, 0] = 0
    for tags in ([True, True], [False, True]):
        grown = grow_seeds(seeds, probs, torch.tensor([tags]), theta_bg=0.8)
        assert (grown == 0).all() == tags[0]


def test_thresholds_are_not_rounded_to_half_precision():
    just_above = torch.tensor(0.8501, dtype=torch.float16)  # the float16 nearest to 0.85, above it
    probs = torch.stack((1 - just_above, just_above)).view(1, 2, 1, 1).expand(1, 2, 2, 2)
    seeds = torch.tensor([[[1, 255], [255, 255]]])
    assert (grow_seeds(seeds, probs, torch.ones(1, 2, dtype=torch.bool)) == 1).all()


def test_probabilities_may_carry_gradient():
    probs = torch.rand(1, 2, 3, 3, requires_grad=True)
    assert not grow_seeds(torch.zeros(1, 3, 3).long(), probs, torch.ones(1, 2, dtype=torch.bool)).requires_grad


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": torch.zeros(2, 5, 5).long()}, r"seeds \(2, 5, 5\).*expected \(2, 3, 4\); resize"),
        ({"seeds": torch.zeros(2, 3, 4)}, "must be uint8 or int64"),
        ({"probs": torch.zeros(2, 3, 4)}, "probs must be floating point"),
        ({"probs": torch.zeros(2, 256, 3, 4)}, "at most 255 fit"),
        ({"tags": torch.ones(2, 4, dtype=torch.bool)}, r"tags must be bool \(2, 5\)"),
        ({"tags": torch.ones(2, 5)}, r"tags must be bool \(2, 5\)"),
    ],
)
def test_refuses_shapes_that_do_not_fit(change, message):
    good = {
        "seeds": torch.zeros(2, 3, 4, dtype=torch.uint8),
        "probs": torch.zeros(2, 5, 3, 4),
        "tags": torch.ones(2, 5, dtype=torch.bool),
    }
    with pytest.raises(ValueError, match=message):
        grow_seeds(**(good | change))
