"""Overlaps of all pairs of several predictions and several raters, from one matrix product.

Every metric of sets needs only the areas of the masks and the areas that they share. Both are entries of ``X X^T``,
where the rows of X are the flattened masks of predictions and raters. So no loop over pairs is needed.

Two policies must be stated with every number:

* Rater policy (`RATER_POLICIES`): which raters count. "all": all slots including padding. "present": all slots except
  padding; an empty mask counts. "nonempty": only raters who drew something.
* Empty policy (`EMPTY_POLICIES`): the similarity of two empty masks. "agree": similarity 1, distance 0. "skip": the
  pair is left out. "zero": similarity 0, distance 1.

The numbers of pixels are exact: blocks of 2**20 pixels are counted in single precision and added as integers.

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
BLOCK = 1 << 20  # pixels in one product; below 2**24, so that counts in single precision are exact

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def stack_masks(masks: Sequence[Mask] | Mask, what: str = "masks") -> Mask:
    """Return masks as one (n, ...) bool array.

    Raises
    ------
    TypeError
        If the masks are not bool.
    ValueError
        If the shapes differ.
    """
    shapes = {np.shape(m) for m in masks}
    if len(shapes) > 1:
        raise ValueError(f"{what} have shapes {sorted(shapes)}; expected one shape")
    stacked = np.asarray(masks)
    if stacked.dtype != np.bool_:
        if stacked.size == 0:
            return stacked.astype(bool)
        raise TypeError(f"{what} are {stacked.dtype}; expected bool; apply a threshold first")
    return stacked


def choose_raters(
    raters: Sequence[Mask] | Mask, policy: str = "present", present: Sequence[bool] | None = None
) -> tuple[int, ...]:
    """Return the indices of the raters that count.

    Parameters
    ----------
    raters : (R, ...) bool array or sequence of masks
        Masks of the raters.
    policy : {"present", "nonempty", "all"}
        Rater policy; see the top of this module.
    present : R bools or None
        Slots that are not padding; None if there is no padding.

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
    """Return the share of raters that drew each pixel, (...) float64 in [0, 1].

    It is computed by one division, so 3 votes of 10 are exactly the number 0.3. Select raters with `choose_raters`.

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
    """Dice or IoU (0 to 1) of all pairs of M predictions and R raters.

    Attributes
    ----------
    within : (M, M) float64 array
        Similarities between predictions; each prediction is also compared with itself.
    across : (M, R) float64 array
        Similarities between predictions (rows) and raters (columns).
    raters : (R, R) float64 array
        Similarities between raters; each rater is also compared with itself.
    kind, empty : str
        Kind of similarity ("dice" or "iou") and empty policy. Pairs that the policy skips are NaN.
    """

    within: Floats
    across: Floats
    raters: Floats
    kind: str
    empty: str


@dataclass(frozen=True, eq=False)
class Overlaps:
    """Numbers of pixels that all pairs of M predictions and R raters share.

    Attributes
    ----------
    shared : (M + R, M + R) int64 array
        Number of pixels in both masks, predictions first, then raters. The diagonal contains the areas.
    predictions : int
        Number M of predictions.
    raters : tuple of int
        Indices of the R raters that count, within the raters that were passed.
    pixels : int
        Number of pixels that count, without ignored pixels.
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
        """Count the shared pixels of all pairs.

        Parameters
        ----------
        predictions, raters : (M, ...) and (R, ...) bool arrays, or sequences of masks
            Masks of one shape, of images or volumes; M and R may be 0.
        policy, present
            Raters that count; see `choose_raters`.
        ignore : (...) bool array or None
            Pixels that do not count.

        Raises
        ------
        TypeError
            If masks are not bool.
        ValueError
            If the shapes differ or the policy is unknown.
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
            # Most pixels are in no mask or in all masks. They add 0 or 1 to every pair and need no product.
            some, every = block.any(axis=0), block.all(axis=0)
            if valid is not None:
                some &= valid[start : start + BLOCK]
                every &= valid[start : start + BLOCK]
            rows = np.take(block, np.flatnonzero(some & ~every), axis=1).astype(np.float32)
            total += np.rint(rows @ rows.T).astype(np.int64) + int(np.count_nonzero(every))
        return cls(total, len(given), used, size if valid is None else int(valid.sum()))

    @property
    def areas(self) -> Integers:
        """Number of pixels of each mask, predictions first, (M + R,) int64."""
        return self.shared.diagonal()

    def similarity(self, kind: str, empty: str = "agree") -> Similarity:
        """Return Dice ``2 |A and B| / (|A| + |B|)`` or IoU ``|A and B| / |A or B|`` of all pairs.

        Parameters
        ----------
        kind : {"iou", "dice"}
        empty : {"agree", "skip", "zero"}
            Empty policy; see the top of this module.

        Raises
        ------
        ValueError
            If the kind or the policy is unknown.
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
