"""Prompts drawn at random for the training of 3-D networks: varied on purpose, unlike those of `rclicks.users`.

All are pure functions of a mask (or of an error) and a random generator; coordinates are (z, y, x) of the volume.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rclicks.interaction import Box, Click, Interaction, Lasso, Scribble
from rclicks.sample import Mask

__all__ = ["first_prompt", "later_prompt", "random_box", "random_click", "random_lasso", "random_scribble"]

CENTRE = 0.6  # share of clicks at the centre; the others are anywhere
KINDS = {"click": 0.5, "box": 0.15, "lasso": 0.15, "scribble": 0.2}
DRAWN_LATER = 0.1  # share of corrections that are a scribble instead of a click
JITTER = (-1, 4)  # of a box's sides, outwards, in voxels; half-open
BRUSH = 2  # width of a scribble in voxels


def first_prompt(mask: Mask, rng: np.random.Generator) -> Interaction:
    """Return a positive click, box, lasso or scribble on an object.

    Parameters
    ----------
    mask : (Z, Y, X) bool array
        Not empty.
    rng : numpy Generator
    """
    kind = rng.choice(list(KINDS), p=list(KINDS.values()))
    if kind == "click":
        return random_click(mask, rng)
    if kind == "box":
        return random_box(mask, rng)
    return random_lasso(mask, rng) if kind == "lasso" else random_scribble(mask, rng)


def later_prompt(truth: Mask, answer: Mask, rng: np.random.Generator) -> Interaction:
    """Return a click (or rarely a scribble) on the largest piece of the error; on the object if there is no error."""
    from scipy.ndimage import find_objects, label

    error = truth ^ answer
    if not error.any():
        return random_click(truth, rng)
    labels, count = label(error, np.ones((3, 3, 3)))
    largest = int(np.bincount(labels.ravel(), minlength=count + 1)[1:].argmax()) + 1
    window = find_objects(labels)[largest - 1]
    piece = np.zeros_like(error)
    piece[window] = labels[window] == largest
    # A piece may hold both missing and surplus voxels; a prompt speaks for the more frequent ones.
    missing, surplus = piece & truth, piece & answer
    positive = bool(missing.sum() >= surplus.sum())
    wrong = missing if positive else surplus
    if rng.random() < DRAWN_LATER:
        return random_scribble(wrong, rng, positive=positive)
    return random_click(wrong, rng, positive=positive)


def random_click(mask: Mask, rng: np.random.Generator, *, positive: bool = True) -> Click:
    """Return a click on the voxel farthest from the border of `mask`, or on any voxel of it."""
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
    """Return a loose box around the section of `mask` in a slice of any axis."""
    axis, index, section = _slice(mask, rng)
    places = np.argwhere(section)
    low, high = places.min(0) - rng.integers(*JITTER, 2), places.max(0) + rng.integers(*JITTER, 2)
    top = np.asarray(section.shape) - 1
    low = np.clip(low, 0, top)
    high = np.clip(high, low, top)
    return Box(_full(low, axis, index), _full(high, axis, index))


def random_lasso(mask: Mask, rng: np.random.Generator) -> Lasso:
    """Return the section of `mask` in a slice of any axis, up to two voxels larger."""
    from scipy.ndimage import binary_dilation

    axis, index, section = _slice(mask, rng)
    grown = int(rng.integers(3))
    if grown:
        section = binary_dilation(section, iterations=grown)
    low, crop = _cropped(section, axis, index)
    return Lasso(low, crop)


def random_scribble(mask: Mask, rng: np.random.Generator, *, positive: bool = True) -> Scribble:
    """Return a short line, two voxels wide, that lies in `mask` in a slice of any axis."""
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
    """Return an axis, a slice of it drawn in proportion to its share of `mask`, and the section there."""
    axis = int(rng.integers(3))
    areas = mask.sum(tuple(a for a in range(3) if a != axis))
    index = int(rng.choice(len(areas), p=areas / areas.sum()))
    return axis, index, np.take(mask, index, axis)


def _full(point: NDArray[np.int64], axis: int, index: int) -> tuple[int, ...]:
    """Put the slice's own coordinate back."""
    return tuple(int(v) for v in np.insert(point, axis, index))


def _cropped(section: NDArray[np.bool_], axis: int, index: int) -> tuple[tuple[int, ...], Mask]:
    places = np.argwhere(section)
    low, high = places.min(0), places.max(0)
    crop = section[low[0] : high[0] + 1, low[1] : high[1] + 1]
    return _full(low, axis, index), np.expand_dims(crop, axis).copy()
