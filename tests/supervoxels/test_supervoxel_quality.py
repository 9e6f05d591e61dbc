"""Quality of supervoxels: hand cases, and a second way to the same numbers."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rclicks.errors import DataError
from rclicks.supervoxels.quality import borders, boundary_recall, measure, overlap_table, sizes_of


def row(*values: int) -> np.ndarray:
    return np.array(values).reshape(1, 1, -1)


def test_a_case_counted_by_hand() -> None:
    """Supervoxel 1 is all background, 2 has two of three voxels in the object, 3 lies in it."""
    labels = row(1, 1, 1, 2, 2, 2, 3, 3)
    truth = row(0, 0, 0, 0, 5, 5, 5, 5)
    found = measure(labels, truth, (1, 1, 1), tolerance=0)
    assert found.accuracy == 7 / 8
    assert found.dice == pytest.approx(2 * 4 / (5 + 4))
    # Leaks: 2 adds 1 for the background and 1 for the object.
    assert found.undersegmentation == 2 / 8
    # True border voxels are 3 and 4, those of the supervoxels 2, 3, 5, 6.
    assert found.boundary_recall == 1 / 2
    assert boundary_recall(labels, truth, (1, 1, 1), 1) == 1


def test_perfect_supervoxels() -> None:
    truth = np.zeros((4, 5, 6), np.uint8)
    truth[1:3, 1:4, 2:5] = 2
    found = measure(truth.astype(np.int32) + 1, truth, (2, 1, 1), tolerance=0)
    assert (found.accuracy, found.dice, found.undersegmentation, found.boundary_recall) == (1, 1, 0, 1)


def test_one_supervoxel_achieves_nothing() -> None:
    truth = row(0, 0, 0, 1)
    found = measure(row(1, 1, 1, 1), truth, (1, 1, 1))
    assert (found.accuracy, found.dice, found.undersegmentation, found.boundary_recall) == (0.75, 0, 0.5, 0)


def test_what_is_in_no_supervoxel_is_background() -> None:
    found = measure(row(0, 0, 0, 1), row(1, 1, 0, 1), (1, 1, 1))
    assert found.accuracy == 2 / 4
    assert found.dice == pytest.approx(2 * 1 / (1 + 3))
    assert found.undersegmentation == 0


def test_tolerance_is_in_millimetres() -> None:
    """Borders are two slices apart: 2 voxels, 6 mm."""
    truth = np.repeat(np.array([0, 0, 0, 1, 1, 1]), 4).reshape(6, 2, 2)
    labels = np.repeat(np.array([1, 1, 1, 1, 1, 2]), 4).reshape(6, 2, 2)
    steps = (3.0, 1.0, 1.0)
    assert boundary_recall(labels, truth, steps, 2.9) == 0
    assert boundary_recall(labels, truth, steps, 3) == 0.5
    assert boundary_recall(labels, truth, steps, 5.9) == 0.5
    assert boundary_recall(labels, truth, steps, 6) == 1
    assert boundary_recall(labels, truth, (1, 1, 1), 2) == 1


def test_slabs_do_not_show() -> None:
    """50 slices, more than a slab, against distances of the whole volume."""
    from scipy import ndimage

    rng = np.random.default_rng(0)
    labels = np.repeat(np.repeat(rng.integers(1, 3, (10, 2, 2)), 5, 0), 4, 1)
    labels[20:34] = 1
    truth = (rng.random(labels.shape) < 0.05).astype(np.uint8)
    for tolerance in (0.5, 2, 4, 30):
        distance = ndimage.distance_transform_edt(~borders(labels), sampling=(0.5, 1, 2))
        expected = np.mean(distance[borders(truth)] <= tolerance)
        assert boundary_recall(labels, truth, (0.5, 1, 2), tolerance) == pytest.approx(expected, abs=1e-12)
    assert 0 < boundary_recall(labels, truth, (0.5, 1, 2), 0.5) < 1


def test_nothing_to_find() -> None:
    found = measure(row(1, 1, 2), row(0, 0, 0), (1, 1, 1))
    assert found.accuracy == 1
    assert math.isnan(found.dice)
    assert math.isnan(found.boundary_recall)


def test_the_rim_is_no_border() -> None:
    assert not borders(np.ones((3, 3, 3), int)).any()
    assert borders(np.array([[1, 2], [1, 1]], np.uint8)).tolist() == [[True, True], [False, True]]


def test_sizes() -> None:
    found = sizes_of(row(0, 1, 1, 3, 3, 3), (2, 1, 0.5))
    assert (found.count, found.smallest, found.median, found.largest) == (2, 2, 2.5, 3)
    assert found.covered == pytest.approx(5 / 6)
    empty = sizes_of(row(0, 0), (1, 1, 1))
    assert empty.count == 0
    assert math.isnan(empty.median)


def by_hand(labels: np.ndarray, truth: np.ndarray, steps: tuple, tolerance: float) -> tuple[float, float, float, float]:
    """Return the four measures, voxel by voxel."""
    names, classes = sorted(set(labels.ravel()) - {0}), sorted({0, *truth.ravel()})
    guess, leak = np.zeros_like(truth), 0
    for name in names:
        inside = labels == name
        shares = [int((inside & (truth == c)).sum()) for c in classes]
        guess[inside] = classes[shares.index(max(shares))]
        leak += sum(min(s, int(inside.sum()) - s) for s in shares)
    objects = [c for c in classes if c and (truth == c).any()]
    dices = [2 * ((guess == c) & (truth == c)).sum() / ((guess == c).sum() + (truth == c).sum()) for c in objects]

    def edge(array: np.ndarray) -> list[tuple]:
        found = []
        for at in np.ndindex(*array.shape):
            for axis in range(3):
                for step in (-1, 1):
                    other = list(at)
                    other[axis] += step
                    if 0 <= other[axis] < array.shape[axis] and array[tuple(other)] != array[at]:
                        found.append(at)
        return sorted(set(found))

    true, own = edge(truth), edge(labels)
    near = [any(math.dist(np.multiply(a, steps), np.multiply(b, steps)) <= tolerance + 1e-9 for b in own) for a in true]
    return (
        float((guess == truth).mean()),
        float(np.mean(dices)) if dices else math.nan,
        leak / truth.size,
        float(np.mean(near)) if near else math.nan,
    )


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(*[st.integers(1, 5)] * 3),
    steps=st.tuples(*[st.sampled_from([0.5, 1.0, 2.5])] * 3),
    tolerance=st.sampled_from([0.0, 0.5, 1.0, 2.5, 3.0]),
    kind=st.sampled_from([np.uint8, np.int32, np.uint16]),
)
def test_a_second_way_gives_the_same(seed: int, shape: tuple, steps: tuple, tolerance: float, kind: type) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 6, shape).astype(np.int32)
    truth = rng.choice([0, 0, 0, 1, 7], shape).astype(kind)
    found = measure(labels, truth, steps, tolerance=tolerance)
    expected = by_hand(labels, truth.astype(int), steps, tolerance)
    shown = (found.accuracy, found.dice, found.undersegmentation, found.boundary_recall)
    np.testing.assert_allclose(shown, expected, atol=1e-12)


@pytest.mark.parametrize(
    ("labels", "truth"),
    [(row(1, 2), row(1, 2, 3)), (row(1, 2), row(-1, 2)), (row(1, 2) * 1.5, row(1, 2)), (row(), row())],
)
def test_what_is_no_label_map_is_refused(labels: np.ndarray, truth: np.ndarray) -> None:
    with pytest.raises(DataError):
        overlap_table(labels, truth)
