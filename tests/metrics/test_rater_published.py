"""Scores of published code, run on twelve cases, against the published variants and ours."""

import json
import math

import numpy as np
import pytest

from rclicks.metrics.raters import published
from rclicks.metrics.raters.diversity import prediction_fidelity, rater_coverage, squared_ged
from rclicks.metrics.raters.insight import collective_insight
from rclicks.metrics.raters.matching import matched
from rclicks.metrics.raters.ncc import ncc
from rclicks.metrics.raters.overlap import Overlaps, vote_fraction
from rclicks.metrics.raters.soft import thresholded_soft_dice
from support import SHARED

FOLDER = SHARED / "reference" / "aespa" / "golden"
needs_golden = pytest.mark.skipif(not FOLDER.is_dir(), reason="the shared golden data is absent")
VALUES = json.loads((FOLDER / "metric_values.json").read_text()) if FOLDER.is_dir() else {}
CASES = [pytest.param(case, marks=needs_golden) for case in VALUES or ["absent"]]
CONSTANT = {"all_pred_empty", "both_empty"}  # cases whose uncertainty map is constant


def arrays(case: str) -> tuple[np.ndarray, np.ndarray]:
    with np.load(FOLDER / "metric_cases.npz", allow_pickle=False) as file:
        return file[f"{case}/prob_u8"] / 255, file[f"{case}/gt"] > 0


@needs_golden
def test_there_are_twelve_cases() -> None:
    assert len(VALUES) == 12


@pytest.mark.parametrize("case", CASES)
def test_published_variants(case: str) -> None:
    p, y = arrays(case)
    expected = VALUES[case]
    assert published.aespa(p, y) == pytest.approx(expected["aespa"], abs=1e-6)
    for name in ("max", "match"):
        found = published.aespa(p, y, normalise=name)["Dice_match"]
        assert found == pytest.approx(expected[f"aespa_match_{name}"], abs=1e-6)
    found = published.dpersona(p, y)
    theirs = dict(expected["dpersona"])
    failed = theirs.pop("error", None)
    assert found.keys() == theirs.keys()
    assert (failed is not None) == (len(p) < len(y)) == ("Dice_match" not in found)
    for name, value in theirs.items():
        assert found[name] == pytest.approx(value, abs=1e-6), name
    assert published.phiseg(p, y) == pytest.approx(expected["phiseg"], abs=1e-6)
    assert published.ci(p, y) == pytest.approx(expected["ci"], abs=1e-6)
    assert published.hungarian_iou_lcm(p, y) == pytest.approx(expected["hungarian_iou_lcm"], abs=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_standard_metrics_agree_with_published_ones_that_are_right(case: str) -> None:
    p, y = arrays(case)
    expected = VALUES[case]
    overlaps = Overlaps.of(p > 0.5, y)
    iou, dice = overlaps.similarity("iou"), overlaps.similarity("dice")
    assert squared_ged(iou).value == pytest.approx(expected["phiseg"]["GED"], abs=1e-6)
    assert squared_ged(overlaps.similarity("iou", "zero")).value == pytest.approx(expected["dpersona"]["GED"], abs=1e-6)
    assert squared_ged(dice).value == pytest.approx(-expected["aespa"]["GED"], abs=1e-6)
    assert rater_coverage(dice) == pytest.approx(expected["ci"]["D_max"], abs=1e-6)
    assert matched(iou, "repeated") == pytest.approx(expected["hungarian_iou_lcm"], abs=1e-6)
    if "Dice_max" in expected["dpersona"]:
        assert prediction_fidelity(dice) == pytest.approx(expected["dpersona"]["Dice_max"], abs=1e-6)
        assert rater_coverage(dice) == pytest.approx(expected["dpersona"]["Dice_max_reverse"], abs=1e-6)
        assert matched(dice, "raters") == pytest.approx(expected["dpersona"]["Dice_match"], abs=1e-6)
    if case != "one_nonempty_M4":  # there a mean probability is 0.1, which single precision puts above the level 0.1
        soft = thresholded_soft_dice(p.mean(axis=0), vote_fraction(y))
        assert soft == pytest.approx(expected["dpersona"]["Dice_soft"], abs=1e-6)
    insight = collective_insight(p > 0.5, y)
    assert (insight.product_over_sum, insight.harmonic) == pytest.approx(
        (expected["ci"]["CI"], expected["ci"]["CI_harmonic"]), abs=1e-6
    )
    found = ncc(p, y)
    if case in CONSTANT:
        assert math.isnan(found.value)
        assert found.undefined == found.raters == len(y)
    else:
        assert found.value == pytest.approx(expected["phiseg"]["NCC"], abs=1e-6)
        assert found.undefined == 0


def test_aespa_reads_padding_and_logits_as_published() -> None:
    raters = np.zeros((3, 4, 4), bool)
    raters[0, :2], raters[1, :1] = True, True
    logits = np.where(raters[:1], 9.0, -9.0)
    found = published.aespa(logits, raters)
    assert found["Dice_follow"] == pytest.approx(1, abs=1e-6)
    assert found["Dice_max"] == pytest.approx((1 + 2 / 3 + 0) / 3, abs=1e-6), "the padded slot counts"
    assert published.aespa(np.array([raters[2] * 1.0]), raters)["Dice_max"] == pytest.approx(1 / 3, abs=1e-6)
    votes = raters[:2].mean(axis=0)
    sigmoid = 1 / (1 + np.exp(-logits[0]))
    assert found["Dice_soft"] == pytest.approx(2 * (sigmoid * votes).sum() / (sigmoid.sum() + votes.sum()), abs=1e-6)
    probability = np.where(raters[0], 0.8, 0.1)
    both = published.aespa(np.stack([logits[0], probability]), raters)
    alone = published.aespa(probability[None], raters)
    assert both["Dice_soft"] == alone["Dice_soft"], "the last prediction is read by itself"
    small = np.where(raters[:1], 0.4, 0.0)  # logits above 0 that happen to look like probabilities
    assert published.aespa(small, raters)["Dice_follow"] == pytest.approx(0, abs=1e-6)
    assert published.aespa(logits, raters, followed=2)["Dice_follow"] == found["Dice_follow"], (
        "not valid: the first one"
    )


def test_every_published_name_that_means_something_else_is_translated() -> None:
    p = np.ones((2, 2, 2))
    made = {("aespa", name) for name in published.aespa(p, p)} | {("dpersona", n) for n in published.dpersona(p, p)}
    assert set(published.TRANSLATION) - made == {
        *((("phiseg", "GED"), ("phiseg", "NCC"), ("ci", "D_max"), ("hungarian_iou_lcm", "")))
    }
    assert published.TRANSLATION["aespa", "Dice_max"] != published.TRANSLATION["dpersona", "Dice_max"]
