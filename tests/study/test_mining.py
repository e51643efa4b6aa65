"""Hard-negative mining against a plain loop with scikit-learn, and against the SVM of all negatives."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.svm import LinearSVC

from dsrg.study.mining import mine
from dsrg.study.svm import fit, unit_length


def made(count: int = 240, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features of two rare labels, and of many images without either, some of which are near the first label."""
    random = np.random.default_rng(seed)
    pooled = random.random((count, 6)) * 0.8
    tags = np.zeros((count, 2), bool)
    tags[:20, 0] = tags[12:30, 1] = True
    pooled[:20, 0] += 0.9
    pooled[12:30, 1] += 0.9
    pooled[30:70, 0] += 0.6
    return pooled, tags


def test_rounds_are_those_of_a_plain_loop() -> None:
    pooled, tags = made()
    found = mine(pooled, tags, c=1.0, add=10, seed=4, threads=2)
    features = unit_length(pooled)
    order = np.random.default_rng(4).permutation(len(tags)).tolist()
    for label in range(2):
        own = tags[:, label]
        chosen = [number for number in order if not own[number]][:10]
        counts, svms = [], []
        while True:
            used = sorted([*np.flatnonzero(own).tolist(), *chosen])
            svm = LinearSVC(C=1.0, dual="auto", max_iter=10_000, random_state=4).fit(features[used], own[used])
            svms.append(svm)
            counts.append(len(chosen))
            others = [n for n in range(len(own)) if not own[n] and n not in chosen]
            values = {n: float(svm.decision_function(features[n][None])[0]) for n in others}
            hard = sorted((n for n in others if values[n] > -1), key=lambda n: -values[n])[:10]
            if not hard:
                break
            chosen += hard
        assert found.negatives[label] == tuple(counts)
        for place, svm in ((found.first, svms[0]), (found.last, svms[-1])):
            np.testing.assert_allclose(place.weight[label], svm.coef_[0], atol=1e-9)
            assert place.bias[label] == pytest.approx(svm.intercept_[0], abs=1e-9)
    assert found.negatives[0][0] == 10
    assert len(found.negatives[0]) > 2
    assert found.first.c == found.last.c == 1.0


def test_the_last_svm_is_that_of_all_negatives_with_fewer_of_them() -> None:
    """What is left out has no loss, so the optimum is the same; the first round's is another."""
    pooled, tags = made(1500)
    found = mine(pooled, tags, c=1.0, add=40)
    whole = fit(pooled, tags, c=1.0)
    np.testing.assert_allclose(found.last.decide(pooled), whole.decide(pooled), atol=5e-3)
    assert np.abs(found.first.decide(pooled) - whole.decide(pooled)).max() > 0.1
    for label, counts in enumerate(found.negatives):
        left_out = (~tags[:, label]).sum() - counts[-1]
        assert left_out > 0
        assert all(later > earlier for earlier, later in itertools.pairwise(counts))


def test_negatives_that_are_all_used_end_the_rounds() -> None:
    pooled, tags = made(60)
    found = mine(pooled, tags, c=1.0, add=1000)
    assert found.negatives == ((40,), (42,))
    np.testing.assert_array_equal(found.first.weight, found.last.weight)
    np.testing.assert_allclose(found.last.weight, fit(pooled, tags, c=1.0).weight, atol=1e-6)


def test_what_cannot_be_mined_is_named() -> None:
    pooled, tags = made(60)
    for wrong in ((pooled[:5], tags, 3), (pooled, tags.astype(float), 3), (pooled, tags, 0)):
        with pytest.raises(ValueError, match="add > 0"):
            mine(wrong[0], wrong[1], c=1.0, add=wrong[2])
    with pytest.raises(ValueError, match="one without it"):
        mine(pooled, np.ones_like(tags), c=1.0, add=3)
