"""What tests share: where the shared data lies, and the synthetic inputs of the golden files."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("RCLICKS_SHARED", REPOSITORY.parent / "shared"))

needs_shared = pytest.mark.skipif(not (SHARED / "golden").is_dir(), reason="the shared golden data is absent")


def golden(name: str) -> dict[str, Any]:
    """Read shared/golden/<name>.json."""
    return json.loads((SHARED / "golden" / f"{name}.json").read_text())


def golden_arrays(name: str) -> dict[str, np.ndarray]:
    """Read shared/golden/<name>.npz."""
    with np.load(SHARED / "golden" / f"{name}.npz", allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def rng_image(seed: int, h: int, w: int) -> np.ndarray:
    """Return the (h, w, 3) uint8 image of the golden files."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[0:h, 0:w].astype(np.float64)
    image = np.zeros((h, w, 3))
    for c in range(3):
        for _ in range(4):
            fy, fx, phase = rng.uniform(0.5, 4), rng.uniform(0.5, 4), rng.uniform(0, 2 * np.pi)
            image[..., c] += np.sin(2 * np.pi * (fy * yy / h + fx * xx / w) + phase)
    image = (image - image.min()) / (image.max() - image.min()) * 220
    image = image + rng.integers(0, 36, size=(h, w, 3))
    return np.clip(np.floor(image), 0, 255).astype(np.uint8)


def previous_mask(seed: int, h: int, w: int) -> np.ndarray:
    """Return the (h, w) float32 previous mask of the golden files."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[0:h, 0:w].astype(np.float64)
    r0, c0 = rng.uniform(0.3, 0.7) * h, rng.uniform(0.3, 0.7) * w
    radius = rng.uniform(0.15, 0.3) * min(h, w)
    return (1 / (1 + np.exp((np.sqrt((yy - r0) ** 2 + (xx - c0) ** 2) - radius) / 4))).astype(np.float32)


def synthetic_truth(seed: int, h: int, w: int) -> np.ndarray:
    """Return the (h, w) int32 mask (1 object, 0 background, -1 ignored) of the golden files."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[0:h, 0:w]
    truth = np.zeros((h, w), np.int32)

    def ellipse(low_h: int, high_h: int, low_w: int, high_w: int) -> np.ndarray:
        cy, cx = rng.integers(0, h), rng.integers(0, w)
        a, b = rng.integers(low_h, high_h), rng.integers(low_w, high_w)
        return ((yy - cy) / a) ** 2 + ((xx - cx) / b) ** 2 <= 1

    for _ in range(rng.integers(2, 5)):
        truth[ellipse(h // 10, h // 3, w // 10, w // 3)] = 1
    truth[ellipse(h // 12, h // 5, w // 12, w // 5)] = 0
    truth[ellipse(h // 12, h // 6, w // 12, w // 6)] = -1
    return truth


def crc32(array: np.ndarray) -> int:
    """Return zlib.crc32 of the array's bytes."""
    return zlib.crc32(np.ascontiguousarray(array).tobytes())


def stored_view(array: np.ndarray, stored: str) -> np.ndarray:
    """Return the part of `array` that a golden npz stores, e.g. for "a[..., 1::3, 1::3]" or "np.packbits"."""
    if stored == "full":
        return array
    if stored == "np.packbits":
        return np.packbits(np.asarray(array, bool))
    last = [part.strip() for part in stored.removeprefix("a[").removesuffix("]").split(",")]
    slices: list[Any] = []
    for part in last:
        if part == "...":
            slices.append(Ellipsis)
        else:
            start, _, step = part.partition("::")
            slices.append(slice(int(start or 0), None, int(step or 1)))
    return array[tuple(slices)]
