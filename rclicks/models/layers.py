"""Layers that several networks use."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["ScaleLayer"]


class ScaleLayer(nn.Module):
    """Layer that multiplies its input by the absolute value of one learned number."""

    def __init__(self, value: float = 0.05) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((1,), value))

    def forward(self, x: Tensor) -> Tensor:
        """Return |scale| * x."""
        return x * self.scale.abs()
