"""Consensus of several raters: majority votes, union, intersection and STAPLE. It is never stored.

>>> raters = np.array([[1, 1, 0, 0], [0, 1, 1, 0]], bool)
>>> {rule: consensus(raters, rule).astype(int).tolist() for rule in ("majority", "majority-half-up", "union")}
{'majority': [0, 1, 0, 0], 'majority-half-up': [1, 1, 1, 0], 'union': [1, 1, 1, 0]}
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rclicks.errors import PluginError
from rclicks.metrics.raters.overlap import Floats, Overlaps, stack_masks
from rclicks.sample import Mask
from rclicks.seeds import keyed_rng

__all__ = ["RULES", "Staple", "consensus", "consensus_scores", "leave_one_out_majorities", "staple"]

RULES = ("majority", "majority-half-up", "majority-random", "union", "intersection", "staple")


def consensus(
    raters: Sequence[Mask] | Mask, rule: str = "majority", *, seed: int = 0, names: Sequence[object] = ()
) -> Mask:
    """Return the consensus mask of several raters, (...) bool.

    The mean of the masks is `rclicks.metrics.raters.overlap.vote_fraction`.

    Parameters
    ----------
    raters : (R, ...) bool array or sequence of masks
        Masks of at least one rater; select raters with `choose_raters`.
    rule : str
        Rule for the pixels of the consensus. "majority": pixels drawn by more than half of the raters (of two raters:
        by both). "majority-half-up": by at least half. "majority-random": like "majority", but pixels with exactly
        half of the votes are decided at random. "union": by any rater. "intersection": by all raters. "staple": see
        `staple`.
    seed, names
        Key of the random numbers of "majority-random"; `names` are those of the data set, the sample and the target.

    Raises
    ------
    ValueError
        If there is no rater, or the rule is unknown.
    PluginError
        If the rule is "staple" and SimpleITK is not installed.
    """
    masks = _at_least_one(raters)
    if rule not in RULES:
        raise ValueError(f"consensus rule is {rule!r}; expected one of {', '.join(RULES)}")
    if rule == "union":
        return np.asarray(masks.any(axis=0))
    if rule == "intersection":
        return np.asarray(masks.all(axis=0))
    if rule == "staple":
        return staple(masks).mask
    twice, count = 2 * masks.sum(axis=0, dtype=np.int64), len(masks)
    if rule == "majority-half-up":
        return np.asarray(twice >= count)
    drawn = twice > count
    if rule == "majority-random":
        lots = keyed_rng(seed, "consensus", *names).random(drawn.shape) < 0.5
        drawn |= (twice == count) & lots
    return np.asarray(drawn)


def leave_one_out_majorities(raters: Sequence[Mask] | Mask) -> Mask:
    """Return for each rater the majority of the other raters, (R, ...) bool; with two raters, the other rater's mask.

    Raises
    ------
    ValueError
        If there are fewer than two raters.
    """
    masks = _at_least_one(raters)
    if len(masks) < 2:
        raise ValueError("there is only one rater; the majority of the other raters needs at least two")
    votes = masks.sum(axis=0, dtype=np.int64)
    return np.asarray(2 * (votes[None] - masks) > len(masks) - 1)


@dataclass(frozen=True, eq=False)
class Staple:
    """Result of STAPLE.

    Attributes
    ----------
    mask : (...) bool array
        Pixels with a probability of at least 1/2.
    probability : (...) float64 array
        Estimated probability of the object at each pixel.
    sensitivity, specificity : tuple of float
        Estimates for each rater; NaN if all raters agree at all pixels, because they then cannot be estimated.
    """

    mask: Mask
    probability: Floats
    sensitivity: tuple[float, ...]
    specificity: tuple[float, ...]


def staple(raters: Sequence[Mask] | Mask, iterations: int = 100) -> Staple:
    """Return the STAPLE consensus (Warfield, Zou and Wells, TMI 2004), computed by SimpleITK (extra ``volumes``).

    STAPLE is an expectation-maximisation that starts from a sensitivity and a specificity of 0.99999. The prior at
    every pixel is the raters' mean share of foreground, so the result depends on the size of the image. With two raters
    the solution is poorly determined.

    Parameters
    ----------
    raters : (R, ...) bool array or sequence of masks
        Masks of images or volumes.
    iterations : int
        Largest number of iterations; the algorithm stops earlier if the estimates no longer change.

    Raises
    ------
    ValueError
        If there is no rater.
    PluginError
        If SimpleITK is not installed.
    """
    masks = _at_least_one(raters)
    if np.array_equal(masks.any(axis=0), masks.all(axis=0)):
        unknown = (math.nan,) * len(masks)
        return Staple(masks[0].copy(), masks[0].astype(float), unknown, unknown)
    try:
        import SimpleITK
    except ImportError as error:
        raise PluginError("the STAPLE consensus needs SimpleITK; `pip install 'rclicks[volumes]'`") from error
    search = SimpleITK.STAPLEImageFilter()
    search.SetForegroundValue(1)
    search.SetMaximumIterations(iterations)
    search.SetNumberOfThreads(1)
    # ITK needs two or three axes. STAPLE does not use neighbours, so all pixels can form an image with one row.
    rows = masks.reshape(len(masks), 1, -1).view(np.uint8)
    found = search.Execute([SimpleITK.GetImageFromArray(row) for row in rows])
    probability = SimpleITK.GetArrayFromImage(found).astype(np.float64).reshape(masks.shape[1:])
    return Staple(probability >= 0.5, probability, tuple(search.GetSensitivity()), tuple(search.GetSpecificity()))


def consensus_scores(
    prediction: Mask,
    raters: Sequence[Mask] | Mask,
    *,
    kind: str = "dice",
    empty: str = "agree",
    rules: Sequence[str] = ("majority", "majority-half-up", "union", "intersection"),
    ignore: Mask | None = None,
) -> dict[str, float]:
    """Return the similarity between a prediction and the consensus of each rule, by rule; 0..1, higher is better.

    Parameters
    ----------
    prediction : (...) bool array
    raters : (R, ...) bool array or sequence of masks
    kind, empty : str
        Kind of similarity and empty policy; see `Overlaps.similarity`.
    rules : sequence of str
        Rules from `RULES`.
    ignore : (...) bool array or None
        Pixels that do not count.
    """
    targets = [consensus(raters, rule) for rule in rules]
    across = Overlaps.of([prediction], targets, policy="all", ignore=ignore).similarity(kind, empty).across
    return dict(zip(rules, across[0].tolist(), strict=True))


def _at_least_one(raters: Sequence[Mask] | Mask) -> Mask:
    masks = stack_masks(raters, "raters")
    if len(masks) == 0:
        raise ValueError("there is no rater; a consensus needs at least one")
    return masks
