"""Random prompts for the training of 3-D networks. They vary more than those of `rclicks.users`, on purpose.

All functions are pure functions of masks and a random generator. Coordinates are (z, y, x) in voxels of the volume.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rclicks.interaction import Box, Click, Interaction, Lasso, Scribble
from rclicks.sample import Mask

__all__ = ["first_prompt", "later_prompt", "random_box", "random_click", "random_lasso", "random_scribble"]

CENTRE = 0.6  # probability of a click at the centre; the other clicks are uniform in the mask
KINDS = {"click": 0.5, "box": 0.15, "lasso": 0.15, "scribble": 0.2}  # probabilities of the first prompt
DRAWN_LATER = 0.1  # probability that a correction is a scribble instead of a click
JITTER = (-1, 4)  # range of the outward shift of each side of a box in voxels; half-open
BRUSH = 2  # width of a scribble in voxels


def first_prompt(mask: Mask, rng: np.random.Generator) -> Interaction:
    """Return a positive click, box, lasso or scribble on an object.

    Parameters
    ----------
    mask : (Z, Y, X) bool array
        Mask of the object, not empty.
    rng : numpy Generator
        Random generator.
    """
    kind = rng.choice(list(KINDS), p=list(KINDS.values()))
    if kind == "click":
        return random_click(mask, rng)
    if kind == "box":
        return random_box(mask, rng)
    return random_lasso(mask, rng) if kind == "lasso" else random_scribble(mask, rng)


def later_prompt(truth: Mask, answer: Mask, rng: np.random.Generator) -> Interaction:
    """Return a click, or rarely a scribble, on the largest component of the error.

    Without an error it is a positive click on the object.

    Parameters
    ----------
    truth : (Z, Y, X) bool array
        Reference mask, not empty.
    answer : (Z, Y, X) bool array
        Prediction.
    rng : numpy Generator
        Random generator.
    """
    from scipy.ndimage import find_objects, label

    error = truth ^ answer
    if not error.any():
        return random_click(truth, rng)
    labels, count = label(error, np.ones((3, 3, 3)))
    largest = int(np.bincount(labels.ravel(), minlength=count + 1)[1:].argmax()) + 1
    window = find_objects(labels)[largest - 1]
    piece = np.zeros_like(error)
    piece[window] = labels[window] == largest
    # A component may contain false negatives and false positives; the prompt corrects the more frequent ones.
    false_negatives, false_positives = piece & truth, piece & answer
    positive = bool(false_negatives.sum() >= false_positives.sum())
    region = false_negatives if positive else false_positives
    if rng.random() < DRAWN_LATER:
        return random_scribble(region, rng, positive=positive)
    return random_click(region, rng, positive=positive)


def random_click(mask: Mask, rng: np.random.Generator, *, positive: bool = True) -> Click:
    """Return a click on the voxel of `mask` farthest from its border (probability 0.6), or on a random voxel of it."""
    from scipy.ndimage import distance_transform_edt

    voxels = np.argwhere(mask)
    if rng.random() < CENTRE:
        low, high = voxels.min(0), voxels.max(0)
        crop = np.pad(mask[tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))], 1)
        place = np.unravel_index(int(distance_transform_edt(crop).argmax()), crop.shape)
        point = np.asarray(place) + low - 1
    else:
        point = voxels[rng.integers(len(voxels))]
    return Click(tuple(int(p) for p in point), positive)


def random_box(mask: Mask, rng: np.random.Generator) -> Box:
    """Return a box around the section of `mask` in a random slice of a random axis; its sides are shifted at random."""
    axis, index, section = _slice(mask, rng)
    places = np.argwhere(section)
    low, high = places.min(0) - rng.integers(*JITTER, 2), places.max(0) + rng.integers(*JITTER, 2)
    top = np.asarray(section.shape) - 1
    low = np.clip(low, 0, top)
    high = np.clip(high, low, top)
    return Box(_full(low, axis, index), _full(high, axis, index))


def random_lasso(mask: Mask, rng: np.random.Generator) -> Lasso:
    """Return a lasso around the section of `mask` in a random slice of a random axis, dilated by 0 to 2 voxels."""
    from scipy.ndimage import binary_dilation

    axis, index, section = _slice(mask, rng)
    grown = int(rng.integers(3))
    if grown:
        section = binary_dilation(section, iterations=grown)
    low, crop = _cropped(section, axis, index)
    return Lasso(low, crop)


def random_scribble(mask: Mask, rng: np.random.Generator, *, positive: bool = True) -> Scribble:
    """Return a straight line, two voxels wide, within the section of `mask` in a random slice of a random axis."""
    from scipy.ndimage import binary_erosion

    axis, index, section = _slice(mask, rng)
    inner = binary_erosion(section)
    places = np.argwhere(inner if inner.any() else section)
    start, end = places[rng.integers(len(places), size=2)]
    steps = int(np.abs(end - start).max()) + 1
    line = np.rint(np.linspace(start, end, steps)).astype(np.int64)
    drawn = np.zeros_like(section)
    for row in range(BRUSH):
        for column in range(BRUSH):
            at = np.minimum(line + np.array([row, column]), np.asarray(section.shape) - 1)
            drawn[tuple(at.T)] = True
    drawn &= section
    drawn[tuple(start)] = True
    low, crop = _cropped(drawn, axis, index)
    return Scribble(low, crop, positive)


def _slice(mask: Mask, rng: np.random.Generator) -> tuple[int, int, NDArray[np.bool_]]:
    """Return a random axis, a slice index, and the section there; the index is drawn in proportion to the areas."""
    axis = int(rng.integers(3))
    areas = mask.sum(tuple(a for a in range(3) if a != axis))
    index = int(rng.choice(len(areas), p=areas / areas.sum()))
    return axis, index, np.take(mask, index, axis)


def _full(point: NDArray[np.int64], axis: int, index: int) -> tuple[int, ...]:
    """Return the 3-D coordinates of a 2-D point of a slice."""
    return tuple(int(v) for v in np.insert(point, axis, index))


def _cropped(section: NDArray[np.bool_], axis: int, index: int) -> tuple[tuple[int, ...], Mask]:
    places = np.argwhere(section)
    low, high = places.min(0), places.max(0)
    crop = section[low[0] : high[0] + 1, low[1] : high[1] + 1]
    return _full(low, axis, index), np.expand_dims(crop, axis).copy()
