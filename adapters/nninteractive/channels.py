"""Input of nnInteractive's network: a normalised image and seven channels of interactions.

The channels of models in nnInteractive's default layout:

=======  ============================================================
0        previous result of the object, 0 or 1
1, 2     boxes and lassos, positive and negative
3, 4     points, positive and negative: a ball of radius 4 that fades
5, 6     scribbles, positive and negative
=======  ============================================================

The newest prompt has the value 1, a prompt that is k prompts older the value ``decay ** k``. Where prompts overlap, the
larger value counts. This module stores the values in half precision like the official session, so that both are equal
to the last bit. Source: measured behaviour of nnInteractive 2.6.0 (Isensee et al., arXiv 2503.08373).

>>> centre_line = point_ball(4)[4, 4]
>>> centre_line[4:].round(3).tolist()
[1.0, 0.767, 0.542, 0.343, 0.243]
>>> made = draw_channels([Click((3, 3, 3)), Box((2, 0, 0), (2, 5, 5))], (6, 6, 6))
>>> [round(float(made[c].max()), 2) for c in range(7)]
[0.0, 1.0, 0.0, 0.9, 0.0, 0.0, 0.0]
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rclicks.errors import DataError, ProtocolError
from rclicks.interaction import Box, Click, Interaction, check_inside
from rclicks.sample import Mask

__all__ = [
    "CHANNELS",
    "DECAY",
    "PREVIOUS",
    "RADIUS",
    "crop_padded",
    "draw_channels",
    "normalise",
    "patch_windows",
    "point_ball",
]

CHANNELS = 7
PREVIOUS = 0
DECAY = 0.9
RADIUS = 4
_PAIRS = {"box": 1, "lasso": 1, "click": 3, "scribble": 5}
_HALF_MAX = float(np.finfo(np.float16).max)


@lru_cache(maxsize=8)
def point_ball(radius: int = RADIUS) -> NDArray[np.float64]:
    """Return the ball that a point is drawn as: the distance to the border of the ball, divided by its maximum.

    Parameters
    ----------
    radius : int
        Radius of the ball in voxels, at least 1.

    Returns
    -------
    (2 * radius + 1,) * 3 float64 array
        Values from 1 at the centre to 0 outside the ball (distance > radius). The array is read-only.
    """
    from scipy.ndimage import distance_transform_edt

    axis = np.arange(-radius, radius + 1) ** 2
    inside = axis[:, None, None] + axis[:, None] + axis <= radius**2
    # As in the session: distance to the nearest voxel of this array that lies outside the ball.
    ball = np.asarray(distance_transform_edt(inside), np.float64)
    ball /= ball.max()
    ball.setflags(write=False)
    return ball


def draw_channels(
    interactions: Sequence[Interaction],
    shape: Sequence[int],
    *,
    previous: Mask | None = None,
    decay: float = DECAY,
    radius: int = RADIUS,
) -> NDArray[np.float32]:
    """Draw prompts as the official session passes them to its network at zoom 1.

    Parameters
    ----------
    interactions : sequence of Interaction
        All prompts of the object so far, the newest last; coordinates are (z, y, x).
    shape : sequence of int
        (Z, Y, X) of the volume.
    previous : (Z, Y, X) bool array or None
        Previous result of the object; None for an empty one.
    decay : float
        Factor in (0, 1] by which every new prompt multiplies the values of the older ones.
    radius : int
        Radius of the drawn points in voxels.

    Returns
    -------
    (7, Z, Y, X) float32 array
        Channels in the order of the table above, values in [0, 1].

    Raises
    ------
    ProtocolError
        If a prompt does not lie in the volume, or `decay` is out of its range.
    """
    if not 0 < decay <= 1:
        raise ProtocolError(f"decay of interactions is {decay}; expected above 0 and at most 1")
    size = tuple(int(n) for n in shape)
    stored = np.zeros((CHANNELS, *size), np.float16)
    # The session does not fade old prompts: it writes each new one with a larger value and divides when it reads.
    intensity = 1.0
    for interaction in interactions:
        check_inside(interaction, size)
        if decay < 1:
            intensity *= 1 / decay
        if intensity > _HALF_MAX:
            stored = _scaled(stored, (_HALF_MAX / 10) / intensity)
            intensity = _HALF_MAX / 10
        _write(stored[_PAIRS[interaction.kind] + (not interaction.positive)], interaction, intensity, radius)
    made = (stored if intensity == 1 else _scaled(stored, intensity, divide=True)).astype(np.float32)
    if previous is not None:
        made[PREVIOUS] = previous
    return made


def _scaled(stored: NDArray[np.float16], factor: float, *, divide: bool = False) -> NDArray[np.float16]:
    """Multiply or divide in single precision and round to half precision, as torch does."""
    wide = stored.astype(np.float32)
    return (wide / np.float32(factor) if divide else wide * np.float32(factor)).astype(np.float16)


def _write(channel: NDArray[np.float16], interaction: Interaction, intensity: float, radius: int) -> None:
    """Draw a prompt into its channel; where values overlap, the larger one stays."""
    values: NDArray[np.floating[Any]]
    if isinstance(interaction, Click):
        starts = [p - radius for p in interaction.point]
        stops = [min(p + radius + 1, n) for p, n in zip(interaction.point, channel.shape, strict=True)]
        window = tuple(slice(max(a, 0), b) for a, b in zip(starts, stops, strict=True))
        part = tuple(slice(w.start - a, w.stop - a) for w, a in zip(window, starts, strict=True))
        values = point_ball(radius)[part] * intensity
    elif isinstance(interaction, Box):
        window = tuple(slice(a, b + 1) for a, b in zip(interaction.low, interaction.high, strict=True))
        values = np.full([w.stop - w.start for w in window], intensity)
    else:
        window = interaction.window
        values = interaction.mask * intensity
    np.maximum(channel[window], values.astype(np.float16), out=channel[window])


def normalise(image: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return a volume normalised as in the official session: (v - mean) / standard deviation.

    The mean and the (unbiased) standard deviation are computed in the bounding box of the voxels that are not 0, and
    applied to all voxels. Voxels outside the volume are 0 after normalisation, see `crop_padded`.

    Parameters
    ----------
    image : (Z, Y, X) array of real numbers
        Grey values; the array is not changed.

    Returns
    -------
    (Z, Y, X) float32 array
        Normalised values.

    Raises
    ------
    DataError
        If the volume is all 0, constant, or has values that are infinite or NaN. The session would fail on it or return
        an empty mask without a message.
    """
    import torch

    values = torch.from_numpy(np.array(image, np.float32, order="C"))  # a copy, which is then changed in place
    if values.ndim != 3:
        raise DataError(f"a volume of shape {tuple(values.shape)} cannot be normalised; expected (z, y, x)")
    # The sums are in the same order as in the session, so that mean and deviation agree to the last bit.
    plane = values.sum(0)
    along = (values.sum((1, 2)), plane.sum(1), plane.sum(0))
    if not all(bool(torch.isfinite(sums).all()) for sums in along):
        raise DataError(f"a volume of shape {tuple(values.shape)} has values that are infinite or NaN")
    filled = [torch.nonzero(sums)[:, 0] for sums in along]
    if any(len(places) == 0 for places in filled):
        raise DataError(f"a volume of shape {tuple(values.shape)} is all 0, so it cannot be normalised")
    inner = values[tuple(slice(int(p[0]), int(p[-1]) + 1) for p in filled)]
    mean, deviation = inner.mean(), inner.std()
    if not bool(torch.isfinite(deviation)) or float(deviation) == 0:
        raise DataError(f"a volume of shape {tuple(values.shape)} is constant, so it cannot be normalised")
    values -= mean
    values /= deviation
    return np.asarray(values.numpy(), np.float32)


def crop_padded(array: NDArray[np.generic], centre: Sequence[int], size: Sequence[int]) -> NDArray[np.generic]:
    """Cut a patch around a voxel; it is 0 where it leaves the array.

    Parameters
    ----------
    array : (..., Z, Y, X) array
        Volume, or channels of a volume.
    centre : sequence of three int
        Voxel (z, y, x) that becomes voxel ``size // 2`` of the patch.
    size : sequence of three int
        Edges (z, y, x) of the patch in voxels.

    Returns
    -------
    (..., *size) array
        Copy of the values.
    """
    out = np.zeros((*array.shape[:-3], *size), array.dtype)
    in_volume, in_patch = patch_windows(array.shape[-3:], centre, size)
    leading = (slice(None),) * (array.ndim - 3)
    out[leading + in_patch] = array[leading + in_volume]
    return out


def patch_windows(
    shape: Sequence[int], centre: Sequence[int], size: Sequence[int]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return the overlap of a patch and a volume, as slices of the volume and as slices of the patch.

    Parameters
    ----------
    shape : sequence of three int
        Shape (Z, Y, X) of the volume.
    centre, size : sequence of three int
        As for `crop_padded`.
    """
    in_volume, in_patch = [], []
    for n, c, s in zip(shape, centre, size, strict=True):
        low = c - s // 2
        first, last = max(low, 0), max(min(low + s, n), max(low, 0))
        in_volume.append(slice(first, last))
        in_patch.append(slice(first - low, last - low))
    return tuple(in_volume), tuple(in_patch)
