"""Several raters of one object: whom a trajectory follows, and what every rater would say to a prediction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from rclicks.errors import DataError
from rclicks.metrics.overlap import dice, iou
from rclicks.metrics.raters.consensus import RULES, consensus
from rclicks.metrics.target import TargetFacts
from rclicks.sample import Mask, Target

__all__ = ["Jury", "Panel", "followed", "panel_of"]


def followed(target: Target, follow: Sequence[str], key: tuple[object, ...]) -> Iterator[tuple[str, Mask]]:
    """Yield (name, mask) of each truth that trajectories follow: raters, or what they agree on.

    Parameters
    ----------
    target : Target
    follow : sequence of str
        "raters" for each rater, or consensus rules; of one rater all rules are that rater's mask, which comes once.
    key : (seed, data set, sample)
        Of the lots that the rule "majority-random" draws.

    Raises
    ------
    DataError
        If a rater is called what a rule is called: records could not tell them apart.
    """
    if len(target.raters) == 1:
        yield target.raters[0], target.masks[0]
        return
    if same := sorted({"raters", *RULES} & {*target.raters}):
        raise DataError(
            f"object {target.id} has a rater named {', '.join(same)}, as a rule of `follow` is; give the rater another "
            "name (of a folder of masks, the folder's or the file's)"
        )
    seed, *names = key
    for rule in follow:
        if rule == "raters":
            yield from zip(target.raters, target.masks, strict=True)
        else:
            yield rule, _agreed(target, rule, int(str(seed)), (*names, target.id))


def _agreed(target: Target, rule: str, seed: int, names: Sequence[object]) -> Mask:
    """Return a consensus; pixels to ignore have no say in it and are never part of it."""
    if target.ignore is None or not target.ignore.any():
        return consensus(list(target.masks), rule, seed=seed, names=names)
    counted = ~target.ignore
    found = np.zeros(counted.shape, bool)
    found[counted] = consensus([mask[counted] for mask in target.masks], rule, seed=seed, names=names)
    return found


Panel = tuple[tuple[str, TargetFacts], ...]


def panel_of(target: Target, spacing: Sequence[float]) -> Panel:
    """Return name and mask of each rater; one who drew nothing has an empty mask."""
    masks = (TargetFacts(mask, target.ignore, spacing) for mask in target.masks)
    return tuple(zip(target.raters, masks, strict=True))


class Jury:
    """All raters of an object, beside the truth that a trajectory follows.

    Parameters
    ----------
    panel : Panel
        See `panel_of`.
    truth : bool array
        The mask followed: a rater's, or a consensus.
    """

    def __init__(self, panel: Panel, truth: Mask) -> None:
        self._panel = panel
        self._same = {
            "raters": [name for name, _ in panel],
            "rater_area": [f.area for _, f in panel],
            "followed_dice": [dice(f, truth) for _, f in panel],
        }

    def verdict(self, prediction: Mask) -> dict[str, Any]:
        """Return the columns of a round: the scores of a prediction on each rater, and of the followed truth.

        Two empty masks agree (1), one empty mask shares nothing (0), under every protocol.
        """
        scores = {
            "rater_iou": [iou(f, prediction) for _, f in self._panel],
            "rater_dice": [dice(f, prediction) for _, f in self._panel],
        }
        return self._same | scores
