"""Read images and masks of raters in many forms: lossy or soft masks, palettes, GIFs, alpha channels, NumPy arrays.

A file that exists but cannot be read is an error; it is never treated as a missing file. The same holds for a broken
link.

>>> binary(np.array([[0, 255]], np.uint8), MaskRules(), Path("p1.png")).tolist()
[[False, True]]
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rclicks.data.images import read_labels, read_mask
from rclicks.errors import DataError, ProtocolError
from rclicks.intensity import gray_to_rgb, percentile_window, to_uint8
from rclicks.sample import Mask

__all__ = ["ImageWithSpacing", "MaskRules", "binary", "gray_picture", "read_array", "read_picture", "read_values"]

SHOWN = 5  # largest number of values in a message
MARKS = (1, 255, 65535)  # possible object values in masks with two values


class ImageWithSpacing(NamedTuple):
    """An (H, W, 3) uint8 RGB image, and its pixel size (row, column) in mm; 1.0 if unknown."""

    pixels: NDArray[np.uint8]
    spacing: tuple[float, float] = (1.0, 1.0)


@dataclass(frozen=True)
class MaskRules:
    """Rules for the object pixels of a mask file.

    Attributes
    ----------
    threshold : int or None
        Largest value of background pixels (of the brightest channel), for masks that are lossy or soft. None: the
        channels must be equal and contain only 0 and one of the values 1, 255 and 65535. Other files are refused.
    invert : bool
        True if the object is dark and the background bright.
    """

    threshold: int | None = None
    invert: bool = False

    def __post_init__(self) -> None:
        """Refuse values of another type with a `ProtocolError`."""
        number = self.threshold
        if number is not None and (not isinstance(number, (int, float)) or isinstance(number, bool)):
            raise ProtocolError(
                f"threshold is {number!r}; expected a number, for example 127: brighter pixels belong to the object"
            )
        if not isinstance(self.invert, bool):
            raise ProtocolError(f"invert is {self.invert!r}; expected true or false")


def binary(stored: NDArray[Any], rules: MaskRules, path: Path) -> Mask:
    """Return the object pixels of a mask as an (H, W) bool array.

    Parameters
    ----------
    stored : (H, W) or (H, W, 3) array
        Mask as stored in the file.
    rules : MaskRules
        Rules for the object pixels.
    path : Path
        Path of the file, for messages.

    Raises
    ------
    DataError
        If the mask has more than two values and there is no threshold, or has values that are NaN or infinite.
    """
    if stored.dtype.kind == "f" and not np.isfinite(stored).all():
        raise DataError(f"{path} has values that are NaN or infinite; expected 0 for the background: correct the file")
    if rules.threshold is not None:
        level = stored if stored.ndim == 2 else stored.max(axis=2)
        return np.asarray((level > rules.threshold) != rules.invert)
    if stored.ndim == 3 and (stored != stored[..., :1]).any():
        raise DataError(
            f"{path} is a colour image; expected a mask of 0 and 255 (or 0 and 1). Pass threshold=VALUE to use the "
            "pixels that are brighter in any channel"
        )
    level = stored if stored.ndim == 2 else stored[..., 0]
    values = np.unique(level)
    high = [float(v) for v in values if v != 0]
    if len(high) > 1 or any(v not in MARKS for v in high):
        listed = ", ".join(f"{v:g}" for v in values[:SHOWN].tolist()) + (", ..." if len(values) > SHOWN else "")
        raise DataError(
            f"{path} holds {len(values)} values ({listed}); expected 0 and one of {', '.join(map(str, MARKS))}. If the "
            "mask is lossy or soft, pass threshold=VALUE, for example 127. If its values are objects, pass "
            "objects=ids if the data set has this option"
        )
    return np.asarray((level != 0) != rules.invert)


def read_array(path: Path) -> NDArray[Any]:
    """Return a mask as stored, (H, W) or (H, W, 3); for a .npy file its array.

    Palettes are converted to their colours. Values of 16 bit keep their type.

    Raises
    ------
    DataError
        If the file is missing or damaged, has several frames, or has transparent parts, whose meaning is not clear.
    """
    if path.suffix.lower() == ".npy":
        return _read_npy(path)
    stored = _read_pixels(path)
    _refuse_unclear(path)
    return stored


def read_values(path: Path) -> NDArray[Any]:
    """Return a mask whose values are objects as (H, W) integers; for a palette PNG the indices.

    Raises
    ------
    DataError
        As `read_array`; also if the values are not integers, or the channels differ.
    """
    if path.suffix.lower() not in (".npy", ".gif"):
        _read_pixels(path)  # refuses broken links with a clear message
        _refuse_unclear(path)
        return read_labels(path)
    stored = read_array(path)
    if stored.dtype.kind not in "bui" or (stored.ndim == 3 and (stored != stored[..., :1]).any()):
        raise DataError(f"{path} holds {stored.dtype} {stored.shape}; expected integers in one channel as labels")
    return stored if stored.ndim == 2 else stored[..., 0]


def read_picture(path: Path, window: tuple[float, float] | None = None) -> ImageWithSpacing:
    """Return an image as 8-bit RGB; for a GIF the first frame.

    Parameters
    ----------
    path : Path
        Path of the image.
    window : (low, high) or None
        Grey values that become 0 and 255. With None, images of 8 bit are not changed, and other images are stretched
        between the 0.5 and 99.5 percentiles of the values above 0.

    Raises
    ------
    DataError
        If the file is missing, damaged or no image, or has values that are NaN or infinite.
    """
    stored = _read_pixels(path)
    if stored.ndim == 3:
        stored = stored[..., ::-1]
    return gray_picture(stored, path, window)


def gray_picture(
    stored: NDArray[Any],
    path: Path,
    window: tuple[float, float] | None = None,
    spacing: tuple[float, float] = (1.0, 1.0),
) -> ImageWithSpacing:
    """Return (H, W) grey or (H, W, 3) RGB values of any type as an `ImageWithSpacing`, see `read_picture`."""
    if stored.dtype != np.uint8 or window is not None:
        if not np.isfinite(stored).all():
            raise DataError(f"{path} has values that are NaN or infinite; correct the file")
        stored = to_uint8(stored, *(window or percentile_window(stored)))
    return ImageWithSpacing(np.ascontiguousarray(stored if stored.ndim == 3 else gray_to_rgb(stored)), spacing)


def _read_npy(path: Path) -> NDArray[Any]:
    try:
        found = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing") from error
    except (OSError, ValueError, EOFError, MemoryError) as error:
        raise DataError(f"{path} is damaged or no plain NumPy array: {error}; download it again") from error
    if not isinstance(found, np.ndarray) or found.ndim not in (2, 3) or found.dtype.kind not in "biuf":
        raise DataError(f"{path} contains no mask; expected an array (H, W) or (H, W, channels) of numbers")
    return found


def _read_pixels(path: Path) -> NDArray[np.uint8]:
    """Return an image as stored, in OpenCV's channel order."""
    if path.is_symlink() and not path.exists():
        raise DataError(f"{path} is a broken link; download the file to which it points, or remove the link")
    if path.suffix.lower() == ".gif":
        return _read_gif(path)
    try:
        return read_mask(path)
    except MemoryError as error:
        raise DataError(f"{path} is damaged, or too large for the memory of this machine; download it again") from error


def _read_gif(path: Path) -> NDArray[np.uint8]:
    """Return the first frame in the channel order blue, green, red, like OpenCV, which cannot always read GIF."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))[..., ::-1]
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing") from error
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} is damaged or no image: {error}; download it again") from error


def _refuse_unclear(path: Path) -> None:
    """Refuse a mask that has several frames, or an alpha channel that is not opaque everywhere."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            frames, alpha = getattr(image, "n_frames", 1), None
            if "A" in image.getbands() or "transparency" in image.info:
                alpha = np.asarray(image.convert("RGBA").getchannel("A"))
    except UnidentifiedImageError:  # a format that only OpenCV knows
        return
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} is damaged or too large: {error}; download it again") from error
    if frames > 1:
        raise DataError(
            f"{path} holds {frames} frames, so it is not clear which frame is the mask; save only this frame"
        )
    if alpha is not None and (alpha != 255).any():
        raise DataError(
            f"{path} has transparent parts, so it is not clear which pixels are the object; save it without an alpha "
            "channel"
        )
