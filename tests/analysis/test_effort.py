"""NoC, NoF and AUC against golden tables and hand-made curves."""

import numpy as np
import pandas as pd
import pytest

from rclicks.analysis.effort import auc, curves, failures, noc
from rclicks.records.schema import TRAJECTORY
from support import golden, needs_shared


def padded(rows: list, clicks: int) -> np.ndarray:
    """Carry the last value of stopped trajectories on, as `curves` does."""
    return np.array([(row + [row[-1]] * clicks)[:clicks] for row in rows])


@needs_shared
def test_golden_noc_and_nof() -> None:
    cases = golden("behaviour/noc_nof")["cases"]
    assert len(cases) == 4
    for case in cases:
        tables = [("max_clicks_20", case["thresholds"], 20), ("first10_clicks_max_clicks_10", case["thresholds"], 10)]
        tables.append(("max_clicks_20_float32_ious", case["thresholds"], 20))
        checked = 0
        for name, thresholds, clicks in tables:
            if name not in case:
                continue
            ious = padded(case["ious"], clicks)
            if "float32" in name:
                ious = ious.astype(np.float32)
            for k, threshold in enumerate(thresholds):
                assert noc(ious, threshold).mean() == pytest.approx(case[name]["noc"][k], abs=1e-12)
                assert failures(ious, threshold, "equals-budget").sum() == case[name]["nof"][k]
            checked += 1
        if "noc_with_script_thresholds" in case:
            ious = padded(case["ious"], 20)
            for k, threshold in enumerate(case["thresholds_as_computed_by_the_script"]):
                assert noc(ious, threshold).mean() == pytest.approx(case["noc_with_script_thresholds"][k], abs=1e-12)
                assert failures(ious, threshold, "equals-budget").sum() == case["nof_with_script_thresholds"][k]
            checked += 1
        assert checked


def test_the_two_failure_rules_differ_exactly_at_the_last_click() -> None:
    ious = np.array([[0.1, 0.2, 0.95], [0.1, 0.2, 0.3], [0.95, 0.1, 0.1]])
    assert noc(ious, 0.9).tolist() == [3, 3, 1]
    assert failures(ious, 0.9).tolist() == [False, True, False]
    assert failures(ious, 0.9, "equals-budget").tolist() == [True, True, False]


def test_auc_is_the_mean_of_a_straight_line() -> None:
    assert auc(np.array([[0.0, 0.5, 1.0], [0.2, 0.2, 0.2]])) == pytest.approx([0.5, 0.2])
    assert auc(np.array([[0.7]])) == pytest.approx([0.7])


def rows(sample: str, values: list) -> list:
    key = dict.fromkeys(TRAJECTORY, "") | {"sample": sample, "replicate": 0, "run": "r"}
    return [key | {"round": k + 1, "iou": v} for k, v in enumerate(values)]


def test_stopped_trajectories_keep_their_last_value() -> None:
    wide = curves(pd.DataFrame(rows("a", [0.1, 0.9]) + rows("b", [0.2, 0.3, 0.4, 0.5])), 4)
    assert wide.to_numpy().tolist() == [[0.1, 0.9, 0.9, 0.9], [0.2, 0.3, 0.4, 0.5]]
    assert wide.columns.tolist() == [1, 2, 3, 4]


def test_a_nan_score_is_not_taken_for_a_stop() -> None:
    wide = curves(pd.DataFrame(rows("a", [0.1, float("nan"), 0.3])), 4)
    assert np.isnan(wide.to_numpy()[0, 1])
    assert wide.to_numpy()[0, 2:].tolist() == [0.3, 0.3]


def test_doubled_and_missing_rounds_are_refused() -> None:
    good = rows("a", [0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="twice"):
        curves(pd.DataFrame([*good, good[0]]), 3)
    with pytest.raises(ValueError, match="lack a round"):
        curves(pd.DataFrame([good[0], good[2]]), 3)
