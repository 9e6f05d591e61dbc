"""Several raters through the real engine: whom a trajectory follows, every rater's score, tables and refusals."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rclicks
from rclicks.analysis.rater_tables import rater_matrices, rater_robustness, rater_summary
from rclicks.analysis.runs import Threshold, filter_runs, load_runs
from rclicks.analysis.tables import make_table
from rclicks.engine.raters import RaterScorer, followed, rater_masks
from rclicks.errors import DataError, ProtocolError
from rclicks.metrics.raters.consensus import RULES
from rclicks.records.store import load_records, load_run, same_records
from rclicks.sample import Target
from support import REPOSITORY, SHARED, needs_shared

PLUGINS = REPOSITORY / "tests" / "plugins"
RADII = {"ann": 6, "bob": 10, "cat": 14}


def run(out: Path, **changes: Any) -> Any:
    given = {"models": ["toy:radius=10"], "datasets": ["toy-raters"], "users": ["robot"], "metrics": ["iou", "dice"]}
    rclicks.evaluate("quickstart", **given | {"clicks": 1, "plugins": [PLUGINS], "out": out} | changes)
    return load_records(out)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def discs() -> dict[str, np.ndarray]:
    sample = rclicks.load_dataset("toy-raters", plugins=[PLUGINS])[0]
    return dict(zip(sample.targets[0].raters, sample.targets[0].masks, strict=True))


def test_every_rater_scores_every_round(tmp_path: Path) -> None:
    frame = run(tmp_path / "r", reference=["raters", "majority", "union"])
    assert frame["rater"].tolist() == ["ann", "bob", "cat", "majority", "union"] * 3
    masks = discs()
    for row in frame[frame["sample"] == "s0"].itertuples():
        assert list(row.raters) == ["ann", "bob", "cat"]
        prediction = masks["bob"]  # the toy's disc of radius 10 around the centre that all click
        truth = {"majority": masks["bob"], "union": masks["cat"]}.get(row.rater, masks.get(row.rater))
        assert row.dice == pytest.approx(dice(truth, prediction))
        assert list(row.rater_dice) == pytest.approx([dice(m, prediction) for m in masks.values()])
        assert list(row.followed_dice) == pytest.approx([dice(m, truth) for m in masks.values()])
        iou = [d / (2 - d) for d in row.rater_dice]
        assert list(row.rater_iou) == pytest.approx(iou)


def test_records_do_not_depend_on_workers(tmp_path: Path) -> None:
    one = run(tmp_path / "1", reference=["majority-random", "raters"])
    two = run(tmp_path / "2", reference=["majority-random", "raters"], workers=2)
    assert same_records(one, two)
    changed = two.copy()
    changed.at[0, "rater_dice"] = np.array([0.0, 0.0, 0.0])
    assert not same_records(one, changed)


def test_the_tables_by_hand(tmp_path: Path) -> None:
    run(tmp_path / "r", reference=["raters", "staple"])
    runs = load_runs([tmp_path / "r"])
    masks = list(discs().values())
    on = [dice(m, masks[1]) for m in masks]  # all trajectories end with bob's disc
    between = np.array([[dice(a, b) for b in masks] for a in masks])
    own, rule = rater_summary(runs).frame.to_dict("records")
    assert (own["reference"], rule["reference"]) == ("raters", "staple")
    assert own["followed rater"] == pytest.approx(np.mean(on))
    assert own["other raters"] == pytest.approx(np.mean(on))
    assert own["gap"] == pytest.approx(0)
    assert own["identified"] == pytest.approx(1 / 3)
    assert own["inter-rater"] == pytest.approx(between[~np.eye(3, dtype=bool)].mean())
    assert rule["other raters"] == pytest.approx(np.mean(on))
    frame = rater_matrices(runs).frame.set_index("clicks of")
    assert frame.loc["ann", "on bob"] == pytest.approx(1.0)
    assert frame.loc["ann", "on cat"] == pytest.approx(on[2])
    assert frame.loc["cat", "followed rater"] == pytest.approx(on[2])
    assert frame.loc["bob", "on bob"] == pytest.approx((between[1, 0] + between[1, 2]) / 2)
    assert make_table(runs, "raters").frame.equals(rater_summary(runs).frame)


def test_names_of_strangers_are_not_averaged(tmp_path: Path) -> None:
    run(tmp_path / "r", datasets=["toy-strangers"])
    runs = load_runs([tmp_path / "r"])
    assert load_run(tmp_path / "r")["effective"]["rater_identity"] == {"toy-strangers": "within-sample"}
    assert rater_summary(runs).frame["n"].tolist() == [3]
    for table in (rater_matrices, lambda r: rater_robustness(r, Threshold())):
        with pytest.raises(ProtocolError, match="needs rater_identity 'known'"):
            table(runs)
    run(tmp_path / "s", datasets=[{"name": "toy-strangers", "options": {"identity": "known"}}])
    assert len(rater_matrices(load_runs([tmp_path / "s"])).frame) == 3
    for folders in (["r", "s"], ["s", "r"]):  # of a run that has both, the one is shown and the other named
        table = rater_matrices(load_runs([tmp_path / name for name in folders]))
        assert len(table.frame) == 3
        assert any("left out" in n and n.endswith(": toy-strangers") for n in table.notes)


def test_a_part_of_a_run(tmp_path: Path) -> None:
    run(tmp_path / "r", models=["toy:radius=10", "toy:radius=6"], users=["robot", {"name": "robot", "label": "twin"}])
    runs = load_runs([tmp_path / "r"])
    part = filter_runs(runs, models=["toy:radius=6"], datasets=[], users=["robot"])
    assert set(part.records["model"]) == {"toy:radius=6"}
    assert set(part.records["user"]) == {"robot"}
    assert set(part.units["model"]) == {"toy:radius=6"}
    assert filter_runs(runs, models=[], datasets=[], users=[]).records.equals(runs.records)
    with pytest.raises(ProtocolError, match="no user nobody; they have robot, twin"):
        filter_runs(runs, models=[], datasets=[], users=["nobody"])


def test_robustness_for_each_rater(tmp_path: Path) -> None:
    users = ["robot", {"name": "sampled", "options": {"model": "distance", "groups": 2}}]
    run(tmp_path / "r", users=users, clicks=3)
    frame = rater_robustness(load_runs([tmp_path / "r"]), Threshold("dice", 0.9)).frame
    assert frame["rater"].tolist() == ["ann", "bob", "cat"]
    assert frame["n"].tolist() == [3, 3, 3]
    assert frame["Base NoC"].tolist()[1] == 1.0


def test_a_rater_who_drew_nothing_is_scored_but_not_followed(tmp_path: Path) -> None:
    frame = run(
        tmp_path / "r", datasets=[{"name": "toy-raters", "options": {"silent": True}}], reference=["raters", "union"]
    )
    assert set(frame["rater"]) == {"bob", "cat", "union"}
    assert all(scores[0] == 0 for scores in frame["rater_dice"])
    assert rclicks.records.store.load_failures(tmp_path / "r").empty
    assert rclicks.records.store.load_units(tmp_path / "r")["empty_references"].tolist() == [1, 1, 1]
    table = rater_summary(load_runs([tmp_path / "r"]))
    masks = discs()
    between = dice(masks["bob"], masks["cat"])
    own = table.frame.set_index("reference").loc["raters"]
    assert own["other raters"] == pytest.approx((between + 1) / 2)  # all end with bob's disc; ann would make it smaller
    assert own["inter-rater"] == pytest.approx(between)
    assert any("empty reference masks" in note and "3 of toy-raters" in note for note in table.notes)


def test_one_rater_needs_no_panel(tmp_path: Path) -> None:
    frame = run(tmp_path / "r", datasets=["toy-set"], limit=1)
    assert frame["raters"].isna().all()
    with pytest.raises(ProtocolError, match="no object of this run has several raters"):
        rater_summary(load_runs([tmp_path / "r"]))


@pytest.mark.parametrize("reference", [["nobody"], [], ["raters", "raters"], ["majority", "median"]])
def test_rules_that_do_not_exist(tmp_path: Path, reference: list[str]) -> None:
    with pytest.raises(ProtocolError, match="reference is .*expected one or more of raters, majority"):
        run(tmp_path / "r", reference=reference)


def test_a_jury_counts_two_empty_masks_as_agreement() -> None:
    some, none = np.eye(4, dtype=bool), np.zeros((4, 4), bool)
    target = Target("0", (some, none), None, ("a", "b"))
    rater_scorer = RaterScorer(rater_masks(target, (1.0, 1.0)), none)
    assert rater_scorer.score(none) == {
        "raters": ["a", "b"],
        "rater_area": [4, 0],
        "followed_dice": [0.0, 1.0],
        "rater_iou": [0.0, 1.0],
        "rater_dice": [0.0, 1.0],
    }
    assert [name for name, _ in followed(target, ("intersection", "raters"), (0, "d", "s"))] == [
        "intersection",
        "a",
        "b",
    ]


def test_one_truth_is_followed_once_whatever_the_rules() -> None:
    target = Target("0", (np.eye(4, dtype=bool),))
    assert [name for name, _ in followed(target, ("union", "raters", "staple"), (0, "d", "s"))] == ["gt"]


def test_a_rater_named_like_a_rule_is_refused() -> None:
    target = Target("0", (np.eye(4, dtype=bool),) * 2, None, ("ann", "majority"))
    with pytest.raises(DataError, match="a rater named majority"):
        list(followed(target, ("raters",), (0, "d", "s")))


def test_lots_differ_from_sample_to_sample_and_not_from_run_to_run() -> None:
    halves = np.zeros((2, 16, 16), bool)
    halves[0] = True
    target = Target("0", tuple(halves), None, ("a", "b"))
    one, again, other = (
        next(followed(target, ("majority-random",), (0, "d", sample)))[1] for sample in ("s", "s", "t")
    )
    assert np.array_equal(one, again)
    assert 0.3 < (one ^ other).mean() < 0.7


def test_ignored_pixels_have_no_say_in_a_consensus() -> None:
    rng = np.random.default_rng(0)
    core = np.zeros((12, 12), bool)
    core[2:8, 2:8] = True
    masks = tuple(core ^ (rng.random(core.shape) < 0.1) for _ in range(3))
    ignore = np.zeros_like(core)
    ignore[6:] = True
    kept = tuple(m & ~ignore for m in masks)
    noisy = tuple(m | (ignore & (rng.random(core.shape) < 0.5)) for m in kept)
    for rule in RULES:
        found = [
            next(followed(Target("0", drawn, ignore, ("a", "b", "c")), (rule,), (0, "d", "s")))[1]
            for drawn in (kept, noisy)
        ]
        assert np.array_equal(*found), rule
        assert not (found[0] & ignore).any()


def test_the_agreement_of_a_consensus_is_with_those_who_drew(tmp_path: Path) -> None:
    run(tmp_path / "r", datasets=[{"name": "toy-raters", "options": {"silent": True}}], reference=["union"])
    masks = discs()
    row = rater_summary(load_runs([tmp_path / "r"])).frame.iloc[0]
    assert row["inter-rater"] == pytest.approx((dice(masks["bob"], masks["cat"]) + 1) / 2)
    assert row["other raters"] == pytest.approx((1 + dice(masks["bob"], masks["cat"])) / 2)


def test_clicks_to_the_inter_rater_agreement(tmp_path: Path) -> None:
    run(tmp_path / "r", clicks=2)
    row = rater_summary(load_runs([tmp_path / "r"])).frame.iloc[0]
    masks = list(discs().values())
    agreement = np.mean([dice(masks[i], masks[j]) for i, j in ((0, 1), (0, 2), (1, 2))])
    reached = [dice(m, masks[1]) >= agreement for m in masks]
    assert row["reached"] == pytest.approx(np.mean(reached))
    assert row["clicks to inter-rater"] == pytest.approx(np.mean([1 if r else 2 for r in reached]))


@needs_shared
def test_real_raters(tmp_path: Path) -> None:
    data = {"name": "QUBIQ_brain_growth", "root": str(SHARED / "data" / "multirater" / "qubiq_brain_growth")}
    run(tmp_path / "r", models=["graph-cut"], datasets=[data], limit=2, reference=["raters", "majority"])
    rows = rater_summary(load_runs([tmp_path / "r"])).frame.to_dict("records")
    assert [row["n"] for row in rows] == [2, 2]
    assert 0.7 < rows[0]["inter-rater"] < 1


def test_a_fresh_run_leaves_nothing_of_the_old_one(tmp_path: Path) -> None:
    run(tmp_path / "r", save_masks=True, limit=1)
    assert (tmp_path / "r" / "masks").is_dir()
    run(tmp_path / "r", fresh=True, limit=1)
    assert not (tmp_path / "r" / "masks").exists()
    assert len(load_records(tmp_path / "r")) == 3
