"""CAM arithmetic against per-pixel loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dsrg.cam import (
    BACKGROUND_CUES,
    background_score,
    label_probs,
    merge_labels,
    merge_scales,
    normalise,
    otsu_thresholds,
    to_joint_seeds,
    to_labels,
    to_seeds,
    with_background,
)

SETTINGS = {"foreground_threshold": 0.5, "background_threshold": 0.25, "alpha": 4.0}


def naive_seeds(cams, tags, background, saliency, foreground_threshold, background_threshold, alpha):
    """The definition, pixel by pixel, one image: cams (K, h, w), tags (C,), saliency (h, w)."""
    _, height, width = cams.shape
    seeds = np.full((height, width), 255)
    for y in range(height):
        for x in range(width):
            own = [(cams[c - 1, y, x], -c) for c in range(1, len(tags)) if tags[c]]
            best, winner = max(own, default=(np.float64(0), 0))
            power = (1 - best) ** alpha
            if best > foreground_threshold and (background != "power" or best > power):
                seeds[y, x] = -winner
            elif {
                "cam": best < background_threshold,
                "power": power > best,
                "saliency": saliency[y, x] < 0.06,
            }[background]:
                seeds[y, x] = 0
    return seeds


@st.composite
def cases(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    batch, maps, height, width = (draw(st.integers(1, top)) for top in (3, 5, 8, 8))
    # Multiples of 1/8 are exact in floating point and hit thresholds and ties.
    cams = torch.from_numpy(rng.integers(0, 9, (batch, maps, height, width)) / 8)
    tags = torch.from_numpy(rng.random((batch, maps + 1)) < 0.6)
    tags[:, 0] = True
    return cams, tags, torch.from_numpy(rng.random((batch, height, width)) * 0.12)


@pytest.mark.parametrize("background", BACKGROUND_CUES)
@given(case=cases())
@settings(deadline=None, max_examples=30)
def test_seeds_equal_loops(background, case):
    cams, tags, saliency = case
    seeds = to_seeds(cams, tags, background=background, saliency=saliency, **SETTINGS)
    images = zip(cams.numpy(), tags.numpy(), saliency.numpy(), strict=True)
    expected = [naive_seeds(c, t, background, s, **SETTINGS) for c, t, s in images]
    assert seeds.dtype == torch.uint8
    np.testing.assert_array_equal(seeds.numpy(), np.stack(expected))


@pytest.mark.parametrize("background", BACKGROUND_CUES)
@given(case=cases(), lower=st.floats(0.25, 1), higher=st.floats(0.25, 1))
@settings(deadline=None, max_examples=30)
def test_seeds_name_own_classes_and_shrink_with_the_threshold(background, case, lower, higher):
    cams, tags, saliency = case
    lower, higher = sorted((lower, higher))
    cue = {"background": background, "saliency": saliency, "background_threshold": 0.25, "alpha": 4.0}
    many = to_seeds(cams, tags, foreground_threshold=lower, **cue)
    few = to_seeds(cams, tags, foreground_threshold=higher, **cue)
    for seeds, own in zip(many, tags, strict=True):
        assert all(own[label] for label in seeds.unique().tolist() if label != 255)
    foreground = (few != 0) & (few != 255)
    assert torch.equal(few[foreground], many[foreground])


JOINT = {"cam_foreground": 0.125, "cam_background": 0.375, "saliency_foreground": 0.09, "saliency_background": 0.03}


@given(case=cases())
@settings(deadline=None, max_examples=30)
def test_joint_seeds_equal_loops(case):
    cams, tags, saliency = case
    expected = np.full(saliency.shape, 255)
    for image, y, x in np.ndindex(saliency.shape):
        own = [(cams[image, c - 1, y, x].item(), -c) for c in range(1, tags.shape[1]) if tags[image, c]]
        best, winner = max(own, default=(0.0, 0))
        if best > 0.125 and saliency[image, y, x] > 0.09:
            expected[image, y, x] = -winner
        elif best < 0.375 and saliency[image, y, x] < 0.03:
            expected[image, y, x] = 0
    seeds = to_joint_seeds(cams, tags, saliency, **JOINT)
    assert seeds.dtype == torch.uint8
    np.testing.assert_array_equal(seeds.numpy(), expected)


@given(case=cases(), key=st.sampled_from(list(JOINT)), change=st.floats(0, 0.06))
@settings(deadline=None, max_examples=30)
def test_joint_seeds_are_those_of_either_witness_and_fewer_the_stricter(case, key, change):
    cams, tags, saliency = case
    seeds = to_joint_seeds(cams, tags, saliency, **JOINT)
    by_cam = to_seeds(
        cams, tags, foreground_threshold=0.125, background="saliency", saliency=torch.ones_like(saliency),
        background_threshold=0.0, alpha=1.0,
    )  # fmt: skip
    foreground = (seeds != 0) & (seeds != 255)
    assert torch.equal(seeds[foreground], by_cam[foreground])
    assert (saliency[foreground] > 0.09).all()
    assert (saliency[seeds == 0] < 0.03).all()
    stricter = JOINT[key] + (change if key.endswith("foreground") else -min(change, 0.03))
    fewer = to_joint_seeds(cams, tags, saliency, **(JOINT | {key: stricter}))
    assert torch.equal(fewer[fewer != 255], seeds[fewer != 255])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"saliency": torch.zeros(1, 5, 5)}, r"saliency must be \(1, 4, 4\).*not \(1, 5, 5\)"),
        ({"saliency_background": 0.1}, r"must lie between 0 and saliency_foreground \(0.09\)"),
        ({"saliency_foreground": 1.5}, "and that at most at 1"),
    ],
)
def test_joint_seeds_refuse_what_does_not_fit(change, message):
    good = {
        "cams": torch.zeros(1, 2, 4, 4),
        "tags": torch.ones(1, 3, dtype=torch.bool),
        "saliency": torch.zeros(1, 4, 4),
    }
    with pytest.raises(ValueError, match=message):
        to_joint_seeds(**(good | JOINT | change))


def test_joint_background_needs_its_tag():
    cams, tags = torch.zeros(1, 1, 2, 2), torch.tensor([[False, True]])
    assert (to_joint_seeds(cams, tags, torch.zeros(1, 2, 2), **JOINT) == 255).all()


def test_background_needs_its_tag():
    cams, tags = torch.zeros(1, 1, 2, 2), torch.tensor([[False, True]])
    assert (to_seeds(cams, tags, background="cam", **SETTINGS) == 255).all()


def test_normalise():
    cams = torch.tensor([[-1.0, 2.0, 4.0], [-3.0, -2.0, -1.0], [5.0, 6.0, 7.0]]).view(1, 3, 1, 3)
    result = normalise(cams, torch.tensor([[True, True, True, False]]))
    expected = torch.tensor([[0, 0.5, 1], [0, 0, 0], [0, 0, 0]]).view(1, 3, 1, 3)
    torch.testing.assert_close(result, expected)


def test_merge_scales():
    maps = [torch.randn(2, 3, *size) for size in ((4, 5), (8, 10))]
    merged = merge_scales(maps, (6, 7))
    expected = sum(
        torch.nn.functional.interpolate(m.clamp(min=0), size=(6, 7), mode="bilinear", align_corners=True) for m in maps
    )
    torch.testing.assert_close(merged, expected)
    torch.testing.assert_close(merge_scales(maps[:1], (4, 5)), maps[0].relu())
    # Corner on corner: the grids of a network of stride 8 share their corner cells, whatever their size.
    corners = (slice(None), slice(None), slice(None, None, 5), slice(None, None, 6))
    expected = maps[0][:, :, ::3, ::4].relu() + maps[1][:, :, ::7, ::9].relu()
    torch.testing.assert_close(merged[corners], expected)


def test_background_score():
    cams = torch.tensor([[0.5, 0.0], [0.25, 1.0]]).view(1, 2, 1, 2)
    torch.testing.assert_close(background_score(cams, 2), torch.tensor([[[0.25, 0.0]]]))


def test_labels():
    cams = torch.tensor([[0.1, 0.3, 0.5], [0.2, 0.3, 0.9]]).view(1, 2, 1, 3)
    every = torch.ones(1, 3, dtype=torch.bool)
    assert to_labels(cams, every, 0.2).flatten().tolist() == [0, 1, 2]
    assert to_labels(cams, torch.tensor([[True, True, False]]), 0.2).flatten().tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tags": torch.ones(1, 2, dtype=torch.bool)}, r"tags must be bool \(1, 3\) to fit cams \(1, 2, 4, 4\)"),
        ({"cams": torch.zeros(2, 4, 4)}, "cams must be floating point"),
        ({"background": "none"}, "it must be one of cam, power, saliency"),
        ({"background_threshold": 0.6}, r"between 0 and foreground_threshold \(0.5\)"),
        ({"foreground_threshold": 1.5}, "must lie in 0..1"),
        ({"background": "power", "alpha": 0}, "alpha is 0"),
        ({"background": "saliency"}, r"saliency must be \(1, 4, 4\).*not None"),
        ({"background": "saliency", "saliency": torch.zeros(1, 5, 5)}, r"not \(1, 5, 5\)"),
    ],
)
def test_seeds_refuse_what_does_not_fit(change, message):
    good = {"cams": torch.zeros(1, 2, 4, 4), "tags": torch.ones(1, 3, dtype=torch.bool), "background": "cam"}
    with pytest.raises(ValueError, match=message):
        to_seeds(**(good | SETTINGS | change))


def test_merge_refuses_maps_that_differ():
    with pytest.raises(ValueError, match="maps is empty"):
        merge_scales([], (4, 4))
    with pytest.raises(ValueError, match=r"not \(1, 2, 4, 4\), \(1, 3, 4, 4\)"):
        merge_scales([torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 4, 4)], (4, 4))


@given(counts=st.lists(st.integers(0, 50), min_size=3, max_size=12).filter(any))
@settings(deadline=None)
def test_otsu_thresholds_have_the_largest_variance_between_three_groups(counts):
    values = np.repeat((np.arange(len(counts)) + 0.5) / len(counts), counts)

    def between(low, high):
        groups = (values[values < low], values[(values >= low) & (values < high)], values[values >= high])
        return sum(len(group) * (group.mean() - values.mean()) ** 2 for group in groups if len(group))

    edges = np.arange(1, len(counts)) / len(counts)
    best = max(between(low, high) for low in edges for high in edges if low < high)
    low, high = otsu_thresholds(np.array(counts))
    assert low < high
    np.testing.assert_allclose(between(low, high), best, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("counts", [[1, 2], [0, 0, 0]])
def test_otsu_thresholds_need_values_and_bins(counts):
    with pytest.raises(ValueError, match="at least 3 bins"):
        otsu_thresholds(np.array(counts))


def test_scores_with_background_have_the_labels_as_their_largest():
    generator = torch.Generator().manual_seed(0)
    cams = torch.rand(2, 3, 4, 5, generator=generator, dtype=torch.float64)
    tags = torch.tensor([[True, True, False, True], [True, False, True, False]])
    cams = cams * tags[:, 1:, None, None]
    probs = with_background(cams, tags, 0.4)
    assert torch.equal(probs.argmax(dim=1), to_labels(cams, tags, 0.4).long())
    assert not probs[~tags].any()
    for row, column in ((0, 0), (3, 4)):
        odds = [math.exp(value) for value in (0.4, float(cams[1, 1, row, column]))]
        assert probs[1, [0, 2], row, column].tolist() == pytest.approx([odd / sum(odds) for odd in odds])


def test_label_probs_share_the_rest_among_the_own_classes():
    labels = torch.tensor([[[0, 2], [3, 0]], [[0, 0], [0, 0]]])
    tags = torch.tensor([[True, False, True, True], [True, False, False, False]])
    probs = label_probs(labels, tags)
    for image, y, x in np.ndindex(labels.shape):
        for c in range(4):
            own = int(tags[image].sum())
            expected = (
                0 if not tags[image, c] else 1 if own == 1 else 0.7 if labels[image, y, x] == c else 0.3 / (own - 1)
            )
            assert probs[image, c, y, x] == pytest.approx(expected)


def test_merged_labels_leave_what_the_two_cuts_disagree_on():
    foreground, background = torch.tensor([0, 0, 2, 2, 0]), torch.tensor([0, 1, 2, 0, 3])
    assert merge_labels(foreground, background).tolist() == [0, 255, 2, 2, 255]
