"""Clicks as network input: point tensors, disks and distance maps of the RITM family.

A *point row* is ``(row, column, order, positive)``. Row and column are in pixels of the network input, with pixel
centres at integers; they are floats because zooming scales the clicks. `order` is the number of earlier clicks.

>>> point_tensor([[(3.0, 4.0, 0, True)], [(1.0, 2.0, 0, True), (5.0, 5.0, 1, True)]]).shape
torch.Size([2, 4, 3])
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["PointRow", "disk_maps", "mirrored", "point_tensor", "tanh_maps"]

PointRow = tuple[float, float, int, bool]

# Squared distance (pixels) of a map without points, larger than any distance in an image.
FAR = 1e6


def point_tensor(slots: Sequence[Sequence[PointRow]], limit: int | None = None) -> torch.Tensor:
    """Return the points of B slots as (B, 2N, 3) float32 rows (row, column, order), padded with -1.

    The first N rows of a slot are its positive clicks, the last N rows its negative clicks. N is the largest number of
    clicks of one sign in any slot, at least 1. Padding does not change any map. With `limit` only the first `limit`
    clicks of each slot are used.
    """
    import torch

    slots = [slot[:limit] for slot in slots]
    count = max([1, *(sum(bool(p[3]) is sign for p in slot) for slot in slots for sign in (True, False))])
    points = torch.full((len(slots), 2 * count, 3), -1.0)
    for b, slot in enumerate(slots):
        for first, sign in ((0, True), (count, False)):
            rows = [p[:3] for p in slot if bool(p[3]) is sign]
            if rows:
                points[b, first : first + len(rows)] = torch.tensor(rows, dtype=torch.float32)
    return points


def mirrored(slot: Sequence[PointRow], width: int) -> list[PointRow]:
    """Return the point rows after a horizontal flip of a network input that is `width` pixels wide."""
    return [(row, width - 1 - column, order, positive) for row, column, order, positive in slot]


def disk_maps(points: torch.Tensor, size: tuple[int, int], radius: float) -> torch.Tensor:
    """Return disks around the points as (B, 2, H, W) float32 maps (Sofiiuk et al., RITM, 2021).

    The first channel is 1 within `radius` pixels (inclusive) of a positive point and 0 elsewhere, the second channel
    the same for negative points. Points whose larger coordinate is negative are padding. Only the area around each
    point is computed, so time and memory do not grow with the number of points times the number of pixels.
    """
    import torch

    height, width = size
    slots, twice = points.shape[:2]
    maps = torch.zeros((slots, 2, height, width), dtype=torch.float32, device=points.device)
    squared = radius * radius
    for b, slot in enumerate(points.tolist()):
        for k, (row, column, _) in enumerate(slot):
            if max(row, column) < 0:
                continue
            top, bottom = max(0, math.floor(row - radius)), min(height, math.ceil(row + radius) + 1)
            left, right = max(0, math.floor(column - radius)), min(width, math.ceil(column + radius) + 1)
            if top >= bottom or left >= right:
                continue
            down, along = _squares(points[b, k], range(top, bottom), range(left, right))
            maps[b, 2 * k // twice, top:bottom, left:right][down[:, None] + along[None] <= squared] = 1
    return maps


def tanh_maps(points: torch.Tensor, size: tuple[int, int], norm_radius: float) -> torch.Tensor:
    """Return (B, 2, H, W) float32 maps tanh(2 d / norm_radius), positive points first, then negative ones.

    d is the distance in pixels to the nearest point of the sign. A map without points of the sign is 1 everywhere.
    """
    import torch

    height, width = size
    slots, twice = points.shape[:2]
    maps = torch.full((slots, 2, height, width), FAR, dtype=torch.float32, device=points.device)
    for b, slot in enumerate(points.tolist()):
        for k, (row, column, _) in enumerate(slot):
            if max(row, column) < 0:
                continue
            down, along = _squares(points[b, k], range(height), range(width), norm_radius)
            part = maps[b, 2 * k // twice]
            torch.minimum(part, down[:, None] + along[None], out=part)
    return maps.sqrt_().mul_(2).tanh_()


def _squares(point: torch.Tensor, rows: range, columns: range, unit: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the squared distances of `rows` and of `columns` to `point`, in units of `unit` pixels, float32."""
    import torch

    down = torch.arange(rows.start, rows.stop, dtype=torch.float32, device=point.device) - point[0]
    along = torch.arange(columns.start, columns.stop, dtype=torch.float32, device=point.device) - point[1]
    if unit != 1.0:
        down, along = down / unit, along / unit
    return down * down, along * along
