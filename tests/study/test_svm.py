"""SVMs on pooled features: the identity of maps and decisions, the division, cross-validation."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.svm import LinearSVC

from dsrg.study import svm as probe
from dsrg.study.svm import Svm, figures, fit, has_one_label_each, hold_out, unit_length


def made(count: int, labels: int, depth: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features that are not negative, each label with a direction of its own; linearly separable."""
    random = np.random.default_rng(seed)
    own = np.arange(count) % labels
    pooled = random.random((count, depth)) * 0.3 + 3 * np.eye(labels, depth)[own]
    scale = random.uniform(0.1, 10, (count, 1))  # of each image by itself, as loud and quiet photographs have
    return pooled * scale, np.eye(labels, dtype=bool)[own]


@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 6), st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_mean_of_a_map_and_the_bias_are_the_decision(batch: int, labels: int, depth: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    svm = Svm(random.normal(size=(labels, depth)), random.normal(size=labels), 1.0)
    features = torch.from_numpy(random.random((batch, depth, 3, 4), np.float32))
    maps = svm.maps(features)
    decisions = svm.decide(features.mean(dim=(2, 3)).numpy())
    assert maps.shape == (batch, labels, 3, 4)
    assert np.abs(maps.mean(dim=(2, 3)).numpy() + svm.bias - decisions).max() < 1e-5


def test_maps_are_the_weighted_sum_of_the_features() -> None:
    random = np.random.default_rng(3)
    svm = Svm(random.normal(size=(2, 5)), random.normal(size=2), 1.0)
    features = torch.from_numpy(random.random((1, 5, 2, 3)))
    length = np.linalg.norm(features[0].numpy().mean(axis=(1, 2)))
    expected = sum(svm.weight[1, k] * features[0, k].numpy() for k in range(5)) / length
    assert np.allclose(svm.maps(features)[0, 1].numpy(), expected)


def test_features_that_are_all_zero_decide_by_the_bias() -> None:
    svm = Svm(np.ones((2, 3)), np.array([0.5, -0.5]), 1.0)
    assert svm.decide(np.zeros((1, 3))).tolist() == [[0.5, -0.5]]
    assert not svm.maps(torch.zeros(1, 3, 2, 2)).any()


def test_separable_data_are_told_apart() -> None:
    pooled, tags = made(60, 4, 8)
    train, held = hold_out(tags, 0.3, seed=0)
    found = figures(fit(pooled[train], tags[train], seed=0).decide(pooled[held]), tags[held])
    assert found == {"accuracy": 1.0, "mean_average_precision": 1.0}


def test_each_label_is_a_linear_svc_against_the_others() -> None:
    pooled, tags = made(24, 3, 5)
    svm = fit(pooled, tags, c=2.0, seed=1, threads=2)
    assert svm.c == 2.0
    for label in range(3):
        reference = LinearSVC(C=2.0, dual="auto", max_iter=10_000, random_state=1)
        reference.fit(unit_length(pooled), tags[:, label])
        assert np.allclose(svm.weight[label], reference.coef_[0])
        assert np.isclose(svm.bias[label], reference.intercept_[0])


def test_c_is_the_candidate_with_the_best_cross_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    pooled, tags = made(18, 3, 5)
    asked: list[float] = []

    def score(features: np.ndarray, tags: np.ndarray, parts: np.ndarray, c: float, *_: object) -> float:
        asked.append(c)
        assert sorted(np.bincount(parts).tolist()) == [6, 6, 6]
        assert all((tags[parts == part].sum(axis=0) == 2).all() for part in range(3))  # each label in proportion
        return {0.1: 0.5, 1.0: 0.9, 10.0: 0.9, 100.0: 0.2}[c]

    monkeypatch.setattr(probe, "_cross_validate", score)
    assert fit(pooled, tags).c == 1.0  # of equal ones the smallest
    assert asked == list(probe.CANDIDATES)


def test_cross_validation_measures_on_what_was_left_out() -> None:
    random = np.random.default_rng(0)
    noise, tags = random.random((30, 40)), np.eye(2, dtype=bool)[np.arange(30) % 2]
    parts = probe._parts(tags, 0)
    # Forty features tell thirty images apart whatever they are; nothing tells those that were left out.
    assert probe._cross_validate(unit_length(noise), tags, parts, 100.0, 0, 1) < 0.85
    assert figures(fit(noise, tags, c=1e4).decide(noise), tags)["accuracy"] == 1.0


def test_a_rare_label_leaves_c_at_one() -> None:
    pooled, tags = made(12, 2, 4)
    tags[:] = False
    tags[:2, 0] = tags[2:, 1] = True
    assert fit(pooled, tags).c == 1.0


@given(st.integers(0, 1000), st.floats(0.05, 0.95), st.booleans())
@settings(max_examples=40, deadline=None)
def test_division_keeps_every_label_on_both_sides(seed: int, share: float, several: bool) -> None:
    random = np.random.default_rng(seed)
    tags = np.eye(4, dtype=bool)[np.arange(40) % 4]
    if several:
        tags |= random.random(tags.shape) < 0.1
    train, held = hold_out(tags, share, seed)
    assert sorted([*train, *held]) == list(range(40))
    assert (np.diff(train) > 0).all()
    assert (np.diff(held) > 0).all()
    if not several:
        assert (tags[held].sum(axis=0) == min(max(round(share * 10), 1), 9)).all()
    again = hold_out(tags, share, seed)
    assert np.array_equal(again[0], train)


def test_an_image_of_several_labels_is_divided_by_its_rarest() -> None:
    tags = np.zeros((10, 2), bool)
    tags[:, 0] = True
    tags[:2, 1] = True
    for seed in range(5):
        train, held = hold_out(tags, 0.5, seed)
        assert tags[train, 1].sum() == tags[held, 1].sum() == 1


def test_figures_of_a_hand_worked_case() -> None:
    decisions = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])
    tags = np.array([[True, False], [False, True], [False, True]])
    found = figures(decisions, tags)
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["mean_average_precision"] == 1.0  # the first label's only image is first, the second's two are too
    assert has_one_label_each(tags)
    assert not has_one_label_each(tags | np.array([True, False]))


def test_images_without_a_label_are_divided_by_themselves_and_have_no_accuracy() -> None:
    tags = np.zeros((20, 2), bool)
    tags[:4, 0] = tags[4:8, 1] = True
    for seed in range(3):
        train, held = hold_out(tags, 0.5, seed)
        assert tags[train].sum(axis=0).tolist() == tags[held].sum(axis=0).tolist() == [2, 2]
        assert len(train) == len(held)
    decisions = np.where(tags, 1.0, -1.0)
    decisions[0] *= -1
    assert figures(decisions, tags)["accuracy"] == 7 / 8
    assert np.isnan(figures(decisions[8:], np.zeros((12, 2), bool))["accuracy"])


@pytest.mark.parametrize(
    ("pooled", "tags", "named"),
    [
        (np.zeros((3, 2, 1)), np.eye(3, dtype=bool), "(N, D)"),
        (np.zeros((3, 2)), np.eye(2, dtype=bool), "(2, 2)"),
        (np.zeros((3, 2)), np.eye(3), "float64"),
        (np.zeros((2, 2)), np.array([[True, False], [True, True]]), "one without"),
        (np.zeros((2, 2)), np.array([[False, False], [False, True]]), "with it"),
    ],
)
def test_what_cannot_be_learnt_is_named(pooled: np.ndarray, tags: np.ndarray, named: str) -> None:
    with pytest.raises(ValueError) as caught:
        fit(pooled, tags)
    assert named in str(caught.value)
