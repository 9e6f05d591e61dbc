"""Overlap counts among several predictions and several raters, from one matrix product.

Every set metric needs no more than the areas of the masks and the areas they share. Both are the entries of ``X X^T``
for the masks of predictions and raters flattened to the rows of X, so no pair is ever visited by itself.

Two rules are stated wherever a number is made:

* which raters count (`RATER_POLICIES`): "all" slots, padding too; the "present" ones, that is all but padding, an empty
  mask being a statement; the "nonempty" ones.
* what two empty masks have in common (`EMPTY_POLICIES`): they "agree" (similarity 1, distance 0), the pair is left out
  ("skip"), or they have nothing in common ("zero": similarity 0, distance 1).

Pixels are counted exactly: single precision within blocks of 2**20 pixels, integers across them.

>>> masks = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]], bool)
>>> found = Overlaps.of(masks[:1], masks)
>>> found.similarity("dice").across.tolist()
[[1.0, 0.5, 0.0]]
>>> Overlaps.of(masks[:1], masks, policy="nonempty").raters
(0, 1)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rclicks.sample import Mask

__all__ = [
    "EMPTY_POLICIES",
    "RATER_POLICIES",
    "Overlaps",
    "Similarity",
    "choose_raters",
    "mean_of",
    "stack_masks",
    "vote_fraction",
]

EMPTY_POLICIES = ("agree", "skip", "zero")
RATER_POLICIES = ("present", "nonempty", "all")
KINDS = ("iou", "dice")
BLOCK = 1 << 20  # pixels a product; below 2**24, so that single precision counts exactly

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def stack_masks(masks: Sequence[Mask] | Mask, what: str = "masks") -> Mask:
    """Return masks as one (n, ...) bool array.

    Raises
    ------
    TypeError, ValueError
        If they are not bool, or of unequal shapes.
    """
    shapes = {np.shape(m) for m in masks}
    if len(shapes) > 1:
        raise ValueError(f"{what} have shapes {sorted(shapes)}; expected one shape")
    stacked = np.asarray(masks)
    if stacked.dtype != np.bool_:
        if stacked.size == 0:
            return stacked.astype(bool)
        raise TypeError(f"{what} are {stacked.dtype}; expected bool, so threshold them first")
    return stacked


def choose_raters(
    raters: Sequence[Mask] | Mask, policy: str = "present", present: Sequence[bool] | None = None
) -> tuple[int, ...]:
    """Return the indices of the raters that count.

    Parameters
    ----------
    raters : (R, ...) bool array or sequence of masks
    policy : {"present", "nonempty", "all"}
        See the top of this module.
    present : R bools or None
        False for slots that only pad; None if there is no padding.

    Raises
    ------
    ValueError
        If the policy is unknown or `present` has another length.
    """
    if policy not in RATER_POLICIES:
        raise ValueError(f"rater policy is {policy!r}; expected one of {', '.join(RATER_POLICIES)}")
    if present is not None and len(present) != len(raters):
        raise ValueError(f"`present` has {len(present)} entries for {len(raters)} raters")
    if policy == "all":
        return tuple(range(len(raters)))
    real = [i for i in range(len(raters)) if present is None or present[i]]
    return tuple(i for i in real if policy == "present" or bool(np.any(raters[i])))


def mean_of(values: ArrayLike) -> float:
    """Return the mean of the numbers that are not NaN; NaN if there is none."""
    numbers = np.asarray(values, float)
    numbers = numbers[~np.isnan(numbers)]
    return float(numbers.mean()) if numbers.size else math.nan


def vote_fraction(raters: Sequence[Mask] | Mask) -> Floats:
    """Return at each pixel the share of raters that drew it, (...) float64 in [0, 1].

    Made by one division, so that 3 votes of 10 are the number 0.3. Pick raters beforehand with `choose_raters`.

    Raises
    ------
    ValueError
        If there is no rater.
    """
    masks = stack_masks(raters, "raters")
    if len(masks) == 0:
        raise ValueError("there is no rater, so there are no votes")
    return np.asarray(masks.sum(axis=0, dtype=np.int64) / len(masks))


@dataclass(frozen=True, eq=False)
class Similarity:
    """One similarity (Dice or IoU, 0 to 1, higher is more alike) of all pairs of M predictions and R raters.

    Attributes
    ----------
    within : (M, M) float64 array
        Among the predictions, each with itself too.
    across : (M, R) float64 array
        Predictions by raters.
    raters : (R, R) float64 array
        Among the raters.
    kind, empty : str
        Which similarity, and which empty policy made it; pairs that it skips are NaN.
    """

    within: Floats
    across: Floats
    raters: Floats
    kind: str
    empty: str


@dataclass(frozen=True, eq=False)
class Overlaps:
    """How many pixels all pairs of predictions and raters share.

    Attributes
    ----------
    shared : (M + R, M + R) int64 array
        Pixels in both masks, predictions first; the areas are on the diagonal.
    predictions : int
        M.
    raters : tuple of int
        Indices, among the raters given, of the R used.
    pixels : int
        Pixels that count, ignored ones left out.
    """

    shared: Integers
    predictions: int
    raters: tuple[int, ...]
    pixels: int

    @classmethod
    def of(
        cls,
        predictions: Sequence[Mask] | Mask,
        raters: Sequence[Mask] | Mask,
        *,
        policy: str = "present",
        present: Sequence[bool] | None = None,
        ignore: Mask | None = None,
    ) -> Overlaps:
        """Count.

        Parameters
        ----------
        predictions, raters : (M, ...) and (R, ...) bool arrays, or sequences of masks
            Images or volumes of one shape; either may hold none.
        policy, present
            As for `choose_raters`.
        ignore : (...) bool array or None
            Pixels that do not count.
        """
        given, drawn = stack_masks(predictions, "predictions"), stack_masks(raters, "raters")
        used = choose_raters(drawn, policy, present)
        drawn = drawn[list(used)]
        parts = [part.reshape(len(part), -1) for part in (given, drawn) if len(part)]
        if len(given) and len(drawn) and given.shape[1:] != drawn.shape[1:]:
            raise ValueError(f"predictions have shape {given.shape[1:]}, raters {drawn.shape[1:]}; expected one shape")
        if not parts:
            return cls(np.zeros((0, 0), np.int64), 0, used, 0)
        valid = None if ignore is None else ~np.asarray(ignore, bool).reshape(-1)
        size = parts[0].shape[1]
        if valid is not None and len(valid) != size:
            raise ValueError(f"`ignore` has {len(valid)} pixels, the masks {size}")
        total = np.zeros((len(given) + len(drawn),) * 2, np.int64)
        for start in range(0, size, BLOCK):
            block = np.concatenate([part[:, start : start + BLOCK] for part in parts])
            # Most pixels are in no mask or in all of them: the first add nothing, the second the same to every pair.
            some, every = block.any(axis=0), block.all(axis=0)
            if valid is not None:
                some &= valid[start : start + BLOCK]
                every &= valid[start : start + BLOCK]
            rows = np.take(block, np.flatnonzero(some & ~every), axis=1).astype(np.float32)
            total += np.rint(rows @ rows.T).astype(np.int64) + int(np.count_nonzero(every))
        return cls(total, len(given), used, size if valid is None else int(valid.sum()))

    @property
    def areas(self) -> Integers:
        """Pixels of each mask, predictions first, (M + R,) int64."""
        return self.shared.diagonal()

    def similarity(self, kind: str, empty: str = "agree") -> Similarity:
        """Return Dice ``2 |A and B| / (|A| + |B|)`` or IoU ``|A and B| / |A or B|`` of all pairs.

        Parameters
        ----------
        kind : {"iou", "dice"}
        empty : {"agree", "skip", "zero"}
            What two empty masks have in common; see the top of this module.
        """
        if kind not in KINDS or empty not in EMPTY_POLICIES:
            raise ValueError(
                f"kind is {kind!r}, empty {empty!r}; expected one of {', '.join(KINDS)} and one of "
                f"{', '.join(EMPTY_POLICIES)}"
            )
        total = self.areas[:, None] + self.areas[None, :]
        over, under = (2 * self.shared, total) if kind == "dice" else (self.shared, total - self.shared)
        blank = {"agree": 1.0, "skip": math.nan, "zero": 0.0}[empty]
        values = np.where(total == 0, blank, over / np.maximum(under, 1))
        m = self.predictions
        return Similarity(values[:m, :m], values[:m, m:], values[m:, m:], kind, empty)
