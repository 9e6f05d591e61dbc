"""Soft scores and calibration: definitions, properness and empty cases."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from rclicks.metrics.raters.calibration import (
    area_under_risk_coverage,
    dilated_union,
    ece_of_single_raters,
    entropy_correlation,
    gaussian_volume_crps,
    reliability,
    volume_crps,
)
from rclicks.metrics.raters.overlap import vote_fraction
from rclicks.metrics.raters.soft import (
    brier,
    cross_entropy,
    entropy_bits,
    plain_soft_dice,
    soft_dice,
    thresholded_soft_dice,
)

SEEDS = st.integers(0, 2**32 - 1)


def votes_of(seed: int, shape: tuple[int, ...] = (6, 8)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 5, shape) / 4


@settings(max_examples=50, deadline=None)
@given(SEEDS)
def test_proper_scores_are_best_at_the_votes_and_plain_soft_dice_is_not(seed: int) -> None:
    g = votes_of(seed)
    other = np.clip(g + np.random.default_rng(seed).normal(0, 0.2, g.shape), 0, 1)
    assert soft_dice(g, g) == 1
    assert soft_dice(other, g) < 1
    assert brier(g, g) == 0 < brier(other, g)
    assert cross_entropy(g, g) < cross_entropy(other, g)
    assert cross_entropy(g, g) == pytest.approx(entropy_bits(g).mean() * math.log(2), abs=1e-6)
    assert plain_soft_dice(g, g) < plain_soft_dice((g > 0.4).astype(float), g), "a hard map beats the honest one"


@pytest.mark.parametrize(("k", "highest"), [(1, 0.4), (2, 0.667), (3, 0.857), (4, 1.0)])
def test_highest_plain_soft_dice_of_one_mask(k: int, highest: float) -> None:
    raters = np.zeros((4, 5, 5), bool)
    raters[:k, 1:3, 1:3] = True
    assert plain_soft_dice(raters[0].astype(float), vote_fraction(raters)) == pytest.approx(highest, abs=5e-4)
    assert soft_dice(vote_fraction(raters), vote_fraction(raters)) == 1


def test_thresholded_soft_dice_by_hand() -> None:
    p, g = np.array([0.2, 0.6, 0.95]), np.array([0.0, 0.5, 1.0])
    # above .1 all three against two, above .3 two against two, above .5 two against one, .7 and .9 one against one
    assert thresholded_soft_dice(p, g) == pytest.approx((4 / 5 + 1 + 2 / 3 + 1 + 1) / 5)
    assert thresholded_soft_dice(p, g, [0.1]) == pytest.approx(4 / 5)
    assert thresholded_soft_dice(p, g, [0.1], ignore=np.array([True, False, False])) == 1
    low = np.array([0.0, 0.2])
    assert thresholded_soft_dice(low, low, [0.1, 0.5]) == 1
    assert thresholded_soft_dice(low, low, [0.1, 0.5], empty="zero") == 0.5
    assert thresholded_soft_dice(low, low, [0.1, 0.5], empty="skip") == 1
    assert math.isnan(thresholded_soft_dice(low, low, [0.5], empty="skip"))


@pytest.mark.parametrize("score", [soft_dice, plain_soft_dice])
def test_two_empty_maps(score) -> None:
    none = np.zeros((3, 3))
    assert score(none, none) == 1
    assert score(none, none, empty="zero") == 0
    assert math.isnan(score(none, none, empty="skip"))
    with pytest.raises(ValueError, match="empty policy"):
        score(none, none, empty="one")


def test_logits_and_unequal_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="not logits"):
        brier(np.array([-2.0, 3.0]), np.array([0.0, 1.0]))
    with pytest.raises(ValueError, match="expected 0..1"):
        brier(np.array([math.nan, 1.0]), np.array([0.0, 1.0]))
    with pytest.raises(ValueError, match="one shape"):
        soft_dice(np.zeros((2, 3)), np.zeros((3, 2)))


@settings(max_examples=50, deadline=None)
@given(SEEDS, st.integers(1, 20), st.booleans())
def test_reliability_equals_plain_loops(seed: int, bins: int, adaptive: bool) -> None:
    rng = np.random.default_rng(seed)
    p, g = np.round(rng.random(200), 2), rng.integers(0, 5, 200) / 4
    p[:40] = 0
    found = reliability(p, g, bins=bins, adaptive=adaptive)
    assert found.count.sum() == 200
    assert found.edges[0] == 0
    assert found.edges[-1] == 1
    total, worst = 0.0, 0.0
    for b in range(len(found.count)):
        inside = (p > found.edges[b]) & (p <= found.edges[b + 1])
        if b == 0:
            inside |= p == 0
        assert found.count[b] == inside.sum()
        if inside.any():
            miss = abs(p[inside].mean() - g[inside].mean())
            total, worst = total + miss * inside.sum(), max(worst, miss)
    assert (found.ece, found.mce) == pytest.approx((total / 200, worst))
    if not adaptive:
        assert len(found.count) == bins
    shuffled = rng.permutation(200)
    assert reliability(p[shuffled], g[shuffled], bins=bins, adaptive=adaptive).ece == pytest.approx(found.ece)


def test_adaptive_bins_are_equally_full_and_keep_exact_noughts_apart() -> None:
    p = np.concatenate([np.zeros(900), np.linspace(0.001, 1, 100)])
    found = reliability(p, p, bins=100, adaptive=True)
    assert found.count[0] == 900
    even = np.linspace(0, 1, 1000)
    assert set(reliability(even, even, bins=10, adaptive=True).count) <= {99, 100, 101}


def test_region_matters_and_is_obeyed() -> None:
    p, g = np.zeros((20, 20)), np.zeros((20, 20))
    p[9:11, 9:11] = 0.8
    g[9:11, 9:11] = 1.0
    near = dilated_union([g > 0], 1)
    assert near.sum() == 12
    assert dilated_union([g > 1], 3).sum() == 0
    assert dilated_union([g > 0], 0).sum() == 4
    assert reliability(p, g).ece == pytest.approx(0.2 * 4 / 400)
    assert reliability(p, g, region=near).ece == pytest.approx(0.2 * 4 / 12)
    empty = reliability(p, g, region=g > 1)
    assert math.isnan(empty.ece)
    assert math.isnan(empty.mce)


def test_single_raters_cannot_all_be_pleased() -> None:
    raters = np.zeros((2, 1, 10), bool)
    raters[0, 0, :5] = True
    votes = vote_fraction(raters)
    assert reliability(votes, votes).ece == 0
    assert ece_of_single_raters(votes, raters) == pytest.approx(0.25)
    assert ece_of_single_raters(raters[0].astype(float), raters[:1]) == 0


def test_crps_of_volumes() -> None:
    assert volume_crps([10.0], [7.0, 13.0]) == 3.0
    assert volume_crps([7.0, 13.0], [7.0, 13.0]) < volume_crps([10.0], [7.0, 13.0])
    samples, truth = np.array([1.0, 4.0, 6.0]), 3.0
    grid = np.linspace(0, 8, 80001)
    cdf = (samples[None] <= grid[:, None]).mean(axis=1)
    assert volume_crps(samples, [truth]) == pytest.approx(
        integrate.trapezoid((cdf - (grid >= truth)) ** 2, grid), abs=1e-3
    )
    raters = [8.0, 10.0, 15.0]
    normal = stats.norm(np.mean(raters), np.std(raters))
    grid = np.linspace(-40, 60, 200001)
    expected = integrate.trapezoid((normal.cdf(grid) - (grid >= 12.0)) ** 2, grid)
    assert gaussian_volume_crps(12.0, raters) == pytest.approx(expected, abs=1e-3)
    assert gaussian_volume_crps(12.0, [9.0, 9.0]) == 3.0
    assert math.isnan(volume_crps([], [1.0]))
    assert math.isnan(gaussian_volume_crps(1.0, []))


def test_entropy_correlation() -> None:
    g = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
    # One of four raters is as unsure as three of four, and 0.3 as 0.7, whatever the last bits say.
    p = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
    assert entropy_correlation(p, g) == pytest.approx(1)
    assert entropy_correlation(np.array([0.5, 0.7, 0.9, 0.7, 0.5]), g) == pytest.approx(-1)
    assert math.isnan(entropy_correlation(np.round(g + 0.01), g))


def test_risk_coverage() -> None:
    p, g = np.array([0.9, 0.8, 0.6]), np.array([1.0, 1.0, 0.0])
    assert area_under_risk_coverage(p, g) == pytest.approx((0 + 0 + 1 / 3) / 3)
    assert area_under_risk_coverage(np.array([0.6, 0.8, 0.9]), g) == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)
    flat, mixed = np.array([0.3, 0.7, 0.3, 0.7]), np.array([1.0, 1.0, 0.0, 1.0])
    assert area_under_risk_coverage(flat, mixed) == pytest.approx(0.25)
    assert area_under_risk_coverage(flat[::-1], mixed[::-1]) == pytest.approx(0.25)
    assert math.isnan(area_under_risk_coverage(np.zeros(0), np.zeros(0)))
