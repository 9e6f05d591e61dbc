"""Clicks as network input: point tensors, disks and distance maps of the RITM family.

A *point row* is ``(row, column, order, positive)`` in pixels of the network input: floats, because zooming scales
clicks, with pixel centres at integers. `order` is the number of clicks placed before.

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

# Squared distance of a padding point, larger than that of any real one.
FAR = 1e6


def point_tensor(slots: Sequence[Sequence[PointRow]], limit: int | None = None) -> torch.Tensor:
    """Return (B, 2N, 3) float32 rows (row, column, order): N positive then N negative ones, padded with -1.

    N is the largest number of clicks of one sign in any lane, at least 1; padding does not change any map. With
    `limit` only the first `limit` clicks of each lane are used.
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
    """Return the rows of the horizontally flipped input of `width` pixels."""
    return [(row, width - 1 - column, order, positive) for row, column, order, positive in slot]


def disk_maps(points: torch.Tensor, size: tuple[int, int], radius: float) -> torch.Tensor:
    """Return (B, 2, H, W) float32 maps, 1 within `radius` pixels (inclusive) of a positive / negative point, else 0.

    Only the surroundings of each point are visited, so memory and time do not grow with points times pixels. Points
    whose larger coordinate is negative are padding (Sofiiuk et al., RITM, 2021).
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
    """Return (B, 2, H, W) float32 maps tanh(2 d / norm_radius), d = distance in pixels to the nearest point of a sign.

    1 where a lane has no point of that sign.
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
