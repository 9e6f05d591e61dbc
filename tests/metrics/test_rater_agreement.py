"""Consensus targets and inter-rater agreement, on real raters."""

import csv
import math
import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

import rclicks
from rclicks.data.contract import Dataset
from rclicks.errors import PluginError
from rclicks.metrics.raters.agreement import (
    agreement_measures,
    agreement_normalised,
    fleiss_kappa,
    inter_rater_agreement,
)
from rclicks.metrics.raters.consensus import consensus, consensus_scores, leave_one_out_majorities, staple
from rclicks.sample import Sample, Target
from support import SHARED

DATA, CSV = SHARED / "data" / "multirater", SHARED / "reference" / "aespa" / "human_ceiling.csv"
needs_raters = pytest.mark.skipif(not CSV.is_file() or not DATA.is_dir(), reason="the shared data is absent")

COLUMNS = {
    "pairwise_dice": "mean_pairwise_dice",
    "min_pairwise_dice": "mean_of_min_pairwise_dice",
    "pairwise_iou": "mean_pairwise_iou",
    "rater_distance": "ged_rater_term_d_yy_iou_with_diagonal",
    "rater_vs_majority_dice": "mean_rater_vs_majority_gt_half_dice",
    "rater_vs_others_dice": "mean_rater_vs_leave_one_out_majority_dice",
    "rater_vs_staple_dice": "mean_rater_vs_staple_dice",
    "foreground": "mean_foreground_fraction",
    "vote_entropy_bits": "mean_vote_entropy_bits_per_pixel",
}
FOLDERS = {
    "CHASE_DB1": "chase_db1",
    "STARE": "stare",
    "LIDC_crops": "lidc",
    "LIDC_jpg": "lidc_jpg",
    "QUBIQ_brain_growth": "qubiq_brain_growth",
    "BU_BIL": "bu_bil",
}
FAST = {
    "lidc_71_all4slots": "LIDC_crops",
    "lidc_71_nonempty_raters_only": "LIDC_crops",
    "lidc_aespa_rule_l0l1l2_nonempty": "LIDC_crops",
    "lidc_jpg_28": "LIDC_jpg",
    "qubiq_brain_growth": "QUBIQ_brain_growth",
}
SLOW = {
    "stare": "STARE",
    "chase_db1": "CHASE_DB1",
    "bu_bil_dataset1_full": "BU_BIL:part=dataset1_full",
    "bu_bil_dataset1_crop": "BU_BIL:part=dataset1_crop",
    "bu_bil_dataset3_crop": "BU_BIL:part=dataset3_crop",
}
ROWS = [pytest.param(row, name, id=row) for row, name in FAST.items()] + [
    pytest.param(row, name, id=row, marks=pytest.mark.slow) for row, name in SLOW.items()
]


def opened(name: str) -> Dataset:
    return rclicks.load_dataset(name, DATA / FOLDERS[name.split(":")[0]])


def aespa_rule(data: Dataset) -> Iterator[Sample]:
    for sample in data:
        (target,) = sample.targets
        if all(mask.any() for mask in target.masks[:3]):
            yield replace(sample, targets=(replace(target, masks=target.masks[:3], raters=target.raters[:3]),))


@needs_raters
@pytest.mark.parametrize(("row", "name"), ROWS)
def test_inter_rater_agreement_of_the_shared_data(row: str, name: str) -> None:
    with CSV.open() as file:
        expected = {r["set"]: r for r in csv.DictReader(file)}[row]
    data = opened(name)
    samples = aespa_rule(data) if "aespa_rule" in row else data
    found = inter_rater_agreement(samples, policy="nonempty" if "nonempty_raters" in row else "present")
    assert len(found.rows) == int(expected["n_images"])
    for ours, theirs in COLUMNS.items():
        tolerance = 1e-3 if "staple" in ours else 1e-4
        assert found.mean(ours) == pytest.approx(float(expected[theirs]), abs=tolerance), ours
    assert {str(r.raters) for r in found.rows} == set(map(str, raters_of(expected["n_raters"])))
    assert found.summary().keys() >= COLUMNS.keys()


def raters_of(text: str) -> range:
    low, _, high = text.partition("-")
    return range(int(low), int(high or low) + 1)


def em(masks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return sensitivity, specificity and probability by the textbook iteration over all pixels."""
    d = masks.reshape(len(masks), -1)
    prior, p, q = d.mean(), np.full(len(d), 0.99999), np.full(len(d), 0.99999)
    for _ in range(100):
        a = prior * np.prod(np.where(d, p[:, None], 1 - p[:, None]), axis=0)
        b = (1 - prior) * np.prod(np.where(d, 1 - q[:, None], q[:, None]), axis=0)
        w = a / (a + b)
        before = np.concatenate([p, q])
        p, q = (d * w).sum(axis=1) / w.sum(), (~d * (1 - w)).sum(axis=1) / (1 - w).sum()
        if np.abs(np.concatenate([p, q]) - before).max() < 1e-7:
            break
    return p, q, w.reshape(masks.shape[1:])


@needs_raters
@pytest.mark.parametrize("name", ["LIDC_crops", "QUBIQ_brain_growth"])
def test_staple_is_the_textbook_iteration(name: str) -> None:
    data = opened(name)
    for index in range(0, len(data), 7):
        masks = np.stack(data[index].targets[0].masks)
        found = staple(masks)
        p, q, w = em(masks)
        assert found.sensitivity == pytest.approx(p, abs=1e-5), index
        assert found.specificity == pytest.approx(q, abs=1e-5), index
        assert np.abs(found.probability - w).max() < 1e-4
        assert np.array_equal(found.mask, w >= 0.5)


def test_staple_of_agreeing_raters_and_of_volumes() -> None:
    mask = np.zeros((2, 3, 4, 5), bool)
    for content in (False, True):
        mask[:, 1] = content
        found = staple(mask)
        assert np.array_equal(found.mask, mask[0])
        assert all(math.isnan(s) for s in found.sensitivity)
    mask = np.random.default_rng(0).random((3, 4, 5, 6)) < 0.4
    mask[1] ^= np.random.default_rng(1).random((4, 5, 6)) < 0.1
    assert staple(mask).mask.shape == (4, 5, 6)
    assert np.array_equal(staple(mask).mask, staple(mask.reshape(3, 20, 6)).mask.reshape(4, 5, 6))


def test_consensus_rules() -> None:
    votes = np.arange(4)[:, None] < np.array([0, 1, 2, 3, 4])[None, :]  # 0..4 votes of 4
    found = {
        r: consensus(votes, r).astype(int).tolist() for r in ("majority", "majority-half-up", "union", "intersection")
    }
    assert found == {
        "majority": [0, 0, 0, 1, 1],
        "majority-half-up": [0, 0, 1, 1, 1],
        "union": [0, 1, 1, 1, 1],
        "intersection": [0, 0, 0, 0, 1],
    }
    with pytest.raises(ValueError, match="consensus rule"):
        consensus(votes, "mean")
    with pytest.raises(ValueError, match="no rater"):
        consensus(votes[:0])


def test_random_ties_are_keyed_and_only_ties() -> None:
    raters = np.zeros((2, 100, 100), bool)
    raters[0], raters[1, :10], raters[0, -10:] = True, True, False
    found = consensus(raters, "majority-random", names=["set", "a"])
    assert found[:10].all()
    assert not found[-10:].any()
    assert 0.45 < found[10:-10].mean() < 0.55
    assert np.array_equal(found, consensus(raters, "majority-random", names=["set", "a"]))
    assert not np.array_equal(found, consensus(raters, "majority-random", names=["set", "b"]))


def test_leaving_one_out() -> None:
    raters = np.random.default_rng(2).random((4, 9, 9)) < 0.5
    for r, found in enumerate(leave_one_out_majorities(raters)):
        assert np.array_equal(found, consensus(np.delete(raters, r, axis=0)))
    with pytest.raises(ValueError, match="only one rater"):
        leave_one_out_majorities(raters[:1])


def test_scores_against_each_consensus() -> None:
    raters = np.zeros((2, 4, 4), bool)
    raters[0, :2], raters[1, 1:3] = True, True
    assert consensus_scores(raters[0] & raters[1], raters) == pytest.approx(
        {"majority": 1, "majority-half-up": 0.5, "union": 0.5, "intersection": 1}
    )


def test_fleiss_kappa_by_hand() -> None:
    # Two raters, ten pixels: both 4, neither 3, one alone 3. P = .7, share .55, so E = .55**2 + .45**2 = .505.
    raters = np.array([[1] * 4 + [0] * 3 + [1] * 3, [1] * 4 + [0] * 6], bool)
    assert fleiss_kappa(raters) == pytest.approx((0.7 - 0.505) / 0.495)
    assert fleiss_kappa(raters[[0, 0, 0]]) == pytest.approx(1)
    rng = np.random.default_rng(0)
    assert fleiss_kappa(rng.random((4, 200, 200)) < 0.3) == pytest.approx(0, abs=0.01)
    assert math.isnan(fleiss_kappa(np.zeros((3, 4), bool)))
    assert math.isnan(fleiss_kappa(raters[:1]))


def test_ignored_pixels_do_not_count() -> None:
    rng = np.random.default_rng(3)
    raters, ignore = rng.random((3, 12, 12)) < 0.4, np.zeros((12, 12), bool)
    ignore[:, 8:] = True
    drawn = raters & ~ignore
    found = agreement_measures(drawn, ignore=ignore)
    assert found == pytest.approx(agreement_measures(drawn[:, :, :8]))
    assert found["foreground"] == pytest.approx(drawn[:, :, :8].mean())


def test_policies_and_skipped_objects() -> None:
    image, target = np.zeros((1, 4, 3), np.uint8), np.array([[1, 1, 0, 0]], bool)
    nothing = np.zeros_like(target)
    made = drawn_by(target, nothing, target)
    sample = Sample("set", "a", image, (made,))
    present = inter_rater_agreement([sample])
    assert present.rows[0].raters == 3
    assert present.mean("pairwise_dice") == pytest.approx(1 / 3)
    nonempty = inter_rater_agreement([sample], policy="nonempty")
    assert nonempty.rows[0].raters == 2
    assert nonempty.mean("pairwise_dice") == 1
    alone = inter_rater_agreement([replace(sample, targets=(drawn_by(target, nothing),))], policy="nonempty")
    assert alone.rows == ()
    assert alone.skipped == 1
    assert math.isnan(alone.mean("pairwise_dice"))
    with pytest.raises(ValueError, match="rater policy"):
        inter_rater_agreement([], policy="some")


def drawn_by(*masks: np.ndarray) -> Target:
    return Target("0", masks, raters=tuple("abc"[: len(masks)]))


def test_normalised_score() -> None:
    assert agreement_normalised(0.6, 0.8) == pytest.approx(0.75)
    assert math.isnan(agreement_normalised(0.6, 0.0))
    assert math.isnan(agreement_normalised(0.6, math.nan))


def test_without_simpleitk_staple_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "SimpleITK", None)  # what an import finds where it is not installed
    raters = np.zeros((2, 3, 3), bool)
    raters[0, 1] = True
    with pytest.raises(PluginError, match=r"pip install 'rclicks\[volumes\]'"):
        consensus(raters, "staple")
    assert consensus(raters, "union").sum() == 3
