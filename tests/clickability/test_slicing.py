"""Slices of probability mass: the published ones against golden files, ours against what they promise."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rclicks.clickability.groups import MassOrder, bounds_of, group_number, published_draw, published_slice
from rclicks.errors import ProtocolError
from rclicks.metrics.target import TargetReference
from rclicks.users.robot import next_click
from support import SHARED, crc32, golden, needs_shared

TENTHS = bounds_of(10)


def golden_map(facts: dict) -> np.ndarray:
    """Draw a probability map as the golden files' README says."""
    rng = np.random.default_rng(facts["seed"])
    h, w = facts["hw"]
    yy, xx = np.mgrid[0:h, 0:w]
    made = np.zeros((h, w))
    if facts["kind"] == "blobs":
        for _ in range(3):
            cy, cx = rng.uniform(0, h), rng.uniform(0, w)
            sigma, height = rng.uniform(0.08, 0.25) * min(h, w), rng.uniform(0.3, 1)
            made += height * np.exp(-((yy - cy) ** 2 + (xx - cx) ** 2) / (2 * sigma**2))
        made -= made.min()
    elif facts["kind"] == "uniform":
        made = np.ones((h, w))
    elif facts["kind"] == "noise":
        made = rng.random((h, w))
        made -= made.min()
    elif facts["kind"] == "levels":
        made = rng.integers(0, 5, (h, w)).astype(float)
    made = (made / max(made.max(), 1e-9)).astype(np.float32)
    assert crc32(made) == facts["crc32_float32"]
    return made


def golden_object(shape: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[shape[0] // 6 : shape[0] - shape[0] // 6, shape[1] // 6 : shape[1] - shape[1] // 6] = True
    return mask


@needs_shared
def test_published_slices_and_draws_are_golden() -> None:
    items = [i for i in golden("behaviour/prob_slicing")["items"] if "prob_low" in i]
    assert len(items) == 128
    uniform = np.random.RandomState(1234).random_sample()
    for item in items:
        found = golden_map(item["map"])
        mask = golden_object(found.shape)
        kept = published_slice(found * mask, (item["prob_low"], item["prob_high"]))
        drawn = published_draw(kept, uniform)
        if item["map"]["kind"] == "zeros":
            assert drawn is None
            assert (
                list(next_click(TargetReference(mask), np.zeros_like(mask)).point) == item["sampled_row_col_seed1234"]
            )
            continue
        assert crc32(np.packbits(kept > 0)) == item["allowed_packbits_crc32"], item
        assert np.count_nonzero(kept) == item["n_allowed"]
        assert list(drawn) == item["sampled_row_col_seed1234"], item


@needs_shared
def test_successive_published_draws_are_golden() -> None:
    items = [i for i in golden("behaviour/prob_slicing")["items"] if "prob_low" not in i]
    assert len(items) == 8
    for item in items:
        found = golden_map(item["map"])
        mask = golden_object(found.shape)
        numbers = np.random.RandomState(42)
        clicked: list = []
        for expected in item["draws_seed42_30_successive_clicks_pred_stays_empty"]:
            weights = found * mask
            for point in clicked:
                weights[point] = 0
            at = (
                None if not weights.any() else published_draw(published_slice(weights, (0, 1)), numbers.random_sample())
            )
            at = at or next_click(TargetReference(mask), np.zeros_like(mask), clicked).point
            assert list(at) == expected, item["map"]
            clicked.append(at)


@needs_shared
def test_published_group_maps_of_the_fixture() -> None:
    with np.load(SHARED / "reference/rclicks/fixtures/clicking_groups.npz") as file:
        cases = {k: file[k] for k in file.files}
    uniform = np.random.RandomState(42).random_sample()
    for c in range(6):
        truth, prediction = cases[f"gt_{c}"], cases[f"pred_{c}"]
        for positive in (True, False):
            error = (truth == 1) & ~prediction if positive else (truth == 0) & prediction
            weights = cases[f"map_{c}"] * error
            for g, expected in enumerate(cases[f"groupclicks_{c}"]):
                if bool(expected[0]) is positive:
                    kept = published_slice(weights, (g * 0.1, (g + 1) * 0.1))
                    np.testing.assert_array_equal(kept, cases[f"groupmaps_{c}"][g])
                    assert published_draw(kept, uniform) == tuple(expected[1:])
            if bool(cases[f"fullclick_{c}"][0]) is positive:
                assert published_draw(published_slice(weights, (0, 1)), uniform) == tuple(cases[f"fullclick_{c}"][1:])


def test_published_slices_keep_both_threshold_values_even_where_sums_meet_the_bounds() -> None:
    weights = np.array([[1, 2, 3, 4]], np.float32)  # cumulative: 1 3 6 10
    assert published_slice(weights, (0.1, 0.3)).tolist() == [[1, 2, 3, 0]]
    assert published_slice(weights, (0.3, 0.6)).tolist() == [[0, 2, 3, 4]]
    assert published_slice(weights, (0.6, 1.0)).tolist() == [[0, 0, 3, 4]]


MAPS = hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.floats(0, 1, width=32))


@settings(deadline=None)
@given(MAPS, st.integers(1, 12))
def test_groups_share_no_mass_and_lose_none(weights: np.ndarray, groups: int) -> None:
    order = MassOrder(weights)
    parts = [order.mass(b) for b in bounds_of(groups)]
    np.testing.assert_allclose(sum(parts), weights.astype(np.float64), atol=1e-12 * max(order.total, 1))
    np.testing.assert_allclose([p.sum() for p in parts], order.total / groups, rtol=1e-9, atol=1e-12)
    for lower, upper in itertools.pairwise(parts):  # no pixel of a lower group is likelier than one of a higher group
        if lower.any() and upper.any():
            assert weights[lower > 1e-12].max(initial=0) <= weights[upper > 1e-12].min(initial=np.inf)


@settings(deadline=None)
@given(MAPS, st.floats(0, 1, exclude_max=True), st.integers(0, 9))
def test_a_draw_falls_on_mass_of_its_group(weights: np.ndarray, uniform: float, group: int) -> None:
    order = MassOrder(weights)
    if order.total == 0:
        with pytest.raises(ValueError, match="no mass"):
            order.draw(TENTHS[group], uniform)
        return
    at = order.draw(TENTHS[group], uniform)
    widened = (max(0.0, TENTHS[group][0] - 1e-9), TENTHS[group][1] + 1e-9)  # rounding at a bound
    assert order.mass(widened)[at] > 0
    assert weights[at] > 0


def test_draws_follow_the_mass() -> None:
    weights = np.array([[0.0, 1, 2], [3, 0, 4]])
    order = MassOrder(weights)
    grid = (np.arange(20_000) + 0.5) / 20_000
    counted = np.zeros_like(weights)
    for low, high in bounds_of(4):
        for uniform in grid[::4]:
            counted[order.draw((low, high), uniform)] += 1
    np.testing.assert_allclose(counted / counted.sum(), weights / weights.sum(), atol=1e-3)


def test_equal_pixels_are_not_grouped_by_place() -> None:
    order = MassOrder(np.ones((100, 100)))
    rows = np.repeat(np.arange(100), 100).reshape(100, 100)
    for bounds in TENTHS:
        assert abs(np.average(rows, weights=order.mass(bounds)) - 49.5) < 4


@pytest.mark.parametrize("groups", [0, -1, True, 2.5, "ten", [0.1, 1], [0, 0.5], [0, 0.5, 0.5, 1], [0], ["a", "b"]])
def test_bad_groups(groups: object) -> None:
    with pytest.raises(ProtocolError, match="groups is"):
        bounds_of(groups)


def test_any_bounds_and_group_names() -> None:
    assert bounds_of([0, 0.9, 1]) == ((0.0, 0.9), (0.9, 1.0))
    assert [group_number(n) for n in ("G1", "G10", "G0", "", "p1", "G1x")] == [1, 10, None, None, None, None]
