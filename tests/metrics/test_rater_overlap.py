"""Counts and similarities of mask sets against plain loops over pairs."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rclicks.metrics.raters import overlap as raters_overlap
from rclicks.metrics.raters.overlap import Overlaps, choose_raters, mean_of, vote_fraction


def some_masks(seed: int, count: int, shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.random((count, *shape)) < rng.choice([0.0, 0.02, 0.3, 1.0], size=(count,) + (1,) * len(shape))


def slow(kind: str, empty: str, a: np.ndarray, b: np.ndarray) -> float:
    both, either, total = (a & b).sum(), (a | b).sum(), a.sum() + b.sum()
    if total == 0:
        return {"agree": 1.0, "skip": math.nan, "zero": 0.0}[empty]
    return 2 * both / total if kind == "dice" else both / either


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 5),
    st.integers(0, 5),
    st.sampled_from(["iou", "dice"]),
    st.sampled_from(raters_overlap.EMPTY_POLICIES),
    st.sampled_from([(7, 9), (3, 4, 5)]),
    st.booleans(),
)
def test_all_pairs_equal_plain_loops(
    seed: int, m: int, r: int, kind: str, empty: str, shape: tuple[int, ...], hide: bool
) -> None:
    predictions, raters = some_masks(seed, m, shape), some_masks(seed + 1, r, shape)
    ignore = np.random.default_rng(seed).random(shape) < 0.3 if hide else None
    overlaps = Overlaps.of(predictions, raters, ignore=ignore)
    found = overlaps.similarity(kind, empty)
    keep = np.ones(shape, bool) if ignore is None else ~ignore
    if m + r:
        assert overlaps.pixels == keep.sum()
    blocks = (predictions, predictions), (predictions, raters), (raters, raters)
    for (rows, columns), values in zip(blocks, (found.within, found.across, found.raters), strict=True):
        expected = [[slow(kind, empty, a & keep, b & keep) for b in columns] for a in rows]
        np.testing.assert_array_equal(values, np.reshape(expected, values.shape))


def test_blocks_do_not_change_the_count(monkeypatch: pytest.MonkeyPatch) -> None:
    masks, ignore = some_masks(3, 6, (50, 41)), np.random.default_rng(5).random((50, 41)) < 0.2
    whole = Overlaps.of(masks[:2], masks[2:], ignore=ignore).shared
    monkeypatch.setattr(raters_overlap, "BLOCK", 97)
    assert np.array_equal(Overlaps.of(masks[:2], masks[2:], ignore=ignore).shared, whole)


def test_more_pixels_than_single_precision_can_count() -> None:
    masks = np.ones((2, 2**24 + 3), bool)
    assert Overlaps.of(masks[:1], masks[1:]).shared.tolist() == [[2**24 + 3] * 2] * 2


def test_rater_policies() -> None:
    masks = np.zeros((4, 3, 3), bool)
    masks[1, 0, 0] = masks[2, 1, 1] = True
    present = (True, True, False, True)
    assert choose_raters(masks, "all", present) == (0, 1, 2, 3)
    assert choose_raters(masks, "present", present) == (0, 1, 3)
    assert choose_raters(masks, "nonempty", present) == (1,)
    assert choose_raters(masks) == (0, 1, 2, 3), "an empty mask of a real rater counts unless told otherwise"
    assert Overlaps.of(masks[:1], masks, policy="present", present=present).similarity("iou").across.tolist() == [
        [1, 0, 1]
    ]


def test_what_makes_no_sense_is_refused() -> None:
    masks = np.zeros((2, 3, 3), bool)
    with pytest.raises(TypeError, match="expected bool"):
        Overlaps.of(masks.astype(np.uint8), masks)
    with pytest.raises(ValueError, match="one shape"):
        Overlaps.of(masks, np.zeros((2, 3, 4), bool))
    with pytest.raises(ValueError, match="one shape"):
        Overlaps.of([masks[0], masks[0, :2]], masks)
    with pytest.raises(ValueError, match="pixels"):
        Overlaps.of(masks, masks, ignore=np.zeros((2, 2), bool))
    with pytest.raises(ValueError, match="rater policy"):
        choose_raters(masks, "some")
    with pytest.raises(ValueError, match="2 raters"):
        choose_raters(masks, "present", [True])
    with pytest.raises(ValueError, match="kind"):
        Overlaps.of(masks, masks).similarity("jaccard")
    with pytest.raises(ValueError, match="no rater"):
        vote_fraction(masks[:0])


def test_votes_of_ten_are_the_tenths() -> None:
    votes = np.arange(10)[:, None] < np.arange(11)[None, :]
    assert vote_fraction(votes).tolist() == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]


def test_mean_of_numbers() -> None:
    assert mean_of([1.0, math.nan, 2.0]) == 1.5
    assert math.isnan(mean_of([]))
    assert math.isnan(mean_of([math.nan]))
