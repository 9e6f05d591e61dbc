"""What the classical 3-D models share: working volume, seeds, assumed background, tidying, graph, grey-value model."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rclicks.errors import DataError
from rclicks.interaction import Box, Click, Lasso, Scribble
from rclicks.models.seeded.base import ASSUMED, BACKGROUND, OBJECT
from rclicks.models.seeded.grid import Links
from rclicks.models.seeded.intensity import IntensityModel, bins_of
from rclicks.models.seeded.seeds_3d import draw, enforce_seeds, flat_axis, implied_background
from rclicks.models.seeded.working_volume import WorkingVolume, enlarge, steps_for
from rclicks.sample import Sample

CUBE = (1.0, 1.0, 1.0)


def sample(image: np.ndarray, spacing: tuple[float, ...] = CUBE) -> Sample:
    return Sample("test", "one", image, spacing=spacing)


def seeds_of(interactions, shape, spacing=CUBE, radius=0.0, **rest) -> np.ndarray:
    at, label = draw(interactions, shape, spacing, radius, **rest)
    assert (np.diff(at) > 0).all()
    seeds = np.zeros(shape, np.int8)
    seeds.reshape(-1)[at] = label
    return seeds


def working_volume(shape, spacing=CUBE) -> WorkingVolume:
    return WorkingVolume.of(sample(np.zeros(shape, np.uint8), spacing), 10**8)


@given(
    shape=st.tuples(*[st.integers(1, 60)] * 3),
    spacing=st.tuples(*[st.floats(0.2, 8)] * 3),
    voxels=st.integers(50, 20_000),
)
@settings(max_examples=60, deadline=None)
def test_the_budget_is_kept_by_shortening_the_finest_axis(shape, spacing, voxels) -> None:
    step = steps_for(shape, spacing, voxels)
    assert math.prod(-(-n // k) for n, k in zip(shape, step, strict=True)) <= voxels
    if math.prod(shape) <= voxels:
        assert step == (1, 1, 1)
    for axis in range(3):
        if step[axis] > 1:  # when it was last made coarser, it was the finest of those that could still be
            before = spacing[axis] * (step[axis] - 1)
            assert all(before <= spacing[a] * step[a] + 1e-9 or step[a] == shape[a] for a in range(3))


def test_block_means_are_means_also_of_the_last_incomplete_blocks() -> None:
    image = np.random.default_rng(0).integers(-500, 900, (7, 10, 11)).astype(np.int16)
    working = WorkingVolume.of(sample(image, (2.0, 1.0, 1.0)), 140)
    step = working.step
    assert step[1] > 1
    assert step[2] > 1
    assert working.spacing == (2.0 * step[0], float(step[1]), float(step[2]))
    means = np.empty(working.shape)
    for index in np.ndindex(working.shape):
        means[index] = image[tuple(slice(i * k, (i + 1) * k) for i, k in zip(index, step, strict=True))].mean()
    low, high = np.percentile(means, (0.5, 99.5))
    np.testing.assert_allclose(working.values, np.clip((means - low) / (high - low), 0, 1), atol=1e-5)


@pytest.mark.parametrize("voxels", [10**6, 500])
def test_grey_values_do_not_depend_on_type_shift_or_scale(voxels: int) -> None:
    image = np.random.default_rng(1).integers(0, 256, (9, 12, 14))
    first = WorkingVolume.of(sample(image.astype(np.uint8)), voxels).values
    for other in (image.astype(np.int16) * 7 - 900, image.astype(np.float32) / 1000, image.astype(np.float64)):
        np.testing.assert_allclose(WorkingVolume.of(sample(other), voxels).values, first, atol=2e-6)
    assert first.min() == 0
    assert first.max() == 1


@pytest.mark.parametrize("voxels", [10**6, 500])
def test_a_read_only_memory_map_is_read_and_left_alone(tmp_path: Path, voxels: int) -> None:
    path = tmp_path / "volume.npy"
    image = np.random.default_rng(2).normal(size=(9, 12, 14)).astype(np.float32)
    np.save(path, image)
    mapped = np.load(path, mmap_mode="r")
    working = WorkingVolume.of(sample(mapped), voxels)
    np.testing.assert_array_equal(np.load(path), image)
    assert not np.shares_memory(working.values, mapped)
    own = image.copy()
    WorkingVolume.of(sample(own), voxels)
    np.testing.assert_array_equal(own, image)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("voxels", [10**6, 500])
def test_numbers_that_are_not_finite_are_refused(bad: float, voxels: int) -> None:
    image = np.zeros((9, 12, 14), np.float32)
    image[4, 5, 6] = bad
    with pytest.raises(DataError, match="test one: the volume contains NaN or infinity"):
        WorkingVolume.of(sample(image), voxels)


@pytest.mark.parametrize(
    ("image", "spacing"),
    [
        (np.zeros((5, 5), np.uint8), (1.0, 1.0)),
        (np.zeros((5, 5, 3), np.uint8), (1.0, 1.0)),
        (np.zeros((5, 5, 5), complex), CUBE),
        (np.zeros((0, 5, 5)), CUBE),
    ],
)
def test_what_is_no_volume_is_refused(image: np.ndarray, spacing: tuple[float, ...]) -> None:
    with pytest.raises(DataError, match="need a \\(Z, Y, X\\) volume"):
        WorkingVolume.of(sample(image, spacing), 1000)


def test_a_constant_volume_gives_zeros() -> None:
    assert not working_volume((4, 5, 6)).values.any()


def test_enlarging_keeps_a_linear_ramp_between_the_outer_centres() -> None:
    full, step = (7, 12, 11), (2, 3, 4)
    have = tuple(-(-n // k) for n, k in zip(full, step, strict=True))

    def ramp(z, y, x):
        return 0.01 * z + 0.02 * y + 0.03 * x

    middles = [(np.arange(n) + 0.5) * k - 0.5 for n, k in zip(have, step, strict=True)]
    small = ramp(*np.meshgrid(*middles, indexing="ij")).astype(np.float32)
    at = [np.clip(np.arange(n), m[0], m[-1]) for n, m in zip(full, middles, strict=True)]
    np.testing.assert_allclose(enlarge(small, step, full), ramp(*np.meshgrid(*at, indexing="ij")), atol=1e-6)
    assert enlarge(small, (1, 1, 1), have) is small


def test_a_click_is_a_ball_in_mm() -> None:
    spacing = (4.0, 1.5, 1.0)
    seeds = seeds_of([Click((5, 9, 9))], (11, 19, 19), spacing, 4.5)
    distance = np.linalg.norm((np.indices(seeds.shape).reshape(3, -1).T - (5, 9, 9)) * np.array(spacing), axis=1)
    np.testing.assert_array_equal(seeds.ravel() == OBJECT, distance <= 4.5)
    assert seeds_of([Click((0, 0, 0), positive=False)], (3, 3, 3), radius=0).sum() == BACKGROUND
    corner = seeds_of([Click((0, 0, 0))], (3, 3, 3), radius=1)
    assert sorted(map(tuple, np.argwhere(corner).tolist())) == [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]


def test_the_nearer_click_wins_and_the_later_one_where_they_tie() -> None:
    pair = [Click((0, 0, 2)), Click((0, 0, 6), positive=False)]
    assert seeds_of(pair, (1, 1, 9), radius=3)[0, 0].tolist() == [1, 1, 1, 1, -1, -1, -1, -1, -1]
    assert seeds_of(pair[::-1], (1, 1, 9), radius=3)[0, 0, 4] == OBJECT
    again = [Click((0, 0, 2)), Click((0, 0, 2), positive=False)]
    assert seeds_of(again, (1, 1, 9), radius=1)[0, 0].tolist() == [0, -1, -1, -1, 0, 0, 0, 0, 0]


def test_all_voxels_of_a_scribble_are_seeds_and_balls_give_way_to_them() -> None:
    line = np.eye(5, dtype=bool)[None]
    click = Click((2, 3, 4), positive=False)
    seeds = seeds_of([Scribble((2, 1, 1), line), click], (4, 8, 8), radius=1.5)
    assert (seeds[2, range(1, 6), range(1, 6)] == OBJECT).all()
    assert seeds[2, 3, 4] == BACKGROUND
    assert seeds_of([click, Scribble((2, 3, 2), np.ones((1, 1, 5), bool))], (4, 8, 8))[2, 3, 4] == OBJECT


def test_the_inner_part_of_a_lasso_is_a_seed_and_gives_way_to_clicks() -> None:
    lasso = Lasso((1, 2, 2), np.ones((1, 9, 13), bool), positive=False)
    seeds = seeds_of([Click((1, 6, 8)), lasso], (3, 14, 18), radius=0)
    assert seeds[1, 6, 8] == OBJECT
    inner = seeds[1] == BACKGROUND
    assert not seeds[[0, 2]].any()
    # The outline is 5 voxels from the middle row, so that those at least 2.5 deep are seeds.
    expected = np.zeros((14, 18), bool)
    expected[4:9, 4:13] = True
    expected[6, 8] = False
    np.testing.assert_array_equal(inner, expected)
    one = Lasso((0, 0, 0), np.ones((1, 1, 1), bool))
    assert seeds_of([one], (1, 2, 2)).sum() == 1
    assert seeds_of([one], (1, 1, 1)).sum() == 1


def test_a_lasso_across_another_axis_keeps_to_its_slice() -> None:
    for axis in range(3):
        shape = tuple(1 if a == axis else 7 for a in range(3))
        seeds = seeds_of([Lasso((3, 3, 3), np.ones(shape, bool))], (12, 12, 12))
        at = np.argwhere(seeds)
        assert (at[:, axis] == 3).all()
        assert len(at) == 25


def test_a_box_has_a_core_until_it_is_denied() -> None:
    box = Box((4, 4, 4), (13, 13, 23))
    seeds = seeds_of([box], (20, 20, 30), core=0.5)
    at = np.argwhere(seeds == OBJECT)
    assert (at.min(axis=0) > (4, 4, 4)).all()
    assert (at.max(axis=0) < (13, 13, 23)).all()
    assert at.mean(axis=0) == pytest.approx((8.5, 8.5, 13.5))
    assert len(at) == pytest.approx(4 / 3 * math.pi * 2.5 * 2.5 * 5, rel=0.1)
    negative = Click((8, 8, 13), positive=False)
    assert seeds_of([box, negative], (20, 20, 30), core=0.5)[8, 8, 13] == BACKGROUND
    positive = Click((5, 5, 5))
    assert (seeds_of([box, positive], (20, 20, 30), core=0.5) == OBJECT).sum() == len(at) + 1
    assert (seeds_of([box, positive, negative], (20, 20, 30), core=0.5) == OBJECT).sum() == 1
    apart = Click((1, 1, 1), positive=False)
    assert (seeds_of([box, positive, apart], (20, 20, 30), core=0.5) == OBJECT).sum() == len(at) + 1
    flat = seeds_of([Box((7, 4, 4), (7, 13, 13))], (20, 20, 30), core=0.5)
    assert set(np.argwhere(flat)[:, 0]) == {7}
    for core in (0, 1e-3):
        assert seeds_of([Box((0, 0, 0), (1, 1, 1))], (2, 2, 2), core=core).any()


@pytest.mark.parametrize("step", [(1, 2, 3), (3, 3, 1)])
def test_in_a_coarse_working_volume_every_interaction_keeps_a_seed(step) -> None:
    full = (9, 14, 17)
    shape = tuple(-(-n // k) for n, k in zip(full, step, strict=True))
    rng = np.random.default_rng(4)
    for _ in range(50):
        point = tuple(int(rng.integers(n)) for n in full)
        block = tuple(p // k for p, k in zip(point, step, strict=True))
        low = tuple(min(p, n - 5) for p, n in zip(point, full, strict=True))
        for one in (Click(point), Scribble(point, np.ones((1, 1, 1), bool)), Box(low, tuple(p + 4 for p in low))):
            seeds = seeds_of([one], shape, step=step)
            assert seeds.any()
            assert isinstance(one, Box) or seeds[block] == OBJECT


def test_the_frame_is_the_outermost_voxels_of_axes_that_are_not_thin() -> None:
    got = implied_background([], working_volume((4, 6, 7)), "always", 1)
    expected = np.ones((4, 6, 7), bool)
    expected[:, 1:-1, 1:-1] = False  # four slices are thin: no frame along z
    np.testing.assert_array_equal(got, expected)
    negative, box = Click((1, 1, 1), positive=False), Box((0, 0, 0), (3, 5, 6))
    for more, framed in (([], True), ([negative], False), ([box], False)):
        assert implied_background(more, working_volume((4, 6, 7)), "auto", 1).any() == framed
    assert not implied_background([], working_volume((4, 6, 7)), "never", 1).any()


def test_outside_of_the_latest_box_is_background() -> None:
    boxes = [Box((0, 0, 0), (9, 9, 9)), Box((2, 3, 4), (5, 6, 7))]
    got = implied_background(boxes, working_volume((10, 10, 10)), "never", 1)
    assert got.sum() == 1000 - 4**3
    assert not got[2:6, 3:7, 4:8].any()


def test_the_box_of_a_slice_bounds_its_slice_and_in_mm_what_is_near() -> None:
    box = Box((5, 8, 8), (5, 11, 13))  # 4 by 6 voxels of 1 mm
    got = implied_background([box], working_volume((20, 20, 20), (3.0, 1.0, 1.0)), "never", 1.0)
    assert not got[5, 8:12, 8:14].any()
    assert got[5].sum() == 400 - 24
    assert not got[3, 9, 10]  # 6 mm away, the longest side
    assert got[2, 9, 10]  # 9 mm away
    assert not got[4, 9, 13 + 5]  # 3 and 5 mm
    assert got[4, 9, 13 + 6]
    two = implied_background(
        [box, Box((11, 8, 8), (11, 11, 13))], working_volume((20, 20, 20), (3.0, 1.0, 1.0)), "never", 1.0
    )
    assert not two[9, 9, 10]
    assert two[5].sum() == two[11].sum() == 400 - 24


def test_flat_axis() -> None:
    assert flat_axis(Box((0, 4, 0), (5, 4, 5)), (9, 9, 9)) == 1
    assert flat_axis(Box((0, 4, 0), (5, 5, 5)), (9, 9, 9)) is None
    assert flat_axis(Box((0, 4, 0), (0, 6, 5)), (1, 9, 9)) is None  # the volume's only slice


def test_tidy_forces_seeds_and_drops_parts_without_one() -> None:
    probability = np.zeros((3, 4, 12), np.float32)
    probability[1, 1, 1:4] = probability[1, 2, 6:9] = 0.9
    probability[1, 2, 4] = 0.9  # touches the first part by an edge only
    at = np.ravel_multi_index(([1, 1, 2], [1, 1, 3], [2, 3, 11]), probability.shape)
    label = np.array([OBJECT, BACKGROUND, OBJECT], np.int8)
    mask, got = enforce_seeds(probability.copy(), at, label, True)
    assert sorted(map(tuple, np.argwhere(mask).tolist())) == [(1, 1, 1), (1, 1, 2), (2, 3, 11)]
    assert got[1, 1, 3] == 0
    assert got[1, 2, 7] == got[1, 2, 4] == 0.5
    np.testing.assert_array_equal(mask, got > 0.5)
    assert enforce_seeds(probability.copy(), at, label, False)[0].sum() == 1 + 1 + 3 + 1 + 1
    assert enforce_seeds(probability.copy(), at[1:2], label[1:2], True)[0].sum() == 6


@pytest.mark.parametrize("neighbours", [6, 18, 26])
def test_links_join_each_voxel_to_its_neighbours(neighbours: int) -> None:
    shape, spacing = (3, 4, 5), np.array([2.0, 1.0, 0.5])
    links = Links.of(shape, tuple(spacing), neighbours)
    points = np.argwhere(np.ones(shape, bool))
    moves = np.abs(points[:, None] - points[None])
    close = (moves.max(axis=2) == 1) & (moves.sum(axis=2) <= {6: 1, 18: 2, 26: 3}[neighbours])
    first, second = np.nonzero(close)
    np.testing.assert_array_equal(links.first, first)
    np.testing.assert_array_equal(links.second, second)
    np.testing.assert_array_equal(np.diff(links.starts), close.sum(axis=1))
    np.testing.assert_allclose(links.length, np.linalg.norm(moves[first, second] * spacing, axis=1), rtol=1e-6)


def test_grey_values_speak_for_the_label_whose_seeds_have_them() -> None:
    values = np.linspace(0, 1, 101, dtype=np.float32)
    bins = bins_of(values, 64)
    assert bins[0] == 0
    assert bins[-1] == 63
    seeds = np.zeros(101, np.int8)
    seeds[10], seeds[60] = OBJECT, BACKGROUND
    chance = IntensityModel.learn(bins, 64, seeds, 0.03, 0.1).probability(bins)
    assert chance[10] > 0.95
    assert chance[60] < 0.05
    assert chance[95] == pytest.approx(0.5)
    assert chance[np.argmin(abs(np.arange(101) - 35))] == pytest.approx(0.5, abs=0.1)


def test_many_assumed_seeds_do_not_drown_a_drawn_one() -> None:
    bins = np.zeros(1001, np.uint8)
    bins[:1000], bins[1000] = 10, 50
    seeds = np.full(1001, ASSUMED, np.int8)
    seeds[1000] = BACKGROUND
    seeds[0] = OBJECT
    chance = IntensityModel.learn(bins, 64, seeds, 0.0, 0.1).share
    assert chance[50] < 0.1
    assert chance[10] == pytest.approx((0.9 + 0.1 / 64) / ((0.9 + 0.1 / 64) * 1.5 + 0.1 / 64 / 2), rel=1e-3)
