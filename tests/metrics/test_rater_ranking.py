"""Stability of rankings under a change of rater or samples."""

import itertools
import math

import numpy as np
import pytest

from rclicks.metrics.raters.ranking import (
    flips,
    mean_scores,
    tau,
    tau_between_references,
    tau_bootstrap,
    win_probability,
)


def test_tau_counts_pairs() -> None:
    a, b = [0.1, 0.4, 0.2, 0.9], [0.3, 0.2, 0.5, 0.8]
    signs = [np.sign(a[i] - a[j]) * np.sign(b[i] - b[j]) for i, j in itertools.combinations(range(4), 2)]
    assert tau(a, b) == pytest.approx(np.mean(signs))
    assert tau(a, a) == pytest.approx(1)
    assert tau(a, [-x for x in a]) == pytest.approx(-1)
    assert math.isnan(tau(a, [1, 1, 1, 1]))


def test_references_and_flips() -> None:
    scores = np.zeros((3, 5, 3))
    scores[:, :, 0] = np.array([0.9, 0.8, 0.1])[:, None]
    scores[:, :, 1] = np.array([0.8, 0.9, 0.1])[:, None]
    scores[:, :, 2] = np.array([0.9, 0.9, 0.1])[:, None]  # a tie flips nothing
    between = tau_between_references(scores)
    assert between[0, 1] == pytest.approx(1 / 3)
    assert np.allclose(np.diag(between)[:2], 1)
    assert flips(scores) == ((0, 1),)
    assert flips(scores[:, :, [0, 2]]) == ()


def test_methods_are_compared_on_the_same_samples() -> None:
    scores = np.array([[[0.2], [0.9]], [[0.3], [math.nan]]])
    assert mean_scores(scores).tolist() == [[0.2], [0.3]]
    assert np.isnan(mean_scores(np.full((2, 2, 1), math.nan))).all()


def test_win_probability() -> None:
    scores = np.array([[[0.9, 0.5], [0.4, math.nan]], [[0.1, 0.5], [0.6, 0.2]]])
    found = win_probability(scores)
    assert found[0, 1] == pytest.approx((1 + 0.5 + 0) / 3)
    assert found[1, 0] == pytest.approx(1.5 / 3)
    assert found[0, 0] == 0.5
    assert np.isnan(win_probability(np.full((2, 1, 1), math.nan))).all()


def test_bootstrap_is_keyed_and_sees_how_sure_a_ranking_is() -> None:
    rng = np.random.default_rng(0)
    clear = np.array([0.9, 0.5, 0.1])[:, None, None] + rng.normal(0, 0.01, (3, 20, 2))
    noisy = 0.5 + rng.normal(0, 0.2, (3, 20, 2))
    sure, unsure = tau_bootstrap(clear, 100), tau_bootstrap(noisy, 100)
    assert (sure == 1).all()
    assert unsure.mean() < 0.9
    assert np.array_equal(unsure, tau_bootstrap(noisy, 100))
    assert not np.array_equal(unsure, tau_bootstrap(noisy, 100, names=["other"]))
    with pytest.raises(ValueError, match="no sample"):
        tau_bootstrap(np.zeros((2, 0, 1)))
    with pytest.raises(ValueError, match="expected"):
        flips(np.zeros((2, 3)))
