"""Read images and masks as raters leave them: lossy or soft masks, palettes, GIFs, alpha channels, arrays of NumPy.

A file that is there and cannot be read, a link that leads nowhere too, is an error and never taken for an absent one.

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

SHOWN = 5  # values in a message
MARKS = (1, 255, 65535)  # what stands for "drawn" in masks of two values


class ImageWithSpacing(NamedTuple):
    """An image (H, W, 3) uint8 RGB, and the size of its pixels (row, column) in mm, 1.0 where unknown."""

    pixels: NDArray[np.uint8]
    spacing: tuple[float, float] = (1.0, 1.0)


@dataclass(frozen=True)
class MaskRules:
    """How a mask file says what was drawn.

    Attributes
    ----------
    threshold : int or None
        Drawn is what lies above it (of colours the brightest channel), for lossy or soft masks. None: the file must
        have equal channels and hold 0 and one of 1, 255 and 65535 alone; any other is refused, not guessed at.
    invert : bool
        True where the foreground is dark.
    """

    threshold: int | None = None
    invert: bool = False

    def __post_init__(self) -> None:
        """Refuse what is no number, and what is neither true nor false."""
        number = self.threshold
        if number is not None and (not isinstance(number, (int, float)) or isinstance(number, bool)):
            raise ProtocolError(f"threshold is {number!r}; expected a number, say 127: what is brighter was drawn")
        if not isinstance(self.invert, bool):
            raise ProtocolError(f"invert is {self.invert!r}; expected true or false")


def binary(stored: NDArray[Any], rules: MaskRules, path: Path) -> Mask:
    """Return what is drawn in a mask as (H, W) bool.

    Parameters
    ----------
    stored : (H, W) or (H, W, 3) array
    rules : MaskRules
    path : Path
        For messages.

    Raises
    ------
    DataError
        If the mask does not hold two values and no threshold says how to part them, or holds what is no number.
    """
    if stored.dtype.kind == "f" and not np.isfinite(stored).all():
        raise DataError(
            f"{path} has values that are NaN or infinite; expected 0 where nothing was drawn: mend the file"
        )
    if rules.threshold is not None:
        level = stored if stored.ndim == 2 else stored.max(axis=2)
        return np.asarray((level > rules.threshold) != rules.invert)
    if stored.ndim == 3 and (stored != stored[..., :1]).any():
        raise DataError(
            f"{path} is a colour image; expected a mask of 0 and 255 (or 0 and 1). Pass threshold=VALUE to take what "
            "is brighter in any channel"
        )
    level = stored if stored.ndim == 2 else stored[..., 0]
    values = np.unique(level)
    high = [float(v) for v in values if v != 0]
    if len(high) > 1 or any(v not in MARKS for v in high):
        shown = ", ".join(f"{v:g}" for v in values[:SHOWN].tolist()) + (", ..." if len(values) > SHOWN else "")
        raise DataError(
            f"{path} holds {len(values)} values ({shown}); expected 0 and one of {', '.join(map(str, MARKS))}. If it "
            "is lossy or soft, pass threshold=VALUE, say 127; if its values are objects, objects=ids where the set has "
            "that option"
        )
    return np.asarray((level != 0) != rules.invert)


def read_array(path: Path) -> NDArray[Any]:
    """Return a mask as stored, (H, W) or (H, W, 3); of a .npy file its array.

    Palettes come as their colours, 16 bit stay 16 bit.

    Raises
    ------
    DataError
        If the file is missing or damaged, has several frames, or transparent parts: they could be what was drawn.
    """
    if path.suffix.lower() == ".npy":
        return _read_npy(path)
    stored = _read_pixels(path)
    _refuse_unclear(path)
    return stored


def read_values(path: Path) -> NDArray[Any]:
    """Return a mask whose values are objects as (H, W) whole numbers; of a palette PNG the indices.

    Raises
    ------
    DataError
        As `read_array`; also if the values are fractions, or colours.
    """
    if path.suffix.lower() not in (".npy", ".gif"):
        _read_pixels(path)  # whose refusals name the file
        _refuse_unclear(path)
        return read_labels(path)
    stored = read_array(path)
    if stored.dtype.kind not in "bui" or (stored.ndim == 3 and (stored != stored[..., :1]).any()):
        raise DataError(f"{path} holds {stored.dtype} {stored.shape}; expected whole numbers in one channel as labels")
    return stored if stored.ndim == 2 else stored[..., 0]


def read_picture(path: Path, window: tuple[float, float] | None = None) -> ImageWithSpacing:
    """Return an image as 8-bit RGB; of a GIF the first frame.

    Parameters
    ----------
    window : (low, high) or None
        Grey values that become 0 and 255. None leaves 8 bit as they are, and stretches others between the 0.5 and 99.5
        percentiles of what is above 0.

    Raises
    ------
    DataError
        If the file is missing, damaged or no image, or has values that are no numbers.
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
    """Return (H, W) grey or (H, W, 3) RGB values of any type as a `ImageWithSpacing`; see `read_picture`."""
    if stored.dtype != np.uint8 or window is not None:
        if not np.isfinite(stored).all():
            raise DataError(f"{path} has values that are NaN or infinite; mend the file")
        stored = to_uint8(stored, *(window or percentile_window(stored)))
    return ImageWithSpacing(np.ascontiguousarray(stored if stored.ndim == 3 else gray_to_rgb(stored)), spacing)


def _read_npy(path: Path) -> NDArray[Any]:
    try:
        found = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing") from error
    except (OSError, ValueError, EOFError, MemoryError) as error:
        raise DataError(f"{path} is damaged or no plain NumPy array: {error}; get it again") from error
    if not isinstance(found, np.ndarray) or found.ndim not in (2, 3) or found.dtype.kind not in "biuf":
        raise DataError(f"{path} holds no mask; expected an array (H, W) or (H, W, channels) of numbers")
    return found


def _read_pixels(path: Path) -> NDArray[np.uint8]:
    """Return an image as stored, in OpenCV's channel order."""
    if path.is_symlink() and not path.exists():
        raise DataError(f"{path} is a link that leads nowhere; get the file that it stands for, or remove the link")
    if path.suffix.lower() == ".gif":
        return _read_gif(path)
    try:
        return read_mask(path)
    except MemoryError as error:
        raise DataError(f"{path} is damaged, or too large for the memory of this machine; get it again") from error


def _read_gif(path: Path) -> NDArray[np.uint8]:
    """Return the first frame in the channel order of the other readers: blue, green, red. Not all OpenCVs read GIF."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))[..., ::-1]
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing") from error
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} is damaged or no image: {error}; get it again") from error


def _refuse_unclear(path: Path) -> None:
    """Refuse a mask, already read, of several frames, or with an alpha channel that is not opaque throughout."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            frames, alpha = getattr(image, "n_frames", 1), None
            if "A" in image.getbands() or "transparency" in image.info:
                alpha = np.asarray(image.convert("RGBA").getchannel("A"))
    except UnidentifiedImageError:  # a format that OpenCV alone knows
        return
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} is damaged or too large: {error}; get it again") from error
    if frames > 1:
        raise DataError(
            f"{path} holds {frames} frames, so it is not clear which of them was meant; save the one that is the mask"
        )
    if alpha is not None and (alpha != 255).any():
        raise DataError(
            f"{path} has transparent parts, so it is not clear what was drawn; save it without an alpha channel"
        )
