"""The table of measures of all raters: what is averaged over what, intervals, what is undefined."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

import rclicks
from rclicks.analysis.bootstrap import Interval, mean_interval
from rclicks.analysis.rater_set_table import rater_set_table
from rclicks.analysis.rater_tables import rater_summary
from rclicks.analysis.runs import Runs, Threshold, load_runs
from rclicks.analysis.tables import make_table
from rclicks.errors import ProtocolError
from rclicks.metrics.raters.consensus import RULES
from rclicks.reports.terminal import print_table
from support import REPOSITORY

PLUGINS = REPOSITORY / "tests" / "plugins"
NAN = float("nan")


def runs(rows: list[dict[str, Any]], metrics: tuple[str, ...] = ("ged", "dice-union")) -> Runs:
    usual = {"run": "r", "model": "m", "checkpoint": "none", "dataset": "d", "object": "0", "rater": "ann", "user": "u"}
    usual |= {"group": "", "replicate": 0, "round": 1, "kind": "click", "flags": "", "iou": 0.5, "set_size": 4.0}
    usual |= {
        "raters": ["ann", "bob"],
        "rater_dice": [0.5, 0.5],
        "followed_dice": [1.0, 0.5],
        "rater_area": [9, 9],
    } | dict.fromkeys(metrics, 0)
    header = {
        "benchmark": "b",
        "effective": {
            "protocol": {"name": "default", "clicks": 2, "nof": "never-reached"},
            "metrics": ["iou", *metrics],
            "models": [{"label": "m", "name": "m"}],
            "datasets": [{"label": "d", "name": "d"}],
            "users": [{"label": "u", "name": "robot", "options": {}}],
        },
    }
    units = pd.DataFrame({"dataset": ["d"], "model": ["m"], "sample": ["s"], "clicks": [1]})
    return Runs(pd.DataFrame([usual | row for row in rows]), units, pd.DataFrame(), header)


def lines(found: Runs) -> list[dict[str, Any]]:
    return rater_set_table(found).frame.to_dict("records")


def by_hand(values: list[float]) -> str:
    """Return the interval of the mean of samples: 2000 draws with replacement, seed 42, the middle 95 %."""
    n = len(values)
    counts = np.random.default_rng(42).multinomial(n, [1 / n] * n, size=2000)
    low, high = np.quantile([(c * values).sum() / n for c in counts], [0.025, 0.975])
    return f"[{low:.4f}, {high:.4f}]"


def test_a_sample_counts_once() -> None:
    rows = [{"sample": "a", "rater": r, "ged": v} for r, v in (("ann", 0.1), ("bob", 0.3))]
    rows += [{"sample": "a", "object": "1", "ged": 0.8}, {"sample": "b", "ged": 1.0}, {"sample": "c", "ged": 0.2}]
    ged, union = lines(runs(rows))
    assert (ged["metric"], ged["better"], ged["reference"]) == ("ged", "lower", "raters")
    assert ged["mean"] == pytest.approx((0.4 + 1.0 + 0.2) / 3)
    assert ged["95 % CI"] == by_hand([0.4, 1.0, 0.2])
    assert (ged["samples"], ged["undefined"], ged["M"]) == (3, 0, "4")
    assert (union["metric"], union["better"]) == ("dice-union", "higher")
    assert pd.isna(union["M"]), "of the one mask"


def test_the_last_interaction_counts() -> None:
    rows = [{"sample": "a", "round": k, "ged": v, "set_size": k} for k, v in ((2, 0.2), (3, 0.3), (1, 0.9))]
    rows += [{"sample": "b", "round": 1, "ged": 0.5, "set_size": 1}]
    assert [(row["mean"], row["M"]) for row in lines(runs(rows, ("ged",)))] == [(pytest.approx(0.4), "1, 3")]


def test_kinds_of_truth_groups_and_models_stand_apart() -> None:
    rows = [{"sample": "a", "rater": r, "ged": i / 10} for i, r in enumerate(("ann", "bob", "majority", "staple"))]
    rows += [{"sample": "a", "group": "G1", "ged": 0.7}, {"sample": "a", "model": "other", "ged": 0.9}]
    found = [(x["model"], x["group"], x["reference"], x["mean"]) for x in lines(runs(rows, ("ged",)))]
    assert found == [
        ("m", "", "raters", pytest.approx(0.05)),
        ("m", "", "majority", pytest.approx(0.2)),
        ("m", "", "staple", pytest.approx(0.3)),
        ("m", "G1", "raters", pytest.approx(0.7)),
        ("other", "", "raters", pytest.approx(0.9)),
    ]
    assert {x[2] for x in found} <= {"raters", *RULES}


def test_what_is_undefined_is_left_out_and_counted() -> None:
    rows = [{"sample": "a", "ncc": NAN}, {"sample": "a", "object": "1", "ncc": 0.5}, {"sample": "b", "ncc": NAN}]
    rows += [{"sample": "c", "ncc": 0.1}, {"sample": "d", "rater": "union", "ncc": NAN}]
    some, none = lines(runs(rows, ("ncc",)))
    assert (some["mean"], some["samples"], some["undefined"]) == (pytest.approx(0.3), 2, 2)
    assert some["95 % CI"] == by_hand([0.5, 0.1])
    assert (none["samples"], none["undefined"]) == (0, 1)
    assert pd.isna(none["mean"])
    assert pd.isna(none["95 % CI"])


def test_objects_of_one_rater_are_left_out() -> None:
    alone = {"raters": None, "rater_dice": None, "followed_dice": None, "rater_area": None, "set_size": NAN, "ged": NAN}
    (row,) = lines(runs([{"sample": "a", "ged": 0.5}, {"sample": "b"} | alone], ("ged",)))
    assert (row["mean"], row["samples"], row["undefined"]) == (0.5, 1, 0)
    with pytest.raises(ProtocolError, match="no object of this run has several raters"):
        rater_set_table(runs([{"sample": "b"} | alone], ("ged",)))
    with pytest.raises(ProtocolError, match="stored no metric that needs all raters; add some to `metrics`"):
        rater_set_table(runs([{"sample": "a"}], ("dice",)))


def test_clicks_are_not_counted_by_measures_of_all_raters() -> None:
    played = runs([{"sample": "a"}], ("dice-union", "dice"))
    Threshold("dice").check(played)
    with pytest.raises(
        ProtocolError, match="clicks cannot be counted with the metric 'dice-union'; these runs allow iou, dice"
    ):
        Threshold("dice-union").check(played)
    assert "dice-union final" not in make_table(played, "iou").frame


def test_through_a_run(tmp_path: Path) -> None:
    given = {
        "datasets": ["toy-raters"],
        "users": ["robot"],
        "metrics": ["iou", "ged", "rater-coverage", "dice-majority"],
    }
    models = ["toy-samples", "toy-samples:radii=[10]"]
    rclicks.evaluate("quickstart", models=models, **given, clicks=1, plugins=[PLUGINS], out=tmp_path / "r")
    table = make_table(load_runs([tmp_path / "r"]), "rater-sets")
    found = table.frame.set_index(["model", "metric"])
    perfect = found.loc["toy-samples"]
    assert perfect["mean"].to_dict() == pytest.approx(
        {"ged": 0.0, "rater-coverage": 1.0, "dice-majority": 1.0}, abs=1e-9
    )
    assert perfect["samples"].tolist() == [3, 3, 3]
    assert perfect["M"].tolist()[:2] == ["3", "3"]
    single = found.loc["toy-samples:radii=[10]"]
    assert single.loc["ged", "mean"] > 0.1
    assert single.loc["ged", "M"] == "1"
    assert any("decreases" in note for note in table.notes)
    console = Console(width=80, record=True, file=(tmp_path / "out").open("w"))
    print_table(table, console)
    assert "rater-coverage " in console.export_text(), "names are not cut, so that they can be typed"


# Intervals


def test_the_summary_of_raters_has_intervals_over_samples() -> None:
    dice = {"a": ([0.9, 0.5], [0.6, 0.8]), "b": ([0.7, 0.1], [0.2, 0.3]), "c": ([1.0, 0.9], [0.5, 0.6])}
    rows = [
        {"sample": s, "rater": r, "rater_dice": d}
        for s, pair in dice.items()
        for r, d in zip(("ann", "bob"), pair, strict=True)
    ]
    rows += [{"sample": s, "rater": "union", "rater_dice": d[0], "iou": 0.5} for s, d in dice.items()]
    raters, union = rater_summary(runs(rows)).frame.to_dict("records")
    own = [(a[0] + b[1]) / 2 for a, b in dice.values()]
    gap = [(a[0] + b[1]) / 2 - (a[1] + b[0]) / 2 for a, b in dice.values()]

    def three(values: list[float]) -> str:
        low, high = (float(x) for x in by_hand(values).strip("[]").split(", "))
        return f"[{low:.3f}, {high:.3f}]"

    assert raters["followed rater"] == pytest.approx(np.mean(own))
    assert (raters["followed rater CI"], raters["gap CI"]) == (three(own), three(gap))
    gaps = [2 / 3 - np.mean(a) for a, _ in dice.values()]
    assert (union["followed rater CI"], union["gap CI"]) == ("[0.667, 0.667]", three(gaps))


@given(st.lists(st.floats(0, 1), min_size=2, max_size=30), st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_more_values_of_the_same_samples_say_nothing_new(values: list[float], times: int) -> None:
    plain = mean_interval(np.array(values))
    names = [f"{i:02}" for i in range(len(values))]
    again = mean_interval(np.repeat(values, times), np.repeat(names, times))
    assert (again.low, again.high) == pytest.approx((plain.low, plain.high))
    assert min(values) - 1e-9 <= plain.low <= plain.high <= max(values) + 1e-9
    holes = mean_interval(np.array([*values, NAN]), [*names, "hole"])
    assert (holes.low, holes.high) == pytest.approx((plain.low, plain.high))


def test_one_sample_has_no_interval() -> None:
    for values, names in (([0.5], None), ([], None), ([0.5, NAN], None), ([0.1, 0.9], ["a", "a"])):
        assert mean_interval(np.array(values), names).text(2) is None
    assert Interval(-0.001, 0.5).text(2) == "[0.00, 0.50]", "no minus before a zero"


def test_intervals_hold_the_mean_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(200):
        found = mean_interval(rng.exponential(size=40))
        hits += found.low <= 1 <= found.high
    assert 170 <= hits <= 198


def test_each_run_has_the_measures_that_it_asked_for() -> None:
    rows = [{"sample": "s", "ged": 0.5, "group": g} for g in ("G10", "", "G2")]
    rows += [{"run": "other", "sample": "s", "ged": NAN, "dice-union": 0.25}]
    for order in (rows, rows[::-1]):
        found = runs(order)
        found = Runs(
            found.records,
            found.units,
            found.failures,
            found.header,
            {"r": ("iou", "ged"), "other": ("iou", "dice-union")},
        )
        told = [(row["run"], row["group"], row["metric"], row["undefined"]) for row in lines(found)]
        assert told == [
            ("other", "", "dice-union", 0),
            ("r", "", "ged", 0),
            ("r", "G2", "ged", 0),
            ("r", "G10", "ged", 0),
        ]
