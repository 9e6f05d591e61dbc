"""A volume as a stack of 8-bit RGB images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rclicks.errors import DataError
from rclicks.intensity import gray_to_rgb, to_uint8
from rclicks.models.slicewise.slices import drop, grey_window, slice_axis, take_slice
from rclicks.sample import Sample

__all__ = ["Stack"]


class Stack:
    """The slices of a volume as images, made on request; the volume itself is neither copied nor changed.

    Parameters
    ----------
    sample : Sample
        Sample with a volume (Z, Y, X).
    axis : 0, 1, 2 or "auto"
        See `rclicks.models.slicewise.slices.slice_axis`.
    window : "percentiles" or (low, high)
        See `rclicks.models.slicewise.slices.grey_window`.

    Raises
    ------
    DataError
        If the sample is not a volume, or a value is not finite.
    """

    def __init__(self, sample: Sample, axis: object, window: str | tuple[float, float]) -> None:
        if sample.image.ndim != 3 or len(sample.spacing) != 3:
            raise DataError(
                f"{sample.dataset}/{sample.id} of shape {sample.image.shape} is not a volume; "
                "use the 2-D model itself for images"
            )
        self.volume = sample.image
        self.shape = sample.shape
        self.spacing = sample.spacing
        self.axis = slice_axis(axis, sample.spacing)
        self.window = grey_window(sample.image, window)
        self._names = sample.dataset, sample.id

    def __len__(self) -> int:
        return self.shape[self.axis]

    @property
    def plane(self) -> tuple[int, ...]:
        """(height, width) of a slice."""
        return drop(self.shape, self.axis)

    @property
    def plane_spacing(self) -> tuple[float, ...]:
        """Size (row, column) of a pixel of a slice, in mm."""
        return drop(self.spacing, self.axis)

    def image(self, index: int) -> NDArray[np.uint8]:
        """Return the (height, width, 3) uint8 RGB image of a slice."""
        return gray_to_rgb(to_uint8(take_slice(self.volume, self.axis, index), *self.window))

    def sample(self, index: int) -> Sample:
        """Return a slice as a 2-D sample without targets."""
        dataset, name = self._names
        return Sample(dataset, f"{name}/{self.axis}/{index}", self.image(index), spacing=self.plane_spacing)
