"""Recorded clicks of several people on the same error, the unit of training and evaluation of click models."""

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
    """The decoded image, object and error that people saw.

    Attributes
    ----------
    image : (H, W, 3) uint8 array
        RGB image.
    mask : (H, W) array
        Reference mask of the object, bool or float in [0, 1].
    error : (H, W) array
        Error that people should correct, bool or float in [0, 1]; in the first round it equals `mask`.
    """

    image: NDArray[np.uint8]
    mask: NDArray[Any]
    error: NDArray[Any]


@dataclass(frozen=True, eq=False)
class ClickItem:
    """All recorded clicks on one object in one round.

    Attributes
    ----------
    key : str
        Name that is unique within the data set.
    dataset : str
        Name of the data set.
    sample : str
        Id of the sample.
    object : str
        Id of the object.
    kind : {"first", "fn", "fp"}
        Kind of the error: first round, false negatives, or false positives.
    points : (n, 2) int64 array
        Clicks as (row, column) in pixels, inside the image.
    devices : tuple of str
        Device of each click: "pc", "mobile" or "".
    load : callable
        Pure function that decodes the scene.
    """

    key: str
    dataset: str
    sample: str
    object: str
    kind: str
    points: NDArray[np.int64]
    devices: tuple[str, ...]
    load: Callable[[], Scene]
