"""Zoom-in (Sofiiuk et al., f-BRS, CVPR 2020): from the second click on, look only at the surroundings of the object.

Pure geometry on NumPy arrays. A *region* is ``(top, bottom, left, right)``, all inclusive, in pixels of the image.

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

    Their common bounding box is enlarged `expansion` times about its centre, to at least `min_crop` pixels a side
    (0: no minimum), rounded half to even, and cut at the image border.
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
    """Return the product of the intervals' IoU over rows and over columns (not the IoU of the rectangles)."""

    def along(a: int, b: int, c: int, d: int) -> float:
        return max(0, min(b, d) - max(a, c) + 1) / max(1e-6, max(b, d) - min(a, c) + 1)

    return along(*one[:2], *two[:2]) * along(*one[2:], *two[2:])


def holds_positive(region: Region, clicks: Sequence[Click]) -> bool:
    """Return whether all positive clicks lie in the region; its last row and column count as outside, as published."""
    top, bottom, left, right = region
    return all(top <= c.point[0] < bottom and left <= c.point[1] < right for c in clicks if c.positive)


@dataclass(frozen=True)
class Look:
    """What part of the image the network sees next.

    Attributes
    ----------
    region : Region or None
        The crop; None for the whole image as it is.
    size : tuple of int
        (height, width) of the network input.
    changed : bool
        True if the region was chosen anew.
    paste : Region or None
        Where the prediction goes; differs from `region` only by the published flaw of `ZoomRule.published_paste`.
    """

    region: Region | None
    size: tuple[int, int]
    changed: bool = False
    paste: Region | None = None

    def inside(self, point: tuple[int, ...]) -> tuple[float, float]:
        """Return where (row, column) of the image lies in the network input."""
        if self.region is None:
            return float(point[0]), float(point[1])
        top, bottom, left, right = self.region
        height, width = self.size
        return height * (point[0] - top) / (bottom - top + 1), width * (point[1] - left) / (right - left + 1)


@dataclass(frozen=True)
class ZoomRule:
    """When and how to zoom in.

    Attributes
    ----------
    target : int or (height, width)
        Long side of the network input in pixels, or its exact size (aspect ratio not kept).
    skip_clicks : int
        Rounds without zoom; -1 resizes the first round too (of the whole image).
    expansion, min_crop : float
        See `object_region`.
    recompute_below : float
        A new region is taken when its `overlap` with the present one is smaller.
    threshold : float
        Probability above which a pixel belongs to the object; 0.5 in RITM although its masks are cut at 0.49.
    published_paste : bool
        If the object vanishes after a zoomed round, the whole image is shown again. Published code then squeezes that
        prediction into the last region; False puts it where it belongs and forgets the region.
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
        """Return the region of the last prediction, (H, W), or None if there is none or it is empty."""
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
        """Return what to look at.

        Parameters
        ----------
        shape : tuple of int
            (H, W) of the image.
        stored : Region or None
            The region of the last round.
        probability : (H, W) float32 array or None
            The last prediction.
        clicks : sequence of Click
            All clicks, the new one included.
        """
        found = self.candidate(probability, clicks) if len(clicks) > self.skip_clicks else None
        if found is None and (self.skip_clicks >= 0 or len(clicks) <= self.skip_clicks):
            return Look(None, shape, paste=stored if self.published_paste else None)
        region = found or (0, shape[0] - 1, 0, shape[1] - 1)
        if stored is not None and holds_positive(stored, clicks) and overlap(region, stored) >= self.recompute_below:
            return Look(stored, self.size(stored), paste=stored)
        return Look(region, self.size(region), True, region)

    def wants_second_look(self, look: Look, probability: NDArray[np.float32]) -> bool:
        """Return whether the first, unzoomed prediction is so small that the network should look again, zoomed in.

        Only with ``skip_clicks=0``, which none of the published settings uses.
        """
        if look.paste is not None or self.skip_clicks > 0:
            return False
        found = self.candidate(probability, [])
        height, width = probability.shape
        return found is not None and overlap(found, (0, height - 1, 0, width - 1)) < 0.5
