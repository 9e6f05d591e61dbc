"""Energy distance, coverage, matching, diversity, NCC and collective insight: definitions and properties."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rclicks.metrics.raters.diversity import (
    coverage_curve,
    coverage_fidelity_mean,
    distinct_masks,
    prediction_fidelity,
    rater_coverage,
    squared_ged,
)
from rclicks.metrics.raters.insight import collective_insight, difference_variances
from rclicks.metrics.raters.matching import matched, matched_raters
from rclicks.metrics.raters.ncc import ncc
from rclicks.metrics.raters.overlap import Overlaps, Similarity

SEEDS = st.integers(0, 2**32 - 1)


def masks_of(seed: int, count: int, shape: tuple[int, ...] = (6, 7)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.random((count, *shape)) < rng.choice([0.0, 0.1, 0.5], size=(count, 1, 1))


def distance(a: np.ndarray, b: np.ndarray) -> float:
    either = (a | b).sum()
    return 1 - (a & b).sum() / either if either else 0.0


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(1, 5), st.integers(1, 5))
def test_energy_distance_equals_its_definition(seed: int, m: int, r: int) -> None:
    s, y = masks_of(seed, m), masks_of(seed + 1, r)
    found = squared_ged(Overlaps.of(s, y).similarity("iou"))
    across = np.mean([distance(a, b) for a in s for b in y])
    samples = np.mean([distance(a, b) for a in s for b in s])
    raters = np.mean([distance(a, b) for a in y for b in y])
    assert (found.across, found.samples, found.raters) == pytest.approx((across, samples, raters))
    assert found.value == pytest.approx(2 * across - samples - raters)
    assert found.value > -1e-12, "with the diagonals it cannot be below 0"
    assert (found.predictions, found.n_raters) == (m, r)
    off = squared_ged(Overlaps.of(s, y).similarity("iou"), unbiased=True)
    if min(m, r) > 1:
        pairs = [np.mean([distance(a, b) for a, b in itertools.permutations(x, 2)]) for x in (s, y)]
        assert off.value == pytest.approx(2 * across - sum(pairs))
    else:
        assert math.isnan(off.value)


def test_energy_distance_of_the_same_set_is_nought_and_unbiased_below() -> None:
    y = masks_of(4, 4)
    y[0] = True
    same = Overlaps.of(y, y).similarity("iou")
    assert squared_ged(same).value == pytest.approx(0)
    assert squared_ged(same, unbiased=True).value < -0.1


def test_empty_policies_of_the_energy_distance() -> None:
    nothing = np.zeros((2, 3, 3), bool)
    overlaps = Overlaps.of(nothing, nothing)
    found = {empty: squared_ged(overlaps.similarity("iou", empty)) for empty in ("agree", "skip", "zero")}
    assert found["agree"].value == 0
    assert found["agree"].across == 0
    assert math.isnan(found["skip"].value)
    assert found["zero"].across == found["zero"].samples == 1
    full = Overlaps.of(np.ones((1, 3, 3), bool), np.concatenate([nothing, np.ones((1, 3, 3), bool)]))
    skipped = squared_ged(full.similarity("iou", "skip"))
    assert skipped.across == pytest.approx(2 / 3)
    assert skipped.raters == pytest.approx(4 / 5), (
        "nine pairs less the four of two empty masks; four of the rest differ"
    )


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(2, 6), st.integers(1, 5))
def test_coverage_never_falls_with_more_predictions(seed: int, m: int, r: int) -> None:
    s, y = masks_of(seed, m), masks_of(seed + 1, r)
    some, more = (Overlaps.of(part, y).similarity("dice") for part in (s[:-1], s))
    assert rater_coverage(more) >= rater_coverage(some) - 1e-12
    back = Overlaps.of(y, s).similarity("dice")
    assert prediction_fidelity(more) == pytest.approx(rater_coverage(back)), "one is the other from the other side"
    assert coverage_fidelity_mean(more) == pytest.approx(coverage_fidelity_mean(back))


def test_coverage_and_fidelity_are_two_things() -> None:
    y = np.zeros((2, 4, 4), bool)
    y[0, :2], y[1, 2:] = True, True
    dice = Overlaps.of(y[:1], y).similarity("dice")
    assert (rater_coverage(dice), prediction_fidelity(dice), coverage_fidelity_mean(dice)) == (0.5, 1.0, 0.75)
    recall, precision = coverage_curve(dice, [0.0, 0.5, 1.0])
    assert recall.tolist() == [1.0, 0.5, 0.5]
    assert precision.tolist() == [1.0, 1.0, 1.0]


def test_no_rater_gives_nan_and_no_warning() -> None:
    s = np.ones((2, 3, 3), bool)
    none = Overlaps.of(s, np.zeros((2, 3, 3), bool), policy="nonempty")
    assert none.raters == ()
    similar = none.similarity("dice")
    values = [rater_coverage(similar), prediction_fidelity(similar), matched(similar), squared_ged(similar).value]
    values += [curve[0] for curve in coverage_curve(similar, [0.5])]
    assert all(math.isnan(v) for v in values)


def naive_matched(across: np.ndarray) -> float:
    m, r = across.shape
    if m < r:
        return naive_matched(across.T)
    return max(sum(across[i, j] for j, i in enumerate(rows)) for rows in itertools.permutations(range(m), r))


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(1, 4), st.integers(1, 4))
def test_matching_equals_trying_all_assignments(seed: int, m: int, r: int) -> None:
    dice = Overlaps.of(masks_of(seed, m), masks_of(seed + 1, r)).similarity("dice")
    best = naive_matched(dice.across)
    assert matched(dice, "pairs") == pytest.approx(best / min(m, r))
    assert matched(dice, "raters") == pytest.approx(best / r)
    assert matched(dice, "larger") == pytest.approx(best / max(m, r))
    many = math.lcm(m, r)
    if many <= 6:
        repeated = np.tile(dice.across, (many // m, many // r))  # other order of copies, same sets
        assert matched(dice, "repeated") == pytest.approx(naive_matched(repeated) / many)
    own = matched_raters(dice)
    assert np.isnan(own).sum() == max(0, r - m)
    filled = np.where(np.isnan(own), dice.across.max(axis=0), own)
    assert matched(dice, "raters-or-best") == pytest.approx(filled.mean())


def test_matching_leaves_skipped_pairs_out() -> None:
    s = np.zeros((2, 2, 2), bool)
    s[0] = True
    across = Overlaps.of(s, s).similarity("dice", "skip")
    assert [matched(across, rule) for rule in ("pairs", "raters", "larger")] == [1.0, 1.0, 1.0]
    with pytest.raises(ValueError, match="matching rule"):
        matched(across, "best")


def test_distinct_masks() -> None:
    within = np.eye(5)
    within[0, 1] = within[1, 0] = within[1, 2] = within[2, 1] = 0.95
    within[3, 4] = within[4, 3] = 0.9  # not above the threshold
    found = distinct_masks(Similarity(within, within, within, "iou", "agree"))
    assert found.clusters == 3
    assert found.labels.tolist() == [0, 0, 0, 1, 2]
    assert found.effective == pytest.approx(math.exp(-0.6 * math.log(0.6) - 2 * 0.2 * math.log(0.2)))
    even = distinct_masks(Similarity(np.eye(4), np.eye(4), np.eye(4), "iou", "agree"))
    assert even.effective == pytest.approx(4)


def test_ncc_equals_its_definition_by_loops() -> None:
    rng = np.random.default_rng(1)
    p, y = rng.random((3, 5, 6)), (rng.random((2, 5, 6)) < 0.5) * 1.0

    def cost(s: np.ndarray, t: np.ndarray) -> np.ndarray:
        return -t * np.log(s + 1e-8) - (1 - t) * np.log(1 - s + 1e-8)

    own = np.mean([cost(s, p.mean(axis=0)) for s in p], axis=0).ravel()
    values = [np.corrcoef(own, np.mean([cost(s, j) for s in p], axis=0).ravel())[0, 1] for j in y]
    assert ncc(p, y > 0).value == pytest.approx(np.mean(values))
    with pytest.raises(ValueError, match="not logits"):
        ncc(p * 9, y > 0)


def test_collective_insight_variance_and_policies() -> None:
    y = masks_of(8, 4)
    overlaps = Overlaps.of([], y)
    loops = [[np.var(a.astype(float) - b) for b in y] for a in y]
    np.testing.assert_allclose(difference_variances(overlaps.shared, overlaps.pixels), loops, atol=1e-15)
    drawn = np.zeros((2, 3, 3), bool)
    drawn[0, 0] = True
    found = collective_insight(drawn[:1], drawn, policy="nonempty")
    assert (found.raters, found.sensitivity, found.coverage, found.harmonic) == (1, 1.0, 1.0, 1.0)
    assert collective_insight(drawn[:1], drawn).coverage == 0.5
    assert collective_insight(drawn[1:], drawn[:1]).harmonic == 0.0
    with pytest.raises(ValueError, match="at least one"):
        collective_insight(drawn, drawn[1:], policy="nonempty")
