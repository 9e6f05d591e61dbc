"""What trainings on images of several raters share: objects with all their masks, and crops of them.

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
SHIFT = 4  # crops are moved by up to their side divided by this


@dataclass(frozen=True, eq=False)
class Example:
    """One object in one image, with all raters' masks.

    Attributes
    ----------
    name : str
        Of the sample and the object.
    image : (H, W, 3) uint8 array
        RGB.
    masks : (R, H, W) bool array
        Empty ones count.
    counted : (H, W) bool array
        False where pixels are to be ignored.
    raters : tuple of str
        One name a mask.
    """

    name: str
    image: NDArray[np.uint8]
    masks: Mask
    counted: Mask
    raters: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Crop:
    """A square part of an example; where it reaches beyond the image everything is 0.

    Attributes
    ----------
    image : (s, s, 3) uint8 array
    masks : (R, s, s) bool array
    counted : (s, s) bool array
        False beyond the image, too.
    inside : (s, s) bool array
        Where there is image.
    """

    image: NDArray[np.uint8]
    masks: Mask
    counted: Mask
    inside: Mask


def read_examples(samples: Iterable[Sample]) -> list[Example]:
    """Return the objects of images.

    Raises
    ------
    DataError
        If there is none.
    """
    found = []
    for sample in samples:
        image = np.asarray(sample.image, np.uint8)
        for target in sample.targets:
            masks = np.stack([np.asarray(m, bool) for m in target.masks])
            counted = np.ones(masks.shape[1:], bool) if target.ignore is None else ~np.asarray(target.ignore, bool)
            found.append(Example(f"{sample.id}/{target.id}", image, masks, counted, target.raters))
    if not found:
        raise DataError("the data set has no object to learn from")
    return found


def fingerprint(examples: Sequence[Example]) -> str:
    """Return 12 hex digits that change with the images and all masks."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(f"{example.name} {example.raters} {example.masks.shape}".encode())
        digest.update(np.ascontiguousarray(example.image).tobytes())
        for mask in (example.masks, example.counted):
            digest.update(np.packbits(mask).tobytes())
    return digest.hexdigest()[:12]


def evenly(examples: Sequence[Example], count: int) -> list[Example]:
    """Return at most so many examples, spread evenly over all."""
    return [examples[i] for i in np.linspace(0, len(examples) - 1, min(count, len(examples))).round().astype(int)]


def random_crop(example: Example, size: int, rng: np.random.Generator) -> Crop:
    """Return a square near a random pixel that anybody drew, mirrored and transposed at random.

    All raters' masks choose the place, so that raters who drew nothing see the same places as the others.
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
    """Return the square around the middle of what anybody drew, or around that of the image."""
    drawn = np.argwhere(example.masks.any(0))
    return _cut(example, drawn.mean(0) if len(drawn) else np.array(example.counted.shape) / 2, size)


def _cut(example: Example, centre: NDArray[Any], size: int) -> Crop:
    """Return the square around a place that reaches as little as possible beyond the image."""
    shape = example.counted.shape
    corner = [max(0, min(int(c) - size // 2, n - size)) for c, n in zip(centre, shape, strict=True)]
    rows, columns = (slice(c, min(c + size, n)) for c, n in zip(corner, shape, strict=True))
    missing = [(0, size - (part.stop - part.start)) for part in (rows, columns)]
    masks = np.pad(example.masks[:, rows, columns], [(0, 0), *missing])
    counted, inside = (np.pad(p[rows, columns], missing) for p in (example.counted, np.ones(shape, bool)))
    return Crop(np.pad(example.image[rows, columns], [*missing, (0, 0)]), masks, counted, inside)
