"""Zoom-in (Sofiiuk et al., f-BRS, CVPR 2020): from the second click on, the network sees only the area of the object.

The functions are pure geometry on NumPy arrays. A *region* is ``(top, bottom, left, right)`` in pixels of the image,
all inclusive.

>>> mask = np.zeros((400, 600), bool); mask[150:250, 200:300] = True
>>> object_region(mask, [])
(100, 300, 150, 350)
>>> ZoomRule(target=400).size((100, 300, 150, 350))
(400, 400)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rclicks.interaction import Click

__all__ = ["Look", "Region", "ZoomRule", "bounds", "holds_positive", "object_region", "overlap"]

Region = tuple[int, int, int, int]


def bounds(mask: NDArray[np.bool_]) -> Region | None:
    """Return the bounding box of an (H, W) bool mask, or None if it is empty."""
    rows = np.flatnonzero(mask.any(axis=1))
    if not rows.size:
        return None
    columns = np.flatnonzero(mask[rows[0] : rows[-1] + 1].any(axis=0))
    return int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])


def object_region(
    mask: NDArray[np.bool_], clicks: Sequence[Click], expansion: float = 1.4, min_crop: float = 200
) -> Region | None:
    """Return the region around `mask` and the positive clicks, or None if the mask is empty.

    The bounding box of both is enlarged `expansion` times around its centre, but to at least `min_crop` pixels along
    each side (0: no minimum). It is rounded half to even and cut at the image border.
    """
    box = bounds(mask)
    if box is None:
        return None
    rows = [box[0], box[1], *(c.point[0] for c in clicks if c.positive)]
    columns = [box[2], box[3], *(c.point[1] for c in clicks if c.positive)]
    height, width = mask.shape
    return (
        *_widened(min(rows), max(rows), height, expansion, min_crop),
        *_widened(min(columns), max(columns), width, expansion, min_crop),
    )


def _widened(low: int, high: int, length: int, expansion: float, least: float) -> tuple[int, int]:
    centre, size = 0.5 * (low + high), max(expansion * (high - low + 1), least)
    return max(0, round(centre - 0.5 * size)), min(length - 1, round(centre + 0.5 * size))


def overlap(one: Region, two: Region) -> float:
    """Return the product of the IoU of the row intervals and the IoU of the column intervals.

    This is not the IoU of the two rectangles.
    """

    def along(a: int, b: int, c: int, d: int) -> float:
        return max(0, min(b, d) - max(a, c) + 1) / max(1e-6, max(b, d) - min(a, c) + 1)

    return along(*one[:2], *two[:2]) * along(*one[2:], *two[2:])


def holds_positive(region: Region, clicks: Sequence[Click]) -> bool:
    """Return whether all positive clicks lie in the region.

    As in the published code, the last row and the last column of the region count as outside.
    """
    top, bottom, left, right = region
    return all(top <= c.point[0] < bottom and left <= c.point[1] < right for c in clicks if c.positive)


@dataclass(frozen=True)
class Look:
    """Part of the image that the network sees in a round.

    Attributes
    ----------
    region : Region or None
        Region that is cropped; None for the whole image at its own size.
    size : tuple of int
        (height, width) of the network input.
    changed : bool
        Whether the region differs from that of the last round.
    paste : Region or None
        Region into which the prediction is written; None for the whole image. It differs from `region` only because
        of the published flaw described at `ZoomRule.published_paste`.
    """

    region: Region | None
    size: tuple[int, int]
    changed: bool = False
    paste: Region | None = None

    def inside(self, point: tuple[int, ...]) -> tuple[float, float]:
        """Return the (row, column) position in the network input of a (row, column) position in the image."""
        if self.region is None:
            return float(point[0]), float(point[1])
        top, bottom, left, right = self.region
        height, width = self.size
        return height * (point[0] - top) / (bottom - top + 1), width * (point[1] - left) / (right - left + 1)


@dataclass(frozen=True)
class ZoomRule:
    """Rule that decides when and how to zoom in.

    Attributes
    ----------
    target : int or (height, width)
        Length of the longer side of the network input in pixels, or its exact size (the aspect ratio then changes).
    skip_clicks : int
        Number of rounds without zoom. With -1, the whole image is resized in the first round too.
    expansion, min_crop : float
        Factor and smallest side in pixels of the region; see `object_region`.
    recompute_below : float
        Value of `overlap` below which a new region replaces the current one.
    threshold : float
        Probability above which a pixel belongs to the object. RITM uses 0.5 here, but 0.49 for its masks.
    published_paste : bool
        Whether to reproduce a flaw of the published code. If the object vanishes after a zoomed round, the network sees
        the whole image again. Published code then writes this prediction into the last region (True). The correct
        rule writes it to the whole image and drops the region (False).
    """

    target: int | tuple[int, int] = 400
    skip_clicks: int = 1
    expansion: float = 1.4
    min_crop: float = 200
    recompute_below: float = 0.5
    threshold: float = 0.5
    published_paste: bool = False

    def size(self, region: Region) -> tuple[int, int]:
        """Return (height, width) of the network input for `region`; crops may be enlarged."""
        if not isinstance(self.target, int):
            return self.target
        height, width = region[1] - region[0] + 1, region[3] - region[2] + 1
        scale = self.target / max(height, width)
        return max(1, round(height * scale)), max(1, round(width * scale))

    def candidate(self, probability: NDArray[np.float32] | None, clicks: Sequence[Click]) -> Region | None:
        """Return the region of the last prediction, an (H, W) array; None if it is None or has no object."""
        if probability is None:
            return None
        return object_region(probability > self.threshold, clicks, self.expansion, self.min_crop)

    def look(
        self,
        shape: tuple[int, int],
        stored: Region | None,
        probability: NDArray[np.float32] | None,
        clicks: Sequence[Click],
    ) -> Look:
        """Return the part of the image that the network sees in the next round.

        Parameters
        ----------
        shape : tuple of int
            (H, W) of the image.
        stored : Region or None
            Region of the last round.
        probability : (H, W) float32 array or None
            Probabilities of the last round.
        clicks : sequence of Click
            All clicks including the new one.
        """
        found = self.candidate(probability, clicks) if len(clicks) > self.skip_clicks else None
        if found is None and (self.skip_clicks >= 0 or len(clicks) <= self.skip_clicks):
            return Look(None, shape, paste=stored if self.published_paste else None)
        region = found or (0, shape[0] - 1, 0, shape[1] - 1)
        if stored is not None and holds_positive(stored, clicks) and overlap(region, stored) >= self.recompute_below:
            return Look(stored, self.size(stored), paste=stored)
        return Look(region, self.size(region), True, region)

    def wants_second_look(self, look: Look, probability: NDArray[np.float32]) -> bool:
        """Return whether a first prediction without zoom found an object so small that a zoomed prediction is needed.

        This happens only with ``skip_clicks=0``, which none of the published settings uses.
        """
        if look.paste is not None or self.skip_clicks > 0:
            return False
        found = self.candidate(probability, [])
        height, width = probability.shape
        return found is not None and overlap(found, (0, height - 1, 0, width - 1)) < 0.5
