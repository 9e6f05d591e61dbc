"""The base rule against golden sequences, edge cases and a full-frame oracle."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from rclicks.interaction import Click
from rclicks.metrics.boundary import boundary_iou
from rclicks.metrics.overlap import iou
from rclicks.metrics.target import TargetReference
from rclicks.users.robot import deepest_pixel, next_click
from support import SHARED, crc32, golden, golden_arrays, needs_shared, synthetic_truth


def facts_of(truth: np.ndarray) -> TargetReference:
    return TargetReference(truth == 1, truth == -1)


def compat_click(truth: np.ndarray, prediction: np.ndarray, clicked: list) -> Click:
    return next_click(facts_of(truth), prediction, clicked) or Click((0, 0), positive=False)


def full_frame_rule(truth: np.ndarray, prediction: np.ndarray, clicked: list) -> Click:
    """Section 1.3 of the specification written down naively, with SciPy's distance transform."""
    valid = truth != -1
    depths = []
    for error in ((truth == 1) & ~prediction & valid, (truth != 1) & prediction & valid):
        depth = ndimage.distance_transform_edt(np.pad(error, 1))[1:-1, 1:-1].astype(np.float32)
        for point in clicked:
            depth[point] = 0
        depths.append(depth)
    positive = depths[0].max() > depths[1].max()
    flat = int(depths[0 if positive else 1].argmax())
    return Click(tuple(int(v) for v in np.unravel_index(flat, truth.shape)), bool(positive))


def discs(shape: tuple, clicks: list, radius: int) -> np.ndarray:
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    masks = {True: np.zeros(shape, bool), False: np.zeros(shape, bool)}
    for click in clicks:
        masks[click.positive] |= (yy - click.point[0]) ** 2 + (xx - click.point[1]) ** 2 <= radius**2
    return masks[True] & ~masks[False]


def truth_of(item: dict) -> np.ndarray:
    if "mask" in item:
        values = golden_arrays("behaviour/grabcut_masks")[item["mask"]]
        return np.where(values > 128, 1, np.where(values == 128, -1, 0)).astype(np.int32)
    return synthetic_truth(item["synth_seed"], *item["shape"])


@needs_shared
def test_golden_sequences_are_bit_exact() -> None:
    items = golden("behaviour/clicker_sequences")["items"]
    assert len(items) >= 20
    for item in items:
        truth = truth_of(item)
        assert crc32(truth) == item["gt_crc32_int32"]
        reference, prediction, clicks, scores, bands = facts_of(truth), np.zeros(truth.shape, bool), [], [], []
        for expected in item["clicks_row_col_positive_index"]:
            click = compat_click(truth, prediction, [c.point for c in clicks])
            clicks.append(click)
            assert [*click.point, int(click.positive)] == expected[:3]
            prediction = discs(truth.shape, clicks, item["radius"])
            scores.append(iou(reference, prediction))
            bands.append(boundary_iou(reference, prediction))
        assert scores == pytest.approx(item["iou"], abs=1e-12)
        assert bands == pytest.approx(item["boundary_iou"], abs=1e-12)


@needs_shared
def test_golden_edge_cases() -> None:
    for item in golden("behaviour/clicker_edge_cases")["items"]:
        truth, prediction = np.array(item["gt"], np.int32), np.array(item["pred"], bool)
        clicked = [tuple(c[:2]) for c in item["clicks_added_before"]]
        for expected in item["next_clicks_row_col_positive_index"]:
            click = compat_click(truth, prediction, clicked)
            assert [*click.point, int(click.positive)] == expected[:3], item["case"]
            clicked.append(click.point)


@needs_shared
def test_reference_fixture_with_ignore_and_borders() -> None:
    data = np.load(SHARED / "reference/rclicks/fixtures/base_clicker.npz", allow_pickle=False)
    for case in range(12):
        truth, clicked = data[f"gt_{case}"].astype(np.int32), []
        for k, expected in enumerate(data[f"clicks_{case}"]):
            prediction = data[f"preds_{case}"][k].astype(bool)
            click = compat_click(truth, prediction, clicked)
            assert [int(click.positive), *click.point] == list(expected[:3])
            clicked.append(click.point)
            assert iou(facts_of(truth), prediction) == pytest.approx(data[f"iou_{case}"][k], abs=1e-9)
            assert boundary_iou(facts_of(truth), prediction) == pytest.approx(data[f"biou_{case}"][k], abs=1e-9)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 28), st.integers(1, 28), st.sampled_from([0.15, 0.4, 0.6, 0.9]))
def test_cropped_rule_equals_the_full_frame_rule(seed: int, h: int, w: int, density: float) -> None:
    rng = np.random.default_rng(seed)
    blobs = cv2.blur(rng.random((h, w)), (3, 3))
    truth = np.where(blobs < np.quantile(blobs, density), 1, 0).astype(np.int32)
    truth[rng.random((h, w)) < 0.05] = -1
    prediction = rng.random((h, w)) < 0.5 if seed % 2 else np.roll(truth == 1, 2, axis=1)
    clicked = [tuple(int(v) for v in p) for p in np.argwhere(rng.random((h, w)) < 0.03)]
    assert compat_click(truth, prediction, clicked) == full_frame_rule(truth, prediction, clicked)


@needs_shared
def test_cropped_rule_equals_the_full_frame_rule_on_real_masks() -> None:
    for values in golden_arrays("behaviour/grabcut_masks").values():
        truth = np.where(values > 128, 1, np.where(values == 128, -1, 0)).astype(np.int32)
        prediction, clicked = np.roll(truth == 1, (7, -11), axis=(0, 1)), []
        for _ in range(8):
            click = compat_click(truth, prediction, clicked)
            assert click == full_frame_rule(truth, prediction, clicked)
            clicked.append(click.point)


def test_distances_beyond_a_thousand_pixels_are_exact() -> None:
    mask = np.ones((2101, 2103), bool)
    assert deepest_pixel(mask) == (1051**2, (1050, 1050))


def test_no_error_left_gives_no_click() -> None:
    truth = np.zeros((5, 6), bool)
    truth[1:3, 2:4] = True
    assert next_click(TargetReference(truth), truth) is None
    every = [(r, c) for r in range(5) for c in range(6)]
    assert next_click(TargetReference(truth), np.zeros_like(truth), every) is None
    assert next_click(TargetReference(np.zeros((5, 6), bool)), np.zeros((5, 6), bool)) is None


def test_floor_only_hides_smaller_depths() -> None:
    mask = np.zeros((20, 20), bool)
    mask[2:13, 3:14] = True
    depth, at = deepest_pixel(mask)
    assert (depth, at) == (36, (7, 8))
    assert deepest_pixel(mask, floor=36) == (36, (7, 8))
    assert deepest_pixel(mask, floor=37) == (0, None)
