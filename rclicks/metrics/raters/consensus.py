"""One mask from several raters: votes, union, intersection and STAPLE. Computed when asked for, never stored.

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
    """Return one mask, (...) bool.

    The soft mean is `rclicks.metrics.raters.overlap.vote_fraction`.

    Parameters
    ----------
    raters : (R, ...) bool array or sequence of masks
        At least one; pick them with `choose_raters`.
    rule : str
        "majority": more than half of the raters, so of two both. "majority-half-up": at least half. "majority-random":
        a pixel with half of the votes is drawn by lot. "union", "intersection". "staple": see `staple`.
    seed, names
        Key of the lots of "majority-random": give the data set, the sample and the target.

    Raises
    ------
    ValueError
        If there is no rater, or no such rule.
    """
    masks = _some(raters)
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
    """Return for each rater the mask of more than half of the others, (R, ...) bool; of two raters, the other one's.

    Raises
    ------
    ValueError
        If there are fewer than two raters.
    """
    masks = _some(raters)
    if len(masks) < 2:
        raise ValueError("one rater has no others to make a majority of")
    votes = masks.sum(axis=0, dtype=np.int64)
    return np.asarray(2 * (votes[None] - masks) > len(masks) - 1)


@dataclass(frozen=True, eq=False)
class Staple:
    """What STAPLE estimates.

    Attributes
    ----------
    mask : (...) bool array
        Probability of at least one half.
    probability : (...) float64 array
        Of the true object at each pixel.
    sensitivity, specificity : tuple of float
        One a rater; NaN if all raters agree everywhere, for then there is nothing to estimate.
    """

    mask: Mask
    probability: Floats
    sensitivity: tuple[float, ...]
    specificity: tuple[float, ...]


def staple(raters: Sequence[Mask] | Mask, iterations: int = 100) -> Staple:
    """Return the STAPLE consensus (Warfield, Zou and Wells, TMI 2004), by SimpleITK (extra ``volumes``).

    Binary expectation-maximisation from sensitivity = specificity = 0.99999, with the raters' mean foreground fraction
    as prior at every pixel; the image's size therefore matters. With two raters the solution is hardly determined.

    Parameters
    ----------
    raters : (R, ...) bool array or sequence of masks
        Images or volumes.
    iterations : int
        At most so many; it stops earlier when the estimates stand still.

    Raises
    ------
    PluginError
        If SimpleITK is absent.
    """
    masks = _some(raters)
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
    # ITK wants two or three axes; STAPLE knows no neighbours, so a flat list of pixels is an image of one row.
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
    """Return the similarity of a prediction to the consensus of each rule; 0..1, higher is better.

    Parameters
    ----------
    prediction : (...) bool array
    raters : (R, ...) bool array or sequence of masks
    kind, empty : str
        As for `Overlaps.similarity`.
    rules : sequence of str
        Of `RULES`.
    """
    targets = [consensus(raters, rule) for rule in rules]
    across = Overlaps.of([prediction], targets, policy="all", ignore=ignore).similarity(kind, empty).across
    return dict(zip(rules, across[0].tolist(), strict=True))


def _some(raters: Sequence[Mask] | Mask) -> Mask:
    masks = stack_masks(raters, "raters")
    if len(masks) == 0:
        raise ValueError("there is no rater to make a consensus of")
    return masks
