"""Click metrics: golden values, published draws, independent oracles, degenerate input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.stats import pearsonr

from rclicks.clickability.evaluation import draw_points
from rclicks.metrics.clicks import ks2d, nss, pde, pl1, wasserstein
from support import SHARED, golden, needs_shared


@needs_shared
def test_fixture() -> None:
    with np.load(SHARED / "reference/rclicks/fixtures/click_metrics.npz") as file:
        for c in range(6):
            a, b = file[f"a_{c}"][:, ::-1], file[f"b_{c}"][None, :, ::-1]  # the file has (x, y)
            (p,), (statistic,) = ks2d(a, b)
            assert p == pytest.approx(file[f"ks_p_{c}"], abs=1e-12)
            assert statistic == pytest.approx(file[f"ks_D_{c}"], abs=1e-12)
            assert wasserstein(a, b)[0] == pytest.approx(file[f"emd_{c}"], abs=1e-10)
            assert pl1(a, b, (60, 80))[0] == pytest.approx(file[f"pl1_w80_h60_{c}"], abs=1e-12)
            points = np.clip(a.astype(int), 0, np.array(file[f"map_{c}"].shape) - 1)
            assert nss(file[f"map_{c}"], points) == pytest.approx(file[f"nss_{c}"], abs=1e-12)
            assert pde(file[f"map_{c}"], points) == pytest.approx(file[f"pde_{c}"], abs=1e-15)


def golden_map(reference: dict) -> np.ndarray:
    yy, xx = np.mgrid[: reference["hw"][0], : reference["hw"][1]]
    if reference["sigma"] is None:
        return np.ones(reference["hw"])
    cy, cx = reference["center_row_col"]
    return np.exp(-((yy - cy) ** 2 + (xx - cx) ** 2) / (2 * reference["sigma"] ** 2))


@needs_shared
def test_golden_values_with_the_published_draws() -> None:
    with np.load(SHARED / "golden/behaviour/click_map_metrics.npz") as file:
        stored = [file[f"map{i}"] for i in range(4)]
    for k, item in enumerate(golden("behaviour/click_map_metrics")["items"]):
        click_map = golden_map(item["map"])
        np.testing.assert_allclose(click_map[::2, ::2], stored[k])
        cumulative, width = np.cumsum(click_map.ravel() / click_map.sum()), click_map.shape[1]
        real = np.stack([item["y_gt"], item["x_gt"]], axis=1)
        box, n = item["object_box_w_h"][::-1], len(real)
        twenty = np.array(item["sample_from_dist_seed42_x_y"])[::-1].T
        drawn = draw_points(cumulative, np.random.RandomState(42).random_sample(20), width)
        np.testing.assert_array_equal(drawn, twenty)
        (p,), (statistic,) = ks2d(real, twenty[None])
        assert [p, statistic] == pytest.approx(item["ks2d2s_p_D_vs_those_20_samples"], abs=1e-12)
        expected = item["wasserstein_nd_vs_those_20_samples_unnormalised"]
        assert wasserstein(real, twenty[None])[0] == pytest.approx(expected, abs=1e-10)
        sets = {
            "l1": lambda s, real=real, box=box: pl1(real, s, box).mean(),
            "ks2d": lambda s, real=real: (ks2d(real, s)[0] > 0.05).mean(),
            "wasserstein": lambda s, real=real, box=box: wasserstein(real, s, box).mean(),
        }
        script = np.random.RandomState(42)
        for name, value in sets.items():
            alone = np.random.RandomState(42).random_sample((100, n))
            assert value(draw_points(cumulative, alone, width)) == pytest.approx(
                item[f"{name}_each_with_np_random_seed_42"], abs=1e-12
            )
            iter_groups = draw_points(cumulative, script.random_sample((100, n)), width)
            assert value(iter_groups) == pytest.approx(item["in_script_order_one_seed_42"][name], abs=1e-12)
        assert nss(click_map, real) == pytest.approx(item["nss_each_with_np_random_seed_42"], abs=1e-9)
        assert pde(click_map, real) == pytest.approx(item["pde_each_with_np_random_seed_42"], abs=1e-15)


def ks_by_loops(a: np.ndarray, b: np.ndarray) -> float:
    """Write the specification down point by point."""

    def one_way(own: np.ndarray, other: np.ndarray) -> float:
        rows = []
        for y0, x0 in own:
            shares = []
            for points in (own, other):
                left, above = points[:, 1] <= x0, points[:, 0] <= y0
                first = [(left & above).mean(), (left & ~above).mean(), (~left & above).mean()]
                shares.append([*first, 1 - sum(first)])
            rows.append(np.subtract(*shares))
        difference = np.array(rows)
        difference[:, 0] -= 1 / len(own)
        return max(-difference.min(), difference.max() + 1 / len(own))

    return (one_way(a, b) + one_way(b, a)) / 2


SEEDS = st.integers(0, 2**32 - 1)


@settings(deadline=None, max_examples=40)
@given(SEEDS, st.integers(2, 12), st.integers(2, 12))
def test_ks_statistic_is_the_specification(seed: int, n: int, m: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 6, (n, 2)), rng.integers(0, 6, (3, m, 2))
    p, statistic = ks2d(a, b)
    assert statistic == pytest.approx([ks_by_loops(a, s) for s in b], abs=1e-12)
    constant = [bool((np.ptp(a, axis=0) == 0).any() or (np.ptp(s, axis=0) == 0).any()) for s in b]
    assert np.isnan(p).tolist() == constant


def test_ks_p_uses_pearsons_r() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(30, 2)) @ [[1, 0.8], [0, 0.6]]
    same, far = ks2d(a, np.stack([a + 1e-9, a + 5]))[0]
    assert same > 0.9
    assert far < 1e-6
    r = pearsonr(a[:, 0], a[:, 1])[0]
    assert abs(r) > 0.5  # or the correction would not matter


@settings(deadline=None, max_examples=25)
@given(SEEDS, st.integers(1, 7), st.integers(1, 7))
def test_wasserstein_is_the_linear_program(seed: int, n: int, m: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.random((n, 2)) * 50, rng.random((m, 2)) * 50
    cost = np.hypot(*(a[:, None] - b[None]).transpose(2, 0, 1))
    rows = np.kron(np.eye(n), np.ones(m))
    columns = np.kron(np.ones(n), np.eye(m))
    weights = [1 / n] * n + [1 / m] * m
    expected = linprog(cost.ravel(), A_eq=np.vstack([rows, columns]), b_eq=weights).fun
    assert wasserstein(a, b[None])[0] == pytest.approx(expected, abs=1e-7)
    assert wasserstein(a, b[None], (3, 4))[0] == pytest.approx(expected / 5, abs=1e-7)


def test_large_unequal_sets_are_a_linear_program_and_agree_with_repetition() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.random((21, 2)), rng.random((22, 2))  # 462 repeated points: above the limit
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    cost = np.repeat(np.repeat(cdist(a, b), 22, axis=0), 21, axis=1)
    assert wasserstein(a, b[None])[0] == pytest.approx(cost[linear_sum_assignment(cost)].mean(), abs=1e-9)


def test_pl1_is_the_mean_over_all_pairs() -> None:
    assert pl1([[0, 0], [4, 8]], [[[2, 2]], [[0, 0]]], (4, 8)).tolist() == [
        (2 / 4 + 2 / 8 + 2 / 4 + 6 / 8) / 2,
        (0 + 1 + 1) / 2,
    ]


def test_even_and_empty_maps() -> None:
    even = np.ones((5, 6))
    assert nss(even, [[0, 0]]) == pytest.approx(0, abs=1e-6)
    assert pde(even, [[0, 0]]) == pytest.approx(1 / 30)
    assert pde(np.zeros((5, 6)), [[0, 0]]) == 0
    assert nss(np.zeros((5, 6)), [[0, 0]]) == 0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: pl1(np.zeros((0, 2)), np.zeros((1, 3, 2)), (1, 1)), "no points"),
        (lambda: wasserstein(np.zeros((3, 2)), np.zeros((1, 0, 2))), "no points"),
        (lambda: pl1(np.zeros((3, 2)), np.zeros((3, 2)), (1, 1)), "expected .n, 2. and .B, m, 2."),
        (lambda: pl1(np.zeros((3, 2)), np.zeros((1, 3, 2)), (0, 5)), "box is .0, 5."),
        (lambda: ks2d(np.zeros((1, 2)), np.zeros((1, 3, 2))), "two points"),
        (lambda: nss(np.ones((3, 3)), [[3, 0]]), "outside the 3 x 3"),
        (lambda: pde(np.ones((3, 3)), np.zeros((0, 2))), "n >= 1"),
        (lambda: pde(np.array([[1, np.nan]]), [[0, 0]]), "finite"),
        (lambda: nss(np.array([[1, -1]]), [[0, 0]]), "none negative"),
        (lambda: nss(np.ones(3), [[0, 0]]), r"shape \(3,\); expected \(H, W\)"),
        (lambda: pl1([[0, np.inf]], np.zeros((1, 3, 2)), (1, 1)), "not finite"),
    ],
)
def test_bad_input(call, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()
