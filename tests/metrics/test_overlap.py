"""Overlap metrics against golden values and a naive oracle."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rclicks.errors import UnknownNameError
from rclicks.metrics.boundary import boundary_iou
from rclicks.metrics.catalogue import score
from rclicks.metrics.overlap import dice, iou
from rclicks.metrics.target import TargetReference, band_width
from rclicks.protocol import Protocol
from support import golden, golden_arrays, needs_shared, synthetic_truth


def naive_band(mask: np.ndarray, width: int) -> np.ndarray:
    framed = np.pad(mask.astype(np.uint8), 1)
    return mask & ~cv2.erode(framed, np.ones((3, 3), np.uint8), iterations=width)[1:-1, 1:-1].astype(bool)


def naive(truth: np.ndarray, prediction: np.ndarray) -> tuple[float, float]:
    valid = truth != -1
    width = max(1, round(0.02 * math.hypot(*truth.shape)))
    pairs = [(prediction, truth == 1), (naive_band(prediction, width), naive_band(truth == 1, width))]
    values = []
    for a, b in pairs:
        union = np.count_nonzero((a | b) & valid)
        values.append(np.count_nonzero(a & b & valid) / union if union else math.nan)
    return values[0], values[1]


def golden_truth(what: object, masks: dict) -> np.ndarray:
    if what == "zeros 32x48":
        return np.zeros((32, 48), np.int32)
    if what == "all ignore (-1) 32x48":
        return np.full((32, 48), -1, np.int32)
    if "grabcut" in what:
        values = masks[what["grabcut"]]
        return np.where(values > 128, 1, np.where(values == 128, -1, 0)).astype(np.int32)
    return synthetic_truth(what["synth_seed"], *what["hw"])


def golden_prediction(what: object, truth: np.ndarray) -> np.ndarray:
    if isinstance(what, str):
        return {"all_false": truth < -1, "all_true": truth >= -1, "gt==1": truth == 1}[what]
    if "synth_seed_eq1" in what:
        return synthetic_truth(what["synth_seed_eq1"], *truth.shape) == 1
    if "bernoulli_seed" in what:
        return np.random.default_rng(what["bernoulli_seed"]).random(truth.shape) < what["p"]
    yy, xx = np.mgrid[: truth.shape[0], : truth.shape[1]]
    row, column = what["disc_center"]
    return (yy - row) ** 2 + (xx - column) ** 2 <= what["radius"] ** 2


@needs_shared
def test_golden_iou_and_boundary_iou() -> None:
    masks = golden_arrays("behaviour/grabcut_masks")
    items = golden("behaviour/iou")["items"]
    assert len(items) >= 50
    for item in items:
        truth = golden_truth(item["gt"], masks)
        prediction = golden_prediction(item["pred"], truth)
        reference = TargetReference(truth == 1, truth == -1)
        for function, key in ((iou, "iou"), (boundary_iou, "boundary_iou")):
            expected = math.nan if item[key] is None else item[key]
            found = function(reference, prediction, empty=math.nan)
            assert found == pytest.approx(expected, abs=1e-12, nan_ok=True), item


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40))
def test_equals_naive_definition(seed: int, h: int, w: int) -> None:
    rng = np.random.default_rng(seed)
    truth = (cv2.blur(rng.random((h, w)), (5, 5)) > 0.5).astype(np.int32)
    truth[rng.random((h, w)) < 0.05] = -1
    prediction = cv2.blur(rng.random((h, w)), (5, 5)) > rng.uniform(0.3, 0.7)
    reference = TargetReference(truth == 1, truth == -1)
    expected = naive(truth, prediction)
    assert iou(reference, prediction, empty=math.nan) == pytest.approx(expected[0], nan_ok=True)
    assert boundary_iou(reference, prediction, empty=math.nan) == pytest.approx(expected[1], nan_ok=True)
    value = iou(reference, prediction)
    assert dice(reference, prediction) == pytest.approx(2 * value / (1 + value))


def test_empty_rules_of_both_protocols() -> None:
    nothing = TargetReference(np.zeros((4, 5), bool))
    empty = np.zeros((4, 5), bool)
    names = ("iou", "biou", "dice")
    assert set(score(names, nothing, empty, Protocol()).values()) == {1.0}
    assert all(math.isnan(v) for v in score(names, nothing, empty, Protocol.named("compat")).values())


def test_wrong_shapes_and_names_are_refused() -> None:
    reference = TargetReference(np.ones((4, 5), bool))
    with pytest.raises(ValueError, match=r"shape \(5, 4\)"):
        iou(reference, np.ones((5, 4), bool))
    with pytest.raises(TypeError, match="bool"):
        TargetReference(np.ones((4, 5), np.uint8))
    with pytest.raises(UnknownNameError, match="Did you mean iou"):
        score(("iuo",), reference, np.ones((4, 5), bool), Protocol())


def test_band_width_rounds_half_to_even() -> None:
    assert band_width((30, 40), 0.05) == 2
    assert band_width((3, 4), 0.02) == 1
