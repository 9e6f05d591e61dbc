"""The clicks of the published trainings of SPA and AESPA. Published code draws without a seed; here generators draw.

A click goes to any of the 20 pixels that differ most, not to the centre of an error. It may belong to any error, also
to a very small one.

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
DISPUTED = 0.8  # probability that the level is drawn again among those between 0 and 1
MAJORITY = 0.8  # probability that the label is the one that most raters gave


@dataclass(frozen=True, eq=False)
class FirstClick:
    """First click of a SPA training on an image.

    Attributes
    ----------
    click : Click
        Click at a pixel where all raters agree; so it does not show which raters are followed.
    target : (H, W) bool array
        Majority mask of the followed raters.
    raters : (R,) bool array
        True for the followed raters.
    """

    click: Click
    target: Mask
    raters: Mask


def followed_rater(valid: Mask, previous: int | None, switching: float, rng: np.random.Generator) -> int:
    """Return the index of the rater whom the next click follows.

    Parameters
    ----------
    valid : (R,) bool array
        True for raters who drew an object. If no rater did, all are valid.
    previous : int or None
        Rater whom the last click followed; None for the first click.
    switching : float
        Probability of a change to another valid rater.
    rng : numpy Generator
        Random generator.
    """
    allowed = np.flatnonzero(valid) if valid.any() else np.arange(len(valid))
    if previous is not None and valid[previous]:
        others = allowed[allowed != previous]
        if not len(others) or rng.random() >= switching:
            return previous
        allowed = others
    return int(allowed[rng.integers(len(allowed))])


def differing_pixel(difference: Floats, rng: np.random.Generator) -> tuple[int, int]:
    """Return (row, column) of one of the 20 pixels of an (H, W) map with the largest values; ties in reading order."""
    largest = np.argsort(-difference, axis=None, kind="stable")[:MOST_DIFFERENT]
    row, column = np.unravel_index(largest[rng.integers(len(largest))], difference.shape)
    return int(row), int(column)


def agreeing(masks: Mask, valid: Mask, pixel: tuple[int, int], label: bool) -> NDArray[np.float32]:
    """Return the (H, W) mean of the masks of the valid raters who gave `pixel` the label `label`; 0 if there are none.

    Parameters
    ----------
    masks : (R, H, W) bool array
        Masks of all raters.
    valid : (R,) bool array
        True for raters who drew an object.
    pixel : (row, column)
        Position of the click in pixels.
    label : bool
        True for object.
    """
    agree = valid & (masks[:, pixel[0], pixel[1]] == label)
    if not agree.any():
        return np.zeros(masks.shape[1:], np.float32)
    found: NDArray[np.float32] = masks[agree].mean(0, dtype=np.float32)
    return found


def first_click(masks: Mask, rng: np.random.Generator) -> FirstClick:
    """Return the first click of SPA and the target of the session from (R, H, W) masks, R >= 1.

    First a share of raters (a level) is drawn, preferably one between 0 and 1. Then a pixel that this share of the
    raters drew is drawn, and a label for it. The raters who gave the pixel this label are followed. The click itself
    goes to a pixel that all raters drew. If there is none, it is a negative click at a pixel that no rater drew. If
    there is no such pixel either, it is a negative click at (0, 0); published code has no rule for this case.
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
