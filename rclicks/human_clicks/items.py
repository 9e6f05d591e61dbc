"""Real clicks of several people on the same error, the unit of training and evaluation of click models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["KINDS", "ClickItem", "Scene"]

KINDS = ("first", "fn", "fp")


@dataclass(frozen=True, eq=False)
class Scene:
    """What people saw, decoded.

    Attributes
    ----------
    image : (H, W, 3) uint8 array
        RGB.
    mask : (H, W) array
        The object; bool, or float in [0, 1].
    error : (H, W) array
        What they were asked to mend; equals `mask` in the first round. bool, or float in [0, 1].
    """

    image: NDArray[np.uint8]
    mask: NDArray[Any]
    error: NDArray[Any]


@dataclass(frozen=True, eq=False)
class ClickItem:
    """All real clicks on one object in one round.

    Attributes
    ----------
    key : str
        Unique name within the data set.
    dataset, sample, object : str
    kind : {"first", "fn", "fp"}
        First round, missed object, or wrongly taken background.
    points : (n, 2) int64 array
        (row, column) of each click, inside the image.
    devices : tuple of str
        "pc", "mobile" or "" of each click.
    load : callable
        Decodes the scene; pure.
    """

    key: str
    dataset: str
    sample: str
    object: str
    kind: str
    points: NDArray[np.int64]
    devices: tuple[str, ...]
    load: Callable[[], Scene]
