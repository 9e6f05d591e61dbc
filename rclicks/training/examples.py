"""Objects with the masks of all raters, and crops of them, for trainings on images with several raters.

>>> example = Example("a/0", np.zeros((4, 6, 3), np.uint8), np.ones((2, 4, 6), bool), np.ones((4, 6), bool))
>>> crop = random_crop(example, 8, np.random.default_rng(0))
>>> crop.image.shape, crop.masks.shape, int(crop.inside.sum())
((8, 8, 3), (2, 8, 8), 24)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rclicks.errors import DataError
from rclicks.sample import Mask, Sample

__all__ = ["Crop", "Example", "central_crop", "evenly", "fingerprint", "random_crop", "read_examples"]

FLIP = 0.5
SHIFT = 4  # a crop is shifted by at most its side divided by this number


@dataclass(frozen=True, eq=False)
class Example:
    """One object in one image, with all raters' masks.

    Attributes
    ----------
    name : str
        Names of the sample and of the object, joined by "/".
    image : (H, W, 3) uint8 array
        RGB image.
    masks : (R, H, W) bool array
        Masks of the raters, including empty ones.
    counted : (H, W) bool array
        Pixels that count; False at ignored pixels.
    raters : tuple of str
        Names of the raters, one for each mask.
    """

    name: str
    image: NDArray[np.uint8]
    masks: Mask
    counted: Mask
    raters: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Crop:
    """A square part of an example; all arrays are 0 outside the image.

    Attributes
    ----------
    image : (s, s, 3) uint8 array
        RGB image.
    masks : (R, s, s) bool array
        Masks of the raters.
    counted : (s, s) bool array
        Pixels that count; False at ignored pixels and outside the image.
    inside : (s, s) bool array
        Pixels that lie inside the image.
    """

    image: NDArray[np.uint8]
    masks: Mask
    counted: Mask
    inside: Mask


def read_examples(samples: Iterable[Sample]) -> list[Example]:
    """Decode images and return one example for each object.

    Raises
    ------
    DataError
        If the samples have no object.
    """
    found = []
    for sample in samples:
        image = np.asarray(sample.image, np.uint8)
        for target in sample.targets:
            masks = np.stack([np.asarray(m, bool) for m in target.masks])
            counted = np.ones(masks.shape[1:], bool) if target.ignore is None else ~np.asarray(target.ignore, bool)
            found.append(Example(f"{sample.id}/{target.id}", image, masks, counted, target.raters))
    if not found:
        raise DataError("the data set has no object to train on; check its option `split` and its masks")
    return found


def fingerprint(examples: Sequence[Example]) -> str:
    """Return 12 hexadecimal digits of a hash of the names, images and masks."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(f"{example.name} {example.raters} {example.masks.shape}".encode())
        digest.update(np.ascontiguousarray(example.image).tobytes())
        for mask in (example.masks, example.counted):
            digest.update(np.packbits(mask).tobytes())
    return digest.hexdigest()[:12]


def evenly(examples: Sequence[Example], count: int) -> list[Example]:
    """Return at most `count` examples, spread evenly over the list."""
    return [examples[i] for i in np.linspace(0, len(examples) - 1, min(count, len(examples))).round().astype(int)]


def random_crop(example: Example, size: int, rng: np.random.Generator) -> Crop:
    """Return a square of side `size` near a random pixel of any rater's mask, mirrored and transposed at random.

    The masks of all raters together determine the place. So a rater with an empty mask gets the same places as the
    others.
    """
    drawn = np.argwhere(example.masks.any(0))
    shape = example.counted.shape
    near = drawn[rng.integers(len(drawn))] if len(drawn) else rng.integers(shape)
    crop = _cut(example, near + rng.integers(-size // SHIFT, size // SHIFT + 1, 2), size)
    axes = tuple(axis for axis in (0, 1) if rng.random() < FLIP)
    turned = rng.random() < FLIP

    def change(plane: NDArray[Any], first: int) -> NDArray[Any]:
        plane = np.flip(plane, tuple(first + axis for axis in axes))
        return np.ascontiguousarray(np.swapaxes(plane, first, first + 1) if turned else plane)

    return Crop(change(crop.image, 0), change(crop.masks, 1), change(crop.counted, 0), change(crop.inside, 0))


def central_crop(example: Example, size: int) -> Crop:
    """Return the square around the mean position of all drawn pixels, or around the image centre if there are none."""
    drawn = np.argwhere(example.masks.any(0))
    return _cut(example, drawn.mean(0) if len(drawn) else np.array(example.counted.shape) / 2, size)


def _cut(example: Example, centre: NDArray[Any], size: int) -> Crop:
    """Return the square around a (row, column) position, shifted so that as much of it as possible is in the image."""
    shape = example.counted.shape
    corner = [max(0, min(int(c) - size // 2, n - size)) for c, n in zip(centre, shape, strict=True)]
    rows, columns = (slice(c, min(c + size, n)) for c, n in zip(corner, shape, strict=True))
    missing = [(0, size - (part.stop - part.start)) for part in (rows, columns)]
    masks = np.pad(example.masks[:, rows, columns], [(0, 0), *missing])
    counted, inside = (np.pad(p[rows, columns], missing) for p in (example.counted, np.ones(shape, bool)))
    return Crop(np.pad(example.image[rows, columns], [*missing, (0, 0)]), masks, counted, inside)
