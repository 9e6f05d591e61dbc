"""Measures that need all raters, from a benchmark's `metrics` to the record: values, sets of answers, refusals."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import rclicks
from rclicks.engine.episode import EpisodeConfig, play
from rclicks.engine.loading import load_model, load_user
from rclicks.engine.raters import prediction_of
from rclicks.errors import InvalidPrediction, ProtocolError, UnknownNameError
from rclicks.metrics.raters import calibration, soft
from rclicks.metrics.raters import consensus as raters_consensus
from rclicks.metrics.raters import scores as raters_scores
from rclicks.metrics.raters.catalogue import RATERS, STORED
from rclicks.metrics.raters.diversity import distinct_masks, prediction_fidelity, rater_coverage, squared_ged
from rclicks.metrics.raters.insight import collective_insight
from rclicks.metrics.raters.matching import matched
from rclicks.metrics.raters.ncc import ncc
from rclicks.metrics.raters.overlap import Overlaps, vote_fraction
from rclicks.metrics.raters.scores import Prediction, RaterReference, score_raters
from rclicks.models.contract import State
from rclicks.protocol import Protocol
from rclicks.records.store import load_failures, load_records, load_run, same_records
from rclicks.registry import Registry
from rclicks.sample import Sample, Target
from rclicks.specs import parse
from support import REPOSITORY, SHARED, needs_shared

PLUGINS = REPOSITORY / "tests" / "plugins"
GOLDEN = SHARED / "reference" / "aespa" / "golden"
VALUES = json.loads((GOLDEN / "metric_values.json").read_text()) if GOLDEN.is_dir() else {}
CASES = [pytest.param(case, marks=needs_shared) for case in VALUES or ["absent"]]
ALL = ["iou", *RATERS]


def run(out: Path, *names: str, model: str = "toy-samples", data: Any = "toy-raters", **changes: Any) -> pd.DataFrame:
    given = {"models": [model], "datasets": [data], "users": ["robot"], "metrics": ["iou", *names], "clicks": 1}
    rclicks.evaluate("quickstart", **given | {"plugins": [PLUGINS], "out": out, "limit": 2} | changes)
    return load_records(out)


def discs(*radii: int, centre: int = 30) -> np.ndarray:
    """Return discs as the toy set and the toy model draw them, (n, 48, 64) bool."""
    yy, xx = np.mgrid[:48, :64]
    return np.stack([(yy - 24) ** 2 + (xx - centre) ** 2 <= r**2 for r in radii])


# Values


def direct(mask: np.ndarray, guess: np.ndarray, maps: np.ndarray, raters: np.ndarray, radius: int) -> dict[str, float]:
    """Return every measure by the function that it names, from plain arrays."""
    p, g = maps.mean(axis=0), vote_fraction(raters)
    overlaps = Overlaps.of(guess, raters)
    iou, dice = overlaps.similarity("iou"), overlaps.similarity("dice")
    rules = ("majority", "majority-half-up", "union", "intersection", "staple")
    near = calibration.dilated_union([*guess, *raters], radius)
    curve, areas = calibration.reliability(p, g, region=near), raters.sum(axis=(1, 2)).tolist()
    insight, ged = collective_insight(guess, raters), squared_ged(iou)
    agreed = raters_consensus.consensus_scores(mask, raters, rules=rules)
    return {f"dice-{rule}": agreed[rule] for rule in rules} | {
        "ged": ged.value,
        "ged-dice": squared_ged(dice).value,
        "ged-unbiased": squared_ged(iou, unbiased=True).value,
        "sample-rater-distance": ged.across,
        "sample-diversity": ged.samples,
        "human-diversity": ged.raters,
        "rater-coverage": rater_coverage(dice),
        "prediction-fidelity": prediction_fidelity(dice),
        "coverage-fidelity": (rater_coverage(dice) + prediction_fidelity(dice)) / 2,
        "matched-dice": matched(dice, "pairs"),
        "matched-dice-per-rater": matched(dice, "raters"),
        "matched-dice-larger": matched(dice, "larger"),
        "matched-dice-or-best": matched(dice, "raters-or-best"),
        "matched-iou": matched(iou, "pairs"),
        "matched-iou-lcm": matched(iou, "repeated"),
        "distinct-masks": float(distinct_masks(iou).clusters),
        "effective-masks": distinct_masks(iou).effective,
        "ci": insight.product_over_sum,
        "ci-harmonic": insight.harmonic,
        "ci-sensitivity": insight.sensitivity,
        "ci-diversity": insight.diversity,
        "crps-volume": calibration.volume_crps(guess.sum(axis=(1, 2)).tolist(), areas),
        "crps-volume-normal": calibration.gaussian_volume_crps(p.sum(), areas),
        "soft-dice": soft.thresholded_soft_dice(p, g),
        "soft-dice-9": soft.thresholded_soft_dice(p, g, [i / 10 for i in range(1, 10)]),
        "soft-dice-semimetric": soft.soft_dice(p, g),
        "soft-dice-plain": soft.plain_soft_dice(p, g),
        "brier": soft.brier(p, g),
        "vote-cross-entropy": soft.cross_entropy(p, g),
        "ece-image": calibration.reliability(p, g).ece,
        "ece-near": curve.ece,
        "ece-adaptive-near": calibration.reliability(p, g, adaptive=True, region=near).ece,
        "ece-single-near": calibration.ece_of_single_raters(p, raters, region=near),
        "mce-near": curve.mce,
        "entropy-correlation-near": calibration.entropy_correlation(p, g, region=near),
        "risk-coverage-near": calibration.area_under_risk_coverage(p, g, region=near),
        "ncc": ncc(maps, raters).value,
    }


def test_every_measure_is_the_function_it_names() -> None:
    values: dict[str, list[float]] = {name: [] for name in RATERS}
    for m, r in ((6, 4), (2, 5), (3, 3)):
        rng = np.random.default_rng(m)
        raters, maps = rng.random((r, 40, 90)), rng.random((m, 40, 90))
        raters[:, :, 50:], maps[:, :, 45:] = 0, maps[:, :, 45:] / 5
        maps[-1] = maps[0] * 0.99  # two masks of the set are nearly one
        drawn, guess = raters > rng.uniform(0.3, 0.7, (r, 1, 1)), maps > 0.45
        mask = maps.mean(axis=0) > 0.4
        found = score_raters(RATERS, RaterReference(drawn), Prediction(mask, guess, maps))
        expected = direct(mask, guess, maps, drawn, 2)  # 2 % of the diagonal of 40 x 90 is 1.97 pixels
        assert expected.keys() == RATERS.keys()
        assert found == pytest.approx(expected, rel=1e-12)
        for name, value in found.items():
            values[name].append(round(value, 12))
    assert len(set(map(tuple, values.values()))) == len(RATERS), "no measure can be taken for another one"


def test_the_record_holds_the_measures_of_the_models_answers(tmp_path: Path) -> None:
    row = run(tmp_path / "r", *RATERS, model="toy-samples:radii=[8,10,13,13],radius=9").iloc[0]
    guess, raters = discs(8, 10, 13, 13), discs(6, 10, 14)
    maps = np.where(guess, np.float32(0.9), np.float32(0.2)).astype(float)
    expected = direct(discs(9)[0], guess, maps, raters, 2)  # 2 % of the diagonal of 48 x 64 is 1.6 pixels
    assert row[list(expected)].to_dict() == pytest.approx(expected, rel=1e-9)
    assert row["set_size"] == 4
    assert not row[list(expected)].isna().any()


def test_values_by_hand(tmp_path: Path) -> None:
    names = (
        "ged",
        "sample-rater-distance",
        "human-diversity",
        "rater-coverage",
        "matched-dice-per-rater",
        "crps-volume",
    )
    row = run(tmp_path / "r", *names, "soft-dice", "brier", model="toy-samples:radii=[6,14]").iloc[0]
    small, middle, large = (int(m.sum()) for m in discs(6, 10, 14))
    # Discs lie within each other, so an IoU is the smaller area by the larger, and Dice follows from it.
    distance = {(a, b): 1 - min(a, b) / max(a, b) for a in (small, middle, large) for b in (small, middle, large)}
    across = np.mean([distance[s, y] for s in (small, large) for y in (small, middle, large)])
    within, human = (
        distance[small, large] / 2,
        2 * (distance[small, middle] + distance[small, large] + distance[middle, large]) / 9,
    )
    assert row["sample-rater-distance"] == pytest.approx(across)
    assert row["human-diversity"] == pytest.approx(human)
    assert row["ged"] == pytest.approx(2 * across - within - human)
    best = max(2 * small / (small + middle), 2 * middle / (middle + large))
    assert row["rater-coverage"] == pytest.approx((2 + best) / 3)
    assert row["matched-dice-per-rater"] == pytest.approx(2 / 3)
    apart = [abs(s - y) for s in (small, large) for y in (small, middle, large)]
    assert row["crps-volume"] == pytest.approx(np.mean(apart) - (large - small) / 4)
    # p is .9 in the small disc, .55 in the ring to the large one and .2 outside; g is 1, 2/3 and 1/3 in the rings, 0.
    outside = 48 * 64 - large
    squares = small * 0.01 + (middle - small) * (0.55 - 2 / 3) ** 2 + (large - middle) * (0.55 - 1 / 3) ** 2
    assert row["brier"] == pytest.approx((squares + outside * 0.04) / (48 * 64), rel=1e-5)
    dices = [2 * large / (48 * 64 + large), 1, 2 * middle / (large + middle), 2 * small / (2 * small), None]
    dices[4] = 0.0 if np.float32(0.9) <= 0.9 else 1.0
    assert row["soft-dice"] == pytest.approx(np.mean(dices))


@pytest.mark.parametrize("case", CASES)
def test_published_values(case: str) -> None:
    with np.load(GOLDEN / "metric_cases.npz", allow_pickle=False) as file:
        p, y = file[f"{case}/prob_u8"] / 255, file[f"{case}/gt"] > 0
    expected = VALUES[case]
    found = score_raters(RATERS, RaterReference(list(y)), Prediction(p[-1] > 0.5, p > 0.5, p))
    assert found["ged"] == pytest.approx(expected["phiseg"]["GED"], abs=1e-6)
    assert found["ged-dice"] == pytest.approx(-expected["aespa"]["GED"], abs=1e-6)
    assert found["rater-coverage"] == pytest.approx(expected["ci"]["D_max"], abs=1e-6)
    assert found["matched-dice-per-rater"] == pytest.approx(expected["aespa"]["Dice_match"], abs=1e-6)
    assert found["matched-dice"] == pytest.approx(expected["aespa_match_match"], abs=1e-6)
    assert found["matched-dice-larger"] == pytest.approx(expected["aespa_match_max"], abs=1e-6)
    assert found["matched-iou-lcm"] == pytest.approx(expected["hungarian_iou_lcm"], abs=1e-6)
    for ours, theirs in (
        ("ci", "CI"),
        ("ci-harmonic", "CI_harmonic"),
        ("ci-sensitivity", "S_c"),
        ("ci-diversity", "D_a"),
    ):
        assert found[ours] == pytest.approx(expected["ci"][theirs], abs=1e-6), ours
    if "Dice_max" in expected["dpersona"]:
        assert found["prediction-fidelity"] == pytest.approx(expected["dpersona"]["Dice_max"], abs=1e-6)
    if case != "one_nonempty_M4":  # there a mean is 0.1, which single precision puts above the level 0.1
        assert found["soft-dice"] == pytest.approx(expected["dpersona"]["Dice_soft"], abs=1e-6)
    constant = case in {"all_pred_empty", "both_empty"}
    assert math.isnan(found["ncc"]) if constant else found["ncc"] == pytest.approx(expected["phiseg"]["NCC"], abs=1e-6)


@given(st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_ignored_pixels_count_nowhere(seed: int) -> None:
    rng = np.random.default_rng(seed)
    raters, maps = rng.random((3, 6, 9)) < 0.4, rng.random((4, 6, 9))
    raters[:, 0, 0], ignore = True, np.zeros((6, 9), bool)
    ignore[:, 7:] = True
    # With the near region the whole width left, cutting the ignored columns off must change nothing.
    names = [name for name in RATERS if not name.endswith("-near")]
    cut = np.s_[..., :7]
    kept = score_raters(names, RaterReference(raters, ignore), Prediction(maps[0] > 0.5, maps > 0.5, maps))
    other = score_raters(names, RaterReference(raters[cut]), Prediction(maps[0][cut] > 0.5, maps[cut] > 0.5, maps[cut]))
    assert kept == pytest.approx(other, nan_ok=True)
    far = np.where(ignore, 1.0, maps)  # what a model says of ignored pixels, and how near that comes, is nothing
    again = score_raters(RATERS, RaterReference(raters, ignore), Prediction(far[0] > 0.5, far > 0.5, far))
    assert again == pytest.approx(
        score_raters(RATERS, RaterReference(raters, ignore), Prediction(maps[0] > 0.5, maps > 0.5, maps)), nan_ok=True
    )


def test_what_is_near_an_ignored_pixel_is_not_near_a_mask() -> None:
    ignore = np.zeros((48, 64), bool)
    ignore[:, 55:58] = True
    quiet = np.where(discs(8)[0], 0.9, 0.2)
    loud = np.where(ignore, 0.9, quiet)
    one, other = (
        score_raters(RATERS, RaterReference(discs(6, 10), ignore), Prediction(p > 0.5, p[None] > 0.5, p[None]))
        for p in (quiet, loud)
    )
    assert one == pytest.approx(other, nan_ok=True)


def test_areas_are_in_square_millimetres() -> None:
    raters, guess = discs(6, 10), discs(8)
    one, half = (
        score_raters(
            ("crps-volume", "ged"), RaterReference(raters, None, spacing), Prediction(guess[0], guess, guess * 1.0)
        )
        for spacing in ((1.0, 1.0), (0.5, 0.5))
    )
    assert half == pytest.approx({"crps-volume": one["crps-volume"] / 4, "ged": one["ged"]})


# Models with one answer, with several, with wrong ones


def test_a_model_without_samples_is_a_set_of_one(tmp_path: Path) -> None:
    row = run(tmp_path / "r", *RATERS, model="toy-single", data="toy-raters").iloc[0]
    guess, raters = discs(10), discs(6, 10, 14)
    assert row["set_size"] == 1
    assert row["ged"] == pytest.approx(squared_ged(Overlaps.of(guess, raters).similarity("iou")).value)
    assert row["sample-diversity"] == 0
    assert row["distinct-masks"] == row["effective-masks"] == 1
    assert row["brier"] == pytest.approx(((guess[0] - raters.mean(axis=0)) ** 2).mean()), "its mask as 0 and 1"
    assert set(row[list(RATERS)].index[row[list(RATERS)].isna()]) == {"ged-unbiased", "ncc", "entropy-correlation-near"}
    soft_row = run(tmp_path / "s", *RATERS, model="toy:radius=10").iloc[0]
    assert soft_row["set_size"] == 1
    assert soft_row["ged"] == row["ged"]
    p = np.where(guess[0], np.float32(0.9), np.float32(0.1)).astype(float)
    assert soft_row["brier"] == pytest.approx(((p - raters.mean(axis=0)) ** 2).mean())
    assert not np.isnan(soft_row["ncc"])


def test_samples_become_masks_at_the_threshold_of_the_card(tmp_path: Path) -> None:
    frame = run(tmp_path / "r", "rater-coverage", model="toy-samples:inside=0.4")  # the card says 0.3
    assert frame["rater-coverage"].tolist() == [1.0] * len(frame)


def test_nobody_is_asked_for_samples_that_no_measure_needs(tmp_path: Path) -> None:
    frame = run(tmp_path / "r", "dice-union", "dice-staple", model="toy-samples:fault=asked")
    assert len(frame) == 6
    assert frame["dice-union"].notna().all()
    assert frame["set_size"].isna().all()
    assert frame["ged"].isna().all()
    run(tmp_path / "s", "dice-union", "ged", model="toy-samples:fault=asked")
    assert "nobody was to ask" in load_failures(tmp_path / "s")["message"][0]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("nan", "probabilities in nan..nan, expected 0..1"),
        ("shape", r"samples of float32 \(3, 47, 64\), expected float \(M, 48, 64\) with M at least 1"),
        ("none", r"samples of float32 \(0, 48, 64\)"),
        ("bool", r"samples of bool \(3, 48, 64\)"),
    ],
)
def test_a_wrong_set_fails_its_trajectory(tmp_path: Path, fault: str, words: str) -> None:
    frame = run(tmp_path / "r", "ged", model=f"toy-samples:fault={fault}", limit=1)
    assert frame.empty
    failures = load_failures(tmp_path / "r")
    assert failures["error"].tolist() == ["InvalidPrediction"] * 3
    assert failures["message"].str.fullmatch(f".* returned {words}.* in round 1").all()


def test_one_answer_is_checked_too() -> None:
    mask = np.ones((2, 2), bool)
    with pytest.raises(InvalidPrediction, match=r"probabilities in 2\.0\.\.2\.0"):
        prediction_of(State((), mask, np.full((2, 2), 2, np.float32)), None, 0.5)
    assert prediction_of(State((), mask), None, 0.5).probabilities is None


# Records


def test_records_do_not_depend_on_workers_or_lanes(tmp_path: Path) -> None:
    kind = {"reference": ["majority-random", "raters"], "clicks": 2}
    one, two, wide = (
        run(tmp_path / name, *RATERS, **kind | how)
        for name, how in (("1", {}), ("2", {"workers": 2}), ("w", {"batch_size": 4}))
    )
    assert same_records(one, two)
    assert same_records(one.drop(columns=["unit", "lanes"]), wide.drop(columns=["unit", "lanes"]))
    assert len(one) > 8
    assert one["set_size"].tolist() == [3] * len(one)


def test_asking_for_more_changes_no_other_column(tmp_path: Path) -> None:
    plain, more = run(tmp_path / "p"), run(tmp_path / "m", *RATERS)
    drop = ["unit", "set_size", *RATERS]
    assert same_records(plain.drop(columns=drop), more.drop(columns=drop))
    assert plain[["set_size", *RATERS]].isna().all(axis=None)


def test_objects_of_one_rater_have_none(tmp_path: Path) -> None:
    frame = run(tmp_path / "r", *RATERS, data="toy-set", model="toy")
    assert len(frame)
    assert frame[["set_size", *RATERS]].isna().all(axis=None)
    assert load_failures(tmp_path / "r").empty


def test_a_rater_who_drew_nothing_counts(tmp_path: Path) -> None:
    data = {"name": "toy-raters", "options": {"silent": True}}
    row = run(tmp_path / "r", "rater-coverage", "dice-intersection", "soft-dice-semimetric", data=data).iloc[0]
    two = Overlaps.of(discs(6, 10, 14), discs(10, 14)).similarity("dice")
    assert row["rater-coverage"] == pytest.approx(rater_coverage(two) * 2 / 3), "its best Dice is 0"
    assert row["dice-intersection"] == 0


def test_staple_is_estimated_once_an_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = raters_consensus.staple

    def counted(raters: np.ndarray, iterations: int = 100) -> raters_consensus.Staple:
        seen.append(len(raters))
        return real(raters, iterations)

    monkeypatch.setattr(raters_consensus, "staple", counted)
    frame = run(tmp_path / "r", "dice-staple", model="toy:radius=3", clicks=4)
    assert len(frame) > 6
    assert seen == [3, 3], "two samples, one object each"


def test_volumes_have_the_measures_of_masks() -> None:
    registry = Registry.discover([PLUGINS])
    zz, yy, xx = np.mgrid[:6, :12, :12]
    balls = [(zz - 3) ** 2 + (yy - 6) ** 2 + (xx - 6) ** 2 <= r**2 for r in (2, 3)]
    image = np.zeros((6, 12, 12), np.int16)
    sample = Sample("d", "s", image, (Target("0", tuple(balls), None, ("a", "b")),), (2.0, 1.0, 1.0))
    names = ("iou", *(name for name, card in RATERS.items() if 3 in card.dims))
    rules = EpisodeConfig("m", Protocol.named("default", clicks=1), names, 42, 1, "unit")
    user = load_user(registry, parse("robot"), rules.protocol)
    rows = [
        play(load_model(registry, parse(model)), sample, [("robot", user)], rules).rows[0]
        for model in ("ball:radius=3", "ball-session:radius=3")
    ]
    assert rows[0]["ged"] == rows[1]["ged"] > 0
    guess = [np.asarray(((zz - 3) * 2) ** 2 + (yy - 6) ** 2 + (xx - 6) ** 2 <= 9)]
    assert rows[0]["ged"] == pytest.approx(squared_ged(Overlaps.of(guess, balls).similarity("iou")).value)
    sizes = [2.0 * int(b.sum()) for b in balls]
    assert rows[0]["crps-volume"] == pytest.approx(np.mean([abs(2.0 * guess[0].sum() - s) for s in sizes]))
    assert "brier" not in rows[0]


# Names


def test_names_that_do_not_exist_and_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match=r"unknown metric 'gde'\. Did you mean .*ged"):
        run(tmp_path / "r", "gde")
    with pytest.raises(UnknownNameError, match="unknown metric 'iou'"):
        score_raters(["iou"], RaterReference(discs(6)), Prediction(discs(6)[0], discs(6), discs(6) * 1.0))


@needs_shared
def test_volumes_have_no_measures_of_probabilities(tmp_path: Path) -> None:
    root = SHARED / "data" / "volumes" / "hippocampus"
    data = {"name": "hippocampus", "root": str(root), "options": {"cases": "manifest.csv@test"}}
    with pytest.raises(ProtocolError, match="brier, ncc is not defined for volumes; allowed: .*, ged, "):
        run(tmp_path / "r", "ged", "brier", "ncc", model="ball", data=data)


def test_the_catalogue_is_whole() -> None:
    assert raters_scores._SCORES.keys() == RATERS.keys()
    assert {card.level for card in RATERS.values()} == {"raters", "set"}
    assert all(name == card.name and card.summary for name, card in STORED.items())
    assert [n for n, c in RATERS.items() if c.higher_is_better is None] == [
        "sample-diversity",
        "human-diversity",
        "distinct-masks",
        "effective-masks",
    ]
    text = (REPOSITORY / "docs" / "raters.md").read_text()
    assert [name for name in RATERS if f"`{name}`" not in text] == []


def test_a_perfect_set_has_the_best_values() -> None:
    raters = discs(6, 10, 14)
    found = score_raters(RATERS, RaterReference(raters), Prediction(raters[1], raters, raters.astype(float)))
    best = {True: 1.0, False: 0.0}
    # What is best is another value: one mask cannot be all consensus masks, nor can honest maps be any single rater.
    other = {"dice-union", "dice-intersection", "sample-rater-distance", "ged-unbiased", "soft-dice-plain"}
    other |= {"vote-cross-entropy", "ece-single-near", "risk-coverage-near", "ncc", "crps-volume", "crps-volume-normal"}
    for name, card in RATERS.items():
        if card.higher_is_better is not None and name not in other:
            assert found[name] == pytest.approx(best[card.higher_is_better], abs=1e-12), name
    assert found["sample-diversity"] == found["human-diversity"]


def test_the_command_line_lists_them_without_slow_imports() -> None:
    code = (
        "import sys; from rclicks.cli.main import app\n"
        "try: app(['ls', 'metrics', '--json'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('scipy.stats', 'SimpleITK', 'torch') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    listed = {row["name"]: row for row in json.loads(done.stdout)["metrics"]}
    assert listed["ged"]["level"] == "set"
    assert listed["dice-staple"]["level"] == "raters"
    assert done.stderr.strip().endswith("[]")


# What a run says of its raters


def test_a_run_says_which_raters_had_no_file(tmp_path: Path) -> None:
    drawn = Image.fromarray(discs(9)[0].astype(np.uint8) * np.uint8(255))
    for name, raters in {"p1": ("ann", "bob"), "p2": ("ann",)}.items():
        for place in ("images", *(f"masks/{r}" for r in raters)):
            (tmp_path / "set" / place).mkdir(parents=True, exist_ok=True)
            drawn.save(tmp_path / "set" / place / f"{name}.png")
    frame = run(tmp_path / "r", "ged", data={"name": "multirater-folder", "root": str(tmp_path / "set")}, model="toy")
    assert load_run(tmp_path / "r")["notes"] == [
        "multirater-folder: 1 of 2 samples lack a rater's file: p2 (p2.png)",
        "multirater-folder: raters without a file: bob in 1 of 2 samples",
    ]
    assert frame.groupby("sample")["ged"].apply(lambda v: v.notna().all()).to_dict() == {"p1": True, "p2": False}
    run(tmp_path / "s")
    assert load_run(tmp_path / "s")["notes"] == []
