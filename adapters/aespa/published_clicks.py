"""The clicks of the published trainings of SPA and AESPA, with generators where published code draws without seeds.

Both are near the edge of what they are to show rather than at its centre: any of the 20 pixels that differ most is
clicked, whichever error it belongs to, even where next to nothing is wrong.

Sources: hmkhoi2701/DL_Repo_Interactive_Segmentation (AESPA); ImprintLab/SPA.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rclicks.interaction import Click
from rclicks.sample import Mask

__all__ = ["FirstClick", "agreeing", "differing_pixel", "first_click", "followed_rater"]

Floats = NDArray[np.floating]

MOST_DIFFERENT = 20
DISPUTED = 0.8  # how often a level between 0 and 1 is asked for
MAJORITY = 0.8  # how often its label is the one that most raters gave


@dataclass(frozen=True, eq=False)
class FirstClick:
    """How a training of SPA begins on an image.

    Attributes
    ----------
    click : Click
        Where all raters agree, so that it tells nothing about which of them are meant.
    target : (H, W) bool array
        Majority of the raters who are meant.
    raters : (R,) bool array
        Who they are.
    """

    click: Click
    target: Mask
    raters: Mask


def followed_rater(valid: Mask, previous: int | None, switching: float, rng: np.random.Generator) -> int:
    """Return the rater whom the next click follows.

    Parameters
    ----------
    valid : (R,) bool array
        Who drew anything; if nobody did, all are taken.
    previous : int or None
        Who was followed; None for the first click.
    switching : float
        Chance to change to another valid rater.
    rng : numpy Generator
    """
    able = np.flatnonzero(valid) if valid.any() else np.arange(len(valid))
    if previous is not None and valid[previous]:
        others = able[able != previous]
        if not len(others) or rng.random() >= switching:
            return previous
        able = others
    return int(able[rng.integers(len(able))])


def differing_pixel(difference: Floats, rng: np.random.Generator) -> tuple[int, int]:
    """Return one of the 20 pixels of an (H, W) map whose values are largest; the first ones among equals."""
    largest = np.argsort(-difference, axis=None, kind="stable")[:MOST_DIFFERENT]
    row, column = np.unravel_index(largest[rng.integers(len(largest))], difference.shape)
    return int(row), int(column)


def agreeing(masks: Mask, valid: Mask, pixel: tuple[int, int], label: bool) -> NDArray[np.float32]:
    """Return the mean (H, W) of the masks (R, H, W) of those valid raters who gave a pixel this label; 0 if nobody."""
    with_it = valid & (masks[:, pixel[0], pixel[1]] == label)
    if not with_it.any():
        return np.zeros(masks.shape[1:], np.float32)
    found: NDArray[np.float32] = masks[with_it].mean(0, dtype=np.float32)
    return found


def first_click(masks: Mask, rng: np.random.Generator) -> FirstClick:
    """Return the first click of SPA and the target of the whole session, of (R, H, W) masks, R >= 1.

    A share of raters is drawn, mostly one other than nobody and everybody, then a pixel that so many raters drew, then
    a label for it; who gave this label is meant. The pixel itself is not clicked: the click goes where all raters
    drew, or, if that is nowhere, where nobody did. If that is nowhere either, it is a negative click at the origin;
    published code has no rule for it.
    """
    share = masks.mean(0)
    levels = np.unique(share)
    level = levels[rng.integers(len(levels))]
    between = levels[(levels > 0) & (levels < 1)]
    if len(between) and rng.random() < DISPUTED:
        level = between[rng.integers(len(between))]
    row, column = _any_pixel(share == level, rng)
    label = bool(round(float(level)))
    if 0 < level < 1 and rng.random() >= MAJORITY:
        label = not label
    meant = masks[:, row, column] == label
    target = masks[meant].mean(0) >= 0.5
    everybody, nobody = share == 1, share == 0
    if everybody.any():
        return FirstClick(Click(_any_pixel(everybody, rng)), target, meant)
    place = _any_pixel(nobody, rng) if nobody.any() else (0, 0)
    return FirstClick(Click(place, positive=False), target, meant)


def _any_pixel(where: Mask, rng: np.random.Generator) -> tuple[int, int]:
    pixels = np.argwhere(where)
    row, column = pixels[rng.integers(len(pixels))]
    return int(row), int(column)
