"""Depth of voxels: equal to SciPy's exact transform, in a fraction of its memory."""

import tracemalloc

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from rclicks.metrics.depth import deepest, depth_map

MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=9))
STEP = st.sampled_from([0.4, 1.0, 2.5, 7.0])


def scipy_depth(mask: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    return ndimage.distance_transform_edt(np.pad(mask, 1), sampling=spacing)[1:-1, 1:-1, 1:-1]


@settings(deadline=None, max_examples=150)
@given(MASKS, st.tuples(STEP, STEP, STEP))
def test_equal_to_scipy(mask: np.ndarray, spacing: tuple[float, ...]) -> None:
    expected = scipy_depth(mask, spacing)
    assert np.allclose(depth_map(mask, spacing), expected, rtol=1e-6)
    depth, voxels = deepest(mask, spacing)
    assert np.isclose(depth, expected.max(initial=0) ** 2, rtol=1e-12)
    at_the_top = np.flatnonzero(np.isclose(expected, expected.max(), rtol=1e-9) & mask)
    assert voxels.tolist() == at_the_top.tolist()


@settings(deadline=None, max_examples=50)
@given(MASKS)
def test_in_voxels_squares_are_whole_numbers(mask: np.ndarray) -> None:
    depth, voxels = deepest(mask)
    squared = np.rint(scipy_depth(mask, (1, 1, 1)) ** 2)
    assert depth == squared.max(initial=0)
    assert voxels.tolist() == (np.flatnonzero(squared == depth).tolist() if depth else [])


def test_barred_voxels_stay_inside_but_are_not_chosen() -> None:
    mask = np.ones((1, 1, 7), bool)
    assert deepest(mask, (10.0, 10.0, 1.0))[1].tolist() == [3]
    assert deepest(mask, (10.0, 10.0, 1.0), [(0, 0, 3), (5, 5, 5)])[1].tolist() == [2, 4]
    assert deepest(mask, None, [(0, 0, i) for i in range(7)])[1].tolist() == []


def test_memory() -> None:
    mask = np.zeros((60, 120, 120), bool)
    mask[5:-5, 5:-5, 5:-5] = True
    depth_map(mask[:4])
    tracemalloc.start()
    try:
        deepest(mask, (2.0, 1.0, 1.0))
        chosen = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        depth_map(mask, (2.0, 1.0, 1.0))
        whole = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert chosen < 4 * mask.size
    assert whole < 8 * mask.size
