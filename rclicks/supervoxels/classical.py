"""Supervoxels without a network: SLIC, compact watershed, and Felzenszwalb's method slice by slice.

All three methods come from scikit-image and return a label map: every voxel has exactly one label, and the labels are
1, 2, ... without gaps. They use no random numbers. They use the size of a voxel in different ways:

* ``slic`` (Achanta et al. 2012) is 3-D and measures distances in mm. scikit-image starts from a grid that is regular in
  *voxels*. With thick slices, the supervoxels are therefore fewer and taller than with a grid that is regular in mm.
* ``watershed`` (compact watershed, Neubert and Protzel 2014) is 3-D. Its gradient uses the spacing, and its markers lie
  on a grid that is regular in mm. Its compactness is in voxels, not in mm.
* ``felzenszwalb`` (Felzenszwalb and Huttenlocher 2004) exists only for 2-D images. It is applied to each axial slice.
  Regions of neighbouring slices that share more than half of their union become one supervoxel. A supervoxel ends when
  it is as thick, in mm, as a cube of the wanted volume.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rclicks.errors import ProtocolError

__all__ = [
    "COMPACTNESS",
    "METHODS",
    "even_markers",
    "felzenszwalb",
    "partition",
    "restrict",
    "scaled",
    "slic",
    "watershed",
]

Labels = NDArray[np.int32]
Floats = NDArray[np.float32]

# Compactness values were chosen on 20 volumes of a training split (grey values from 0 to 1). None of these volumes is
# in the table of docs/supervoxels.md.
METHODS = ("slic", "felzenszwalb", "watershed")
COMPACTNESS = {"slic": 0.2, "watershed": 0.01}
_SMOOTHING = 0.8  # pixels, as published for Felzenszwalb's method
_SCALES = (0.25, 16384.0)  # range in which its scale of observation is searched
_HALVINGS = 8


def partition(
    values: NDArray[Any],
    spacing: Sequence[float],
    method: str = "slic",
    *,
    segments: int = 200,
    compactness: float | None = None,
    mask: NDArray[np.bool_] | None = None,
) -> Labels:
    """Divide a volume into about `segments` supervoxels.

    Parameters
    ----------
    values : (Z, Y, X) array of real numbers, all finite
        Grey values; the array is not changed.
    spacing : sequence of 3 float
        Size (z, y, x) of a voxel in mm, above 0.
    method : {"slic", "felzenszwalb", "watershed"}
        Method, see the top of this module.
    segments : int
        Wanted number of supervoxels; the true number may differ.
    compactness : float or None
        Weight of the position relative to the grey value; None takes the value of the method in `COMPACTNESS`.
        Felzenszwalb's method has no compactness.
    mask : (Z, Y, X) bool array or None
        Voxels that get a label; voxels outside get label 0.

    Returns
    -------
    (Z, Y, X) int32 array
        Label map with labels 1, 2, ...

    Raises
    ------
    ProtocolError
        If the method is unknown, or an argument is outside its range.
    """
    steps = tuple(float(s) for s in spacing)
    if values.ndim != 3 or len(steps) != 3 or not all(s > 0 and math.isfinite(s) for s in steps):
        raise ProtocolError(
            f"supervoxels need a volume (z, y, x) and 3 spacings above 0, got shape {values.shape} and spacing {steps}"
        )
    if not 1 <= segments <= values.size:
        raise ProtocolError(f"segments is {segments}, expected 1 to {values.size}, the number of voxels")
    if compactness is not None and method == "felzenszwalb":
        raise ProtocolError("felzenszwalb has no compactness; leave it out, or choose slic or watershed")
    if mask is not None and (mask.shape != values.shape or mask.dtype != np.bool_):
        raise ProtocolError(f"the mask is {mask.dtype} {mask.shape}, expected bool {values.shape}")
    if method == "felzenszwalb":
        labels = felzenszwalb(values, steps, segments=segments)
    elif method in COMPACTNESS:
        weight = COMPACTNESS[method] if compactness is None else compactness
        if not math.isfinite(weight) or weight < 0 or (method == "slic" and weight == 0):
            raise ProtocolError(f"compactness is {weight}, expected a number above 0 (watershed: or 0)")
        made: Callable[..., Labels] = slic if method == "slic" else watershed
        labels = made(values, steps, segments=segments, compactness=weight)
    else:
        raise ProtocolError(f"unknown method {method!r}; allowed: {', '.join(METHODS)}")
    return labels if mask is None else restrict(labels, mask)


def slic(values: NDArray[Any], spacing: Sequence[float], *, segments: int, compactness: float) -> Labels:
    """Return connected SLIC supervoxels; see `partition`."""
    from skimage import segmentation

    # The spacing is divided by its geometric mean, so that one compactness is valid for mm and for micrometres.
    steps = np.asarray(spacing, np.float64)
    even = tuple(steps / steps.prod() ** (1 / 3))
    labels = segmentation.slic(
        scaled(values), segments, compactness, spacing=even, channel_axis=None, start_label=1, enforce_connectivity=True
    )
    return _renumbered(labels)


def watershed(values: NDArray[Any], spacing: Sequence[float], *, segments: int, compactness: float) -> Labels:
    """Return the catchment basins of the gradient around markers on a regular grid in mm; see `partition`."""
    from skimage import segmentation

    markers = even_markers(values.shape, spacing, segments)
    return _renumbered(segmentation.watershed(_slope(scaled(values), spacing), markers, compactness=compactness))


def felzenszwalb(values: NDArray[Any], spacing: Sequence[float], *, segments: int) -> Labels:
    """Return Felzenszwalb's regions of each slice, joined across slices; see the top of this module.

    The scale of observation is found by bisection, so that the number of supervoxels is near `segments`. A region has
    at least a quarter of the cross-section of a cube of the wanted volume.
    """
    image = scaled(values)
    edge = _edge(values.shape, spacing, segments)
    smallest = max(1, round(edge**2 / (spacing[1] * spacing[2]) / 4))
    thickest = max(1, round(edge / spacing[0]))
    low, high = (math.log2(s) for s in _SCALES)
    best: Labels | None = None
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        found = _joined_slices(image, 2**middle, smallest, thickest)
        count = int(found.max())
        if best is None or abs(count - segments) < abs(int(best.max()) - segments):
            best = found
        if count == segments:
            break
        low, high = (middle, high) if count > segments else (low, middle)
    assert best is not None  # noqa: S101 - the loop runs at least once
    return best


def restrict(labels: NDArray[np.integer[Any]], mask: NDArray[np.bool_]) -> Labels:
    """Set the label of voxels outside a mask to 0, and renumber the labels without gaps."""
    return _renumbered(np.where(mask, labels, 0))


def scaled(values: NDArray[Any]) -> Floats:
    """Return a float32 copy scaled so that the 0.5 and 99.5 percentiles become 0 and 1, clipped to [0, 1].

    A constant volume becomes 0.
    """
    low, high = np.percentile(values, [0.5, 99.5])
    if not high > low:  # most voxels are equal, so the full range is used
        low, high = float(values.min()), float(values.max())
    image = np.array(values, np.float32, order="C")
    image -= np.float32(low)
    image /= np.float32(high - low) if high > low else np.float32(1)
    return np.clip(image, 0, 1, out=image)


def even_markers(shape: Sequence[int], spacing: Sequence[float], segments: int) -> Labels:
    """Return about `segments` single voxels with labels 1, 2, ... on a grid that is regular in mm; all others are 0.

    >>> np.argwhere(even_markers((2, 8, 8), (4.0, 1.0, 1.0), 8)).tolist()
    [[0, 2, 2], [0, 2, 6], [0, 6, 2], [0, 6, 6], [1, 2, 2], [1, 2, 6], [1, 6, 2], [1, 6, 6]]
    """
    edge = _edge(shape, spacing, segments)
    places = []
    for length, step in zip(shape, spacing, strict=True):
        count = min(length, max(1, round(length * step / edge)))
        places.append(((np.arange(count) + 0.5) * length / count).astype(np.intp))
    markers = np.zeros(tuple(shape), np.int32)
    grid = np.ix_(*places)
    markers[grid] = np.arange(1, markers[grid].size + 1, dtype=np.int32).reshape(markers[grid].shape)
    return markers


def _edge(shape: Sequence[int], spacing: Sequence[float], segments: int) -> float:
    """Return the edge in mm of a cube with the wanted volume of one supervoxel."""
    return float((math.prod(shape) * math.prod(spacing) / segments) ** (1 / 3))


def _slope(image: Floats, spacing: Sequence[float]) -> Floats:
    """Return the length of the gradient after smoothing; the unit of length is the smallest voxel side.

    The standard deviation of the smoothing is one unit.
    """
    from scipy import ndimage

    finest = min(spacing)
    smooth = ndimage.gaussian_filter(image, [finest / s for s in spacing])
    total = np.zeros_like(image)
    for axis, step in enumerate(spacing):
        if image.shape[axis] > 1:
            total += np.square(np.gradient(smooth, np.float32(step / finest), axis=axis))
    return np.sqrt(total, out=total)


def _joined_slices(image: Floats, scale: float, smallest: int, thickest: int) -> Labels:
    """Divide each slice into regions, and join regions of neighbouring slices that share more than half of their union.

    A label ends after `thickest` slices. A region can share more than half of the union with one other region only, so
    the result does not depend on the order of the regions.
    """
    from skimage import segmentation

    labels = np.zeros(image.shape, np.int32)
    count = 0
    begin = np.zeros(1, np.intp)  # first slice of each label
    for z, plane in enumerate(image):
        regions = segmentation.felzenszwalb(plane, scale, _SMOOTHING, smallest, channel_axis=None)
        sizes = np.bincount(regions.ravel())
        names = np.arange(count + 1, count + sizes.size + 1, dtype=np.int32)
        if z:
            below, inside, shared = _overlaps(labels[z - 1], regions)
            lower = np.bincount(labels[z - 1].ravel(), minlength=below.max() + 1)
            alike = (2 * shared > lower[below] + sizes[inside] - shared) & (z - begin[below] < thickest)
            names[inside[alike]] = below[alike]
        fresh = names > count
        names[fresh] = np.arange(count + 1, count + 1 + int(fresh.sum()), dtype=np.int32)
        count += int(fresh.sum())
        begin = np.append(begin, np.full(int(fresh.sum()), z))
        labels[z] = names[regions]
    return labels


def _overlaps(a: NDArray[Any], b: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Return the labels in `a`, the labels in `b` and the number of shared pixels of all pairs that share pixels."""
    width = int(b.max()) + 1
    code, shared = np.unique(a.astype(np.int64) * width + b, return_counts=True)
    return code // width, code % width, shared


def _renumbered(labels: NDArray[Any]) -> Labels:
    """Return int32 labels 1, 2, ... in the order of the old labels; 0 stays 0."""
    present = np.zeros(int(labels.max()) + 1, bool)
    present[labels.ravel()] = True
    present[0] = False
    return np.cumsum(present, dtype=np.int32)[labels] * (labels > 0)
