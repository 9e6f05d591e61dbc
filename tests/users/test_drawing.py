"""Scribbles, lassos and slices: what is drawn lies where it should, has the pen's width and the section's shape."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from rclicks.interaction import Drawing, check_inside
from rclicks.metrics.target import TargetReference
from rclicks.users.components import Component, errors_of, largest_error
from rclicks.users.drawing import (
    best_slice,
    centre_line,
    key_slices,
    lasso,
    middle_slice_box,
    scribble,
    slice_box,
    warped,
    worst_slice,
)

UNIT = (1.0, 1.0, 1.0)
EIGHT = np.ones((3, 3), bool)


def piece_of(truth: np.ndarray, prediction: np.ndarray) -> Component:
    errors = errors_of(TargetReference(truth), prediction)
    assert errors is not None
    found = largest_error(errors)
    assert found is not None
    return found


def drawn_in(drawing: Drawing, shape: tuple[int, ...]) -> np.ndarray:
    whole = np.zeros(shape, bool)
    whole[drawing.window] = drawing.mask
    return whole


def placed(piece: Component, shape: tuple[int, ...]) -> np.ndarray:
    whole = np.zeros(shape, bool)
    whole[tuple(slice(i, i + n) for i, n in zip(piece.low, piece.mask.shape, strict=True))] = piece.mask
    return whole


def blobs(seed: int, shape: tuple[int, ...] = (9, 17, 18)) -> tuple[np.ndarray, np.ndarray]:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((2, *shape)), (0, 1.2, 1.2, 1.2))
    noise /= noise.std()
    return noise[0] > 0.4, noise[0] + 0.7 * noise[1] > 0.6


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 10_000),
    st.sampled_from([0, 1, 2, None]),
    st.integers(1, 4),
    st.sampled_from([0.0, 1.0, 6.0]),
    st.sampled_from([UNIT, (4.0, 0.5, 1.0)]),
)
def test_scribbles_stay_in_one_slice_of_the_largest_error(
    seed: int, axis: int | None, thickness: int, warp: float, spacing: tuple[float, ...]
) -> None:
    truth, prediction = blobs(seed)
    piece = piece_of(truth, prediction)
    found = scribble(piece, spacing, axis=axis, thickness=thickness, warp=warp, rng=np.random.default_rng(seed))
    check_inside(found, truth.shape)
    across, at = best_slice(piece, spacing, axis)
    assert axis in (across, None)
    assert found.low[across] == found.high[across] == at
    whole = drawn_in(found, truth.shape)
    assert whole.any()
    assert not (whole & ~placed(piece, truth.shape)).any()
    assert found.positive == piece.positive
    assert (truth[whole] == found.positive).all()
    assert (prediction[whole] != found.positive).all()
    sides = [found.mask.any(axis=tuple(a for a in range(3) if a != side)) for side in range(3)]
    assert all(side[0] and side[-1] for side in sides)  # the crop is tight


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.sampled_from([0, 1, 2, None]), st.integers(0, 2))
def test_lassos_hold_their_section_and_keep_their_sign(seed: int, axis: int | None, dilation: int) -> None:
    truth, prediction = blobs(seed)
    if seed % 2:
        truth, prediction = prediction, truth
    piece = piece_of(truth, prediction)
    reference = TargetReference(truth)
    found = lasso(piece, reference, axis=axis, dilation=dilation)
    check_inside(found, truth.shape)
    across, at = best_slice(piece, UNIT, axis)
    assert found.low[across] == found.high[across] == at
    inside = drawn_in(found, truth.shape).take(at, axis=across)
    section = placed(piece, truth.shape).take(at, axis=across)
    plane = truth.take(at, axis=across)
    assert inside[section].all()
    if not piece.positive:
        assert not inside[plane].any()
        filled = ndimage.binary_fill_holes(section)
        assert np.array_equal(inside, filled & ~plane)
        return
    labels, _ = ndimage.label(plane, EIGHT)
    touched = np.isin(labels, np.unique(labels[section]))
    assert inside[touched].all()
    away = ndimage.distance_transform_edt(~touched)
    holes = ndimage.binary_fill_holes(away <= dilation)
    assert np.array_equal(inside, holes)


def test_a_hole_is_filled_but_a_wrong_ring_does_not_take_the_object_away() -> None:
    rows, columns = np.ogrid[:21, :21]
    away = np.hypot(rows - 10, columns - 10)
    ring, core = np.zeros((2, 3, 21, 21), bool)
    ring[1], core[1] = (away >= 5) & (away <= 8), away < 5
    around = lasso(piece_of(ring, np.zeros_like(ring)), TargetReference(ring), dilation=0)
    assert around.positive
    assert np.array_equal(drawn_in(around, ring.shape)[1], away <= 8)
    remove = lasso(piece_of(core, ring | core), TargetReference(core), dilation=2)
    assert not remove.positive
    assert np.array_equal(drawn_in(remove, ring.shape), ring)
    nothing = np.zeros_like(ring)
    assert np.array_equal(drawn_in(lasso(piece_of(nothing, ring), TargetReference(nothing)), ring.shape)[1], away <= 8)


def test_the_slice_with_most_of_the_piece_is_drawn_in() -> None:
    truth = np.zeros((10, 20, 20), bool)
    truth[2:9, 3:6, 2:18] = True  # 7 x 3 x 16
    truth[5, 3:8, 2:18] = True  # 5 x 16 in slice 5
    piece = piece_of(truth, np.zeros_like(truth))
    assert best_slice(piece, UNIT, 0) == (0, 5)
    assert best_slice(piece, UNIT, None) == (1, 3)  # 7 x 16 = 112 voxels
    assert best_slice(piece, (0.1, 1.0, 1.0), None) == (0, 5)  # thin slices: 80 mm2 against 11.2
    line = drawn_in(scribble(piece, UNIT, thickness=1), truth.shape)
    assert np.argwhere(line)[:, 0].tolist() == [5] * int(line.sum())


@pytest.mark.parametrize("thickness", [1, 2, 3])
def test_a_line_runs_along_a_long_object_in_its_middle(thickness: int) -> None:
    truth = np.zeros((3, 30, 60), bool)
    truth[1, 10:21, 5:55] = True  # 11 x 50
    whole = drawn_in(scribble(piece_of(truth, np.zeros_like(truth)), UNIT, thickness=thickness), truth.shape)[1]
    columns = np.flatnonzero(whole.any(axis=0))
    assert columns[0] <= 14
    assert columns[-1] >= 45
    assert (whole[:, 15:45].sum(axis=0) == thickness).all()
    assert whole[15, 15:45].all()


def test_the_line_is_the_longest_path_and_in_order() -> None:
    rows, columns = np.mgrid[:40, :40]
    section = (abs(np.hypot(rows - 39, columns - 0) - 30) < 3) | ((abs(rows - columns * 0 - 20) < 2) & (columns < 24))
    labels, _ = ndimage.label(section, EIGHT)
    section = labels == labels[20, 22]
    line = centre_line(section, (1.0, 1.0))
    assert section[tuple(line.T)].all()
    assert (abs(np.diff(line, axis=0)).max(axis=1) == 1).all()
    assert len(np.unique(line, axis=0)) == len(line)
    assert np.hypot(*np.ptp(line, axis=0)) > 35  # from one end of the arc to the other, not into the branch alone


def test_the_line_runs_from_end_to_end_whichever_pixel_comes_first() -> None:
    rows, columns = np.mgrid[:40, :61]
    roof = (abs(rows - abs(columns - 30) - 4) < 3) & (rows < 34)  # its first row is in the middle of the line
    for section in (roof, roof[::-1], roof.T, roof.T[:, ::-1]):
        line = centre_line(section, (1.0, 1.0))
        assert np.ptp(line, axis=0).max() > 45


def test_a_round_object_gets_a_line_and_not_a_dot() -> None:
    rows, columns = np.ogrid[:41, :41]
    disc = np.hypot(rows - 20, columns - 20) <= 16
    line = centre_line(disc, (1.0, 1.0))
    depth = ndimage.distance_transform_edt(np.pad(disc, 1))[1:-1, 1:-1]
    assert len(line) >= 16
    assert (depth[tuple(line.T)] >= depth.max() / 2).all()
    assert [20, 20] in line.tolist()
    # With rows ten times as thick, the longest line is a column.
    assert np.ptp(centre_line(disc, (10.0, 1.0)), axis=0)[1] == 0


def test_centre_lines_of_tiny_sections() -> None:
    for shape in ((1, 1), (1, 2), (2, 2), (3, 3), (1, 5), (2, 5)):
        for pattern in (np.ones(shape, bool), np.eye(*shape, dtype=bool)):
            line = centre_line(pattern, (1.0, 1.0))
            assert len(line) >= 1
            assert pattern[tuple(line.T)].all()


def test_a_warped_line_is_connected_smooth_and_near() -> None:
    line = np.stack([np.full(60, 20), np.arange(5, 65)], axis=1)
    strayed = [warped(line, 4.0, np.random.default_rng(seed)) for seed in range(30)]
    for path in strayed:
        assert (abs(np.diff(path, axis=0)).max(axis=1) <= 1).all()
        away = np.abs(path[:, None] - line[None]).max(axis=2).min(axis=1)
        assert away.max() <= 4
    assert max(np.ptp(path[:, 0]) for path in strayed) >= 3
    assert all(len(np.unique(path, axis=0)) <= 80 for path in strayed)  # it does not tremble


def test_a_warped_scribble_that_would_leave_the_piece_is_cut() -> None:
    truth = np.zeros((3, 20, 30), bool)
    truth[1, 9:12, 2:28] = True
    piece = piece_of(truth, np.zeros_like(truth))
    seen = {scribble(piece, UNIT, warp=30.0, rng=np.random.default_rng(seed)) for seed in range(40)}
    assert len(seen) > 5
    for found in seen:
        assert found.mask.any()
        assert truth[found.window][found.mask].all()


def test_slices_of_a_split_object() -> None:
    truth = np.zeros((20, 6, 6), bool)
    held = [2, 3, 4, 11, 12, 13, 14, 19]
    truth[held, 2:4, 2:5] = True
    assert key_slices(truth, 0, 3) == [2, 12, 19]  # places 0, 3.5 -> 4, 7 of eight
    assert key_slices(truth, 0, 50) == held
    assert key_slices(truth, 1, 10) == [2, 3]
    assert key_slices(np.zeros_like(truth), 0, 3) == []
    errors = errors_of(TargetReference(truth), np.zeros_like(truth))
    assert worst_slice(errors, truth, 0, ()) == 2
    assert worst_slice(errors, truth, 0, {2, 3}) == 4
    assert worst_slice(errors, truth, 0, held) is None


@given(st.integers(0, 10_000), st.sampled_from([0, 1, 2]), st.integers(0, 9))
def test_jittered_slice_boxes_stay_near_and_inside(seed: int, axis: int, jitter: int) -> None:
    truth = np.zeros((12, 12, 12), bool)
    truth[4:8, 3:9, 2:10] = True
    at = 5
    box = slice_box(truth, axis, at, jitter, np.random.default_rng(seed))
    check_inside(box, truth.shape)
    tight = slice_box(truth, axis, at, 0, np.random.default_rng(seed))
    assert box.low[axis] == box.high[axis] == at
    if jitter <= 1:
        assert np.abs(np.subtract(box.low, tight.low)).max() <= jitter
        assert np.abs(np.subtract(box.high, tight.high)).max() <= jitter


def test_the_middle_slice_of_a_split_object() -> None:
    truth = np.zeros((20, 300, 300), bool)
    truth[[1, 2, 15], 100:110, 50:80] = True
    rng = np.random.default_rng(0)
    box = middle_slice_box(truth, 0, rng)
    assert (box.low, box.high) == ((2, 100, 50), (2, 109, 79))
    truth[16, 0, 0] = True
    assert middle_slice_box(truth, 0, rng).low[0] == 15  # the later of the two middle ones
    assert middle_slice_box(np.zeros((3, 4, 5), bool), 5, rng) is None
