"""Measures of robustness: the published notebook's aggregates, and what intervals and tests promise."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rclicks.analysis.robustness import Played, holm, intervals, measures, paired_test
from support import golden, needs_shared

OURS = {
    "ΔGR NoC(%)": ("delta_gr_noc_pct", 100),
    "ΔHH NoC(%)": ("delta_hh_noc_pct", 100),
    "ΔSB NoC(%)": ("delta_sb_noc_pct", 100),
    "ΔGR NoF(D)": ("delta_gr_nof", 1),
    "ΔHH NoF(D)": ("delta_hh_nof", 1),
    "ΔSB NoF(D)": ("delta_sb_nof", 1),
    "ΔGR IoU(D)": ("delta_gr_auc", 1),
    "ΔHH IoU(D)": ("delta_hh_auc", 1),
    "ΔSB IoU(D)": ("delta_sb_auc", 1),
    "Base NoC@20": ("base_noc", 1),
    "Sample NoC@20": ("sample_noc", 1),
    "Sample STD NoC@20": ("sample_noc_std", 1),
    "Base NoF@20": ("base_nof", 1),
    "Sample NoF@20": ("sample_nof", 1),
    "Sample STD NoF@20": ("sample_nof_std", 1),
    "Base IoU@20": ("base_auc", 1),
    "Sample IoU@20": ("sample_auc", 1),
    "Sample STD IoU@20": ("sample_auc_std", 1),
    "Sample NSR IoU@20": ("sample_nsr", 1),
    "Base IoU@1": ("base_iou1", 1),
    "User IoU@1": ("user_iou1", 1),
    "Sample IoU@1": ("user_sample_iou1", 1),
    "User STD IoU@1": ("user_iou1_std", 1),
    "Sample STD IoU@1": ("user_sample_iou1_std", 1),
    "User NSR IoU@1": ("user_iou1_nsr", 1),
    "Sample NSR IoU@1": ("user_sample_iou1_nsr", 1),
}


def golden_ious(facts: dict) -> np.ndarray:
    rng, n = np.random.default_rng(facts["ious_seed"]), facts["n"]
    start, pace = rng.uniform(0.2, 0.8, (n, 1)), rng.uniform(0.05, 0.5, (n, 1))
    values = 1 - (1 - start) * np.exp(-pace * np.arange(20)) * (1 + facts["shift"]) + rng.normal(0, 0.01, (n, 20))
    return np.round(np.clip(values, 0.001, 1), 4)


def golden_people(facts: dict) -> list[np.ndarray]:
    rng = np.random.default_rng(facts["user_lists_seed"])
    return [np.round(rng.uniform(0.05, 0.98, int(rng.integers(5, 30))), 4) for _ in range(facts["n"])]


def golden_played(inputs: dict, model: str, dataset: str) -> Played:
    def facts(mode: str) -> dict:
        return inputs[f"{model}|{dataset}|{mode}"]

    groups = [golden_ious(facts(f"Trajectory_BOUNDS_{g / 10:.3f}_{(g + 1) / 10:.3f}")) for g in range(10)]
    people, sampled = golden_people(facts("User")), golden_people(facts("SamplingUsersCount"))
    return Played(golden_ious(facts("Base")), np.stack(groups)[:, None], people, sampled)


@needs_shared
def test_published_aggregates() -> None:
    record = golden("behaviour/robustness_aggregates")
    compared = 0
    for dataset, models in record["tables"].items():
        for model, table in models.items():
            played = golden_played(record["inputs"], model, dataset)
            if dataset == "TETRIS":
                asked = np.ones(len(played.base), bool)
                asked[[1147, 2123]] = False  # nobody clicked on these two
                played = replace(played, asked=asked)
            found = measures(played, nof_rule="equals-budget")
            for theirs, (ours, scale) in OURS.items():
                # The notebook computes in single precision: 24 bits of numbers up to 1 (or counts up to some hundreds).
                size = max(abs(table[theirs]), table["Sample NoF@20"] if "NoF" in theirs else 1)
                assert found[ours] / scale == pytest.approx(table[theirs], abs=2.0**-23 * size), (
                    dataset,
                    model,
                    theirs,
                )
                compared += 1
    assert compared == 5 * 2 * 26


CURVES = st.integers(0, 2**32 - 1)


def random_played(seed: int, groups: int = 4, replicates: int = 2, n: int = 7, clicks: int = 6) -> Played:
    rng = np.random.default_rng(seed)
    return Played(rng.random((n, clicks)), rng.random((groups, replicates, n, clicks)))


@settings(deadline=None, max_examples=25)
@given(CURVES)
def test_groups_equal_to_the_base_have_no_effect(seed: int) -> None:
    base = random_played(seed).base
    found = measures(Played(base, np.broadcast_to(base, (4, 2, *base.shape))), threshold=0.5)
    zero = [k for k in found if k.startswith(("delta_", "ratio_")) or k.endswith("_std")]
    assert all(found[k] == pytest.approx(0, abs=1e-9) for k in zero if "user" not in k)
    assert found["sample_noc"] == found["base_noc"]


@settings(deadline=None, max_examples=25)
@given(CURVES)
def test_the_order_of_objects_and_replicates_does_not_matter(seed: int) -> None:
    played = random_played(seed)
    shuffled = np.random.default_rng(seed).permutation(len(played.base))
    other = Played(played.base[shuffled], played.groups[:, ::-1][:, :, shuffled])
    a, b = measures(played, 0.7), measures(other, 0.7)
    assert a == pytest.approx(b, nan_ok=True)


def test_replicates_are_averaged_before_ratios() -> None:
    reach_2 = [0.1, 0.95, 0.95, 0.95]
    reach_4 = [0.1, 0.2, 0.3, 0.95]
    played = Played(np.array([reach_2]), np.array([[[reach_2], [reach_4]], [[reach_2], [reach_2]]]))
    found = measures(played)
    assert found["sample_noc"] == 2.5
    assert found["delta_gr_noc_pct"] == 50
    assert found["delta_sb_noc_pct"] == 25


def test_an_odd_number_of_groups_has_no_halves() -> None:
    found = measures(random_played(1, groups=3))
    assert np.isnan(found["delta_hh_noc_pct"])
    assert np.isnan(found["delta_hh_nof"])
    assert np.isfinite(found["delta_gr_noc_pct"])


def test_intervals_hold_the_value_and_shrink_with_more_objects() -> None:
    small, large = random_played(3, n=20), random_played(3, n=500)
    widths = []
    for played in (small, large):
        values, found = measures(played, 0.8), intervals(played, 0.8)
        for name, interval in found.items():
            assert interval.low <= values[name] <= interval.high, name
        widths.append(found["delta_gr_noc_pct"].high - found["delta_gr_noc_pct"].low)
    assert widths[1] < widths[0] / 2
    assert intervals(small, 0.8) == intervals(small, 0.8)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    hits = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        base = rng.random((60, 3))
        found = intervals(Played(base, rng.random((2, 1, 60, 3))), resamples=500)["base_auc"]
        hits += found.low <= 0.5 <= found.high
    assert 0.9 <= hits / 200 <= 0.99


def test_paired_test_and_holm() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=40)
    difference, p = paired_test(a + 1, a)
    assert difference == pytest.approx(1)
    assert p < 1e-6
    assert paired_test(a, a) == (0.0, 1.0)
    assert paired_test(a, rng.permutation(a))[1] > 0.05
    assert holm([0.5, 0.6]) == [1.0, 1.0]
