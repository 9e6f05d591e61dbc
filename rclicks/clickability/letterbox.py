"""Fit an image into a box of fixed size without changing its aspect ratio, and convert maps back to the image.

The image is scaled until it touches two opposite sides of the box, and it is centred between the other two sides. The
click models of the RClicks paper (Antonov et al. 2024) use a box of 416 x 416 pixels, its saliency model (TranSalNet,
Lou et al. 2022) one of 288 x 384 pixels.

>>> Letterbox.of((100, 150), (416, 416))
Letterbox(image=(100, 150), box=(416, 416), rows=(69, 346), columns=(0, 416))
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["Letterbox", "cover"]


@dataclass(frozen=True)
class Letterbox:
    """Position of an image in its box.

    Attributes
    ----------
    image : (int, int)
        Height and width of the image in pixels.
    box : (int, int)
        Height and width of the box in pixels.
    rows, columns : (int, int)
        Rows and columns of the box that the scaled image fills, each as (first, last + 1).
    """

    image: tuple[int, int]
    box: tuple[int, int]
    rows: tuple[int, int]
    columns: tuple[int, int]

    @classmethod
    def of(cls, image: tuple[int, int], box: tuple[int, int]) -> Letterbox:
        """Return the position of an image of size `image` in a box of size `box`, both (height, width) in pixels.

        The scaled side is rounded down, but not below one pixel. So an image of 1 x 1000 pixels keeps one row;
        published code fails in this case.
        """
        (height, width), (box_height, box_width) = image, box
        new_height, new_width = box
        if height / box_height > width / box_width:
            new_width = max(1, width * box_height // height)
        else:
            new_height = max(1, height * box_width // width)
        top, left = (box_height - new_height) // 2, (box_width - new_width) // 2
        return cls(image, box, (top, top + new_height), (left, left + new_width))

    def put(self, array: NDArray[Any], fill: float = 0) -> NDArray[Any]:
        """Return an array scaled into the box: bilinear, half-pixel centres, no antialiasing.

        Parameters
        ----------
        array : (H, W) or (H, W, C) array
            Array of dtype float32, float64 or uint8; values of uint8 are rounded.
        fill : float
            Value of the rest of the box.

        Returns
        -------
        (box height, box width) or (box height, box width, C) array
            Scaled array of the same dtype.
        """
        size = (self.columns[1] - self.columns[0], self.rows[1] - self.rows[0])
        made = np.full((*self.box, *array.shape[2:]), fill, array.dtype)
        scaled = cv2.resize(np.ascontiguousarray(array), size, interpolation=cv2.INTER_LINEAR)
        made[slice(*self.rows), slice(*self.columns)] = scaled.reshape(size[1], size[0], *array.shape[2:])
        return made

    def take(self, boxed: NDArray[np.float32], *, antialias: bool = False) -> NDArray[np.float32]:
        """Return a map of the box as a map of the image: cropped, then resized (bilinear, half-pixel centres).

        Parameters
        ----------
        boxed : (box height, box width) float32 array
            Map of the box.
        antialias : bool
            Whether the map is smoothed before it is made smaller, which happens if the image is smaller than the box.
            In published code torchvision's ``Resize`` decides this: its default for tensors was False up to version
            0.16 and is True since 0.17. The golden files ``padding_416`` and ``rclicks_clickability_segnext_*``
            need True (they were made with 0.28), the fixture ``clickability_forward`` needs False.

        Returns
        -------
        (H, W) float32 array
            Values within the range of the cropped map, except for rounding.
        """
        cut = np.ascontiguousarray(boxed[slice(*self.rows), slice(*self.columns)], np.float32)
        size = (self.image[1], self.image[0])
        if antialias:
            return np.asarray(Image.fromarray(cut).resize(size, Image.Resampling.BILINEAR), np.float32)
        return np.asarray(cv2.resize(cut, size, interpolation=cv2.INTER_LINEAR), np.float32)


def cover(array: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Return an array scaled until it covers `size` and cropped around its centre, as TranSalNet does for its maps.

    It is the inverse of `Letterbox.put`, except for the rounding of sizes.

    Parameters
    ----------
    array : (h, w) array
        Array of dtype float32, float64 or uint8.
    size : (int, int)
        Height and width of the result in pixels.

    Returns
    -------
    (height, width) array
        Scaled array of the same dtype.
    """
    height, width = size
    scaled_height, scaled_width = size
    if height / array.shape[0] > width / array.shape[1]:
        scaled_width = array.shape[1] * height // array.shape[0]
    else:
        scaled_height = array.shape[0] * width // array.shape[1]
    scaled = cv2.resize(array, (scaled_width, scaled_height), interpolation=cv2.INTER_LINEAR)
    top, left = (scaled_height - height) // 2, (scaled_width - width) // 2
    return np.asarray(scaled[top : top + height, left : left + width])
