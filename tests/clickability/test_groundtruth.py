"""Ground-truth maps of click models: the published ones equal the golden files, ours are densities."""

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rclicks.clickability.groundtruth import click_density, click_map, gaussian_map, pixel_sigma
from rclicks.errors import DataError
from support import SHARED, golden, golden_arrays, needs_shared, stored_view

RENDERED = range(16)
TOLERANCE = 2e-7


def ellipse(text: str, h: int, w: int) -> np.ndarray:
    """Return the error mask that a golden item describes in words."""
    cy, cx, a, b = (float(v) for v in re.findall(r"([\d.]+)[hw]", text))
    yy, xx = np.mgrid[0:h, 0:w]
    return (((yy - cy * h) / (a * h)) ** 2 + ((xx - cx * w) / (b * w)) ** 2 <= 1).astype(np.float32)


@needs_shared
@pytest.mark.parametrize("i", RENDERED)
def test_published_maps_equal_the_golden_ones(i: int) -> None:
    table, arrays = golden("behaviour/click_map_rendering"), golden_arrays("behaviour/click_map_rendering")
    item = table["items"][i]
    h, w = item["image_hw"]
    points, error = np.array([item["ys"], item["xs"]]).T, ellipse(item["error_mask"], h, w)
    assert pixel_sigma(item["sigma"], (h, w)) == pytest.approx(item["effective_sigma"], rel=1e-12)
    found = {
        "gaussian_map": gaussian_map(points, (h, w), item["sigma"]),
        "click_map": click_map(points, error, item["sigma"]),
    }
    for name, array in found.items():
        facts = table["outputs"][f"{item['tag']}.{name}"]
        expected = arrays[f"{item['tag']}.{name}"]
        np.testing.assert_allclose(stored_view(array, facts["stored"]), expected, rtol=0, atol=TOLERANCE)
        assert float(np.abs(array, dtype=np.float64).sum()) == pytest.approx(facts["abs_sum"], rel=1e-5, abs=1e-6)


@needs_shared
@pytest.mark.parametrize("case", range(5))
def test_published_maps_equal_the_fixtures(case: int) -> None:
    with np.load(SHARED / "reference/rclicks/fixtures/gt_click_maps.npz", allow_pickle=False) as file:
        xs, ys, error, sigma, expected, product = (
            file[f"{k}_{case}"] for k in ("xs", "ys", "error", "sigma", "gaussian_sub4", "clickmap_sub4")
        )
    points = np.stack([ys, xs], 1)
    np.testing.assert_allclose(gaussian_map(points, error.shape, float(sigma))[::4, ::4], expected, atol=TOLERANCE)
    np.testing.assert_allclose(click_map(points, error, float(sigma))[::4, ::4], product, atol=TOLERANCE)


shapes = st.tuples(st.integers(1, 40), st.integers(1, 40))


@settings(max_examples=50, deadline=None)
@given(shape=shapes, seed=st.integers(0, 9999), sigma=st.sampled_from([0.0, 1.0, 5.0, 60.0, 2000.0]))
def test_a_density_sums_to_one_inside_the_error(shape: tuple[int, int], seed: int, sigma: float) -> None:
    rng = np.random.default_rng(seed)
    error = rng.random(shape) < 0.5
    points = np.stack([rng.integers(0, n, 7) for n in shape], 1)
    density = click_density(points, error, sigma)
    assert (density >= 0).all()
    assert (density[~error] == 0).all()
    hit = error[tuple(points.T)].any()
    assert density.sum() == pytest.approx(1.0 if hit else 0.0, abs=1e-12)


def test_every_click_on_the_error_counts_the_same() -> None:
    # Two parts far from each other, one cut by the image's edge: the published product gives the cut one less.
    error = np.zeros((60, 200), bool)
    error[:4, 20:30], error[26:34, 150:160] = True, True
    density = click_density(np.array([[0, 25], [30, 155], [50, 100]]), error, sigma=60)
    assert density[:, :100].sum() == pytest.approx(0.5, abs=1e-12)
    published = click_map(np.array([[0, 25], [30, 155]]), error, sigma=60)
    assert published[:, :100].sum() < 0.8 * published[:, 100:].sum()


def test_a_soft_error_weighs_the_density() -> None:
    error = np.full((1, 9), 0.5, np.float32)
    error[0, :4] = 0.25
    density = click_density(np.array([[0, 4]]), error, sigma=2 * 1920 / 9)
    assert density[0, 3] / density[0, 5] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("points", "sigma", "words"),
    [
        (np.zeros((0, 2), int), 5.0, "n > 0"),
        (np.array([[0, 9]]), 5.0, "outside"),
        (np.array([[-1, 0]]), 5.0, "outside"),
        (np.array([[0, 0]]), -1.0, "sigma"),
        (np.array([[0, 0]]), math.nan, "sigma"),
    ],
)
def test_bad_clicks_are_refused(points: np.ndarray, sigma: float, words: str) -> None:
    for render in (click_map, click_density):
        with pytest.raises(DataError, match=words):
            render(points, np.ones((9, 9), bool), sigma)


def test_the_published_map_needs_a_blur() -> None:
    with pytest.raises(DataError, match="sigma"):
        gaussian_map(np.array([[0, 0]]), (9, 9), 0)
