"""Write a trajectory's last mask into the run folder: volumes in the image's own space, images as PNG."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rclicks.data.volumes import write_labels
from rclicks.errors import DataError, RunError
from rclicks.sample import Mask, Sample

__all__ = ["mask_path", "save_mask"]


def mask_path(folder: Path, key: Mapping[str, Any], dims: int) -> Path:
    """Return where the mask of a trajectory goes: <model>/<dataset>/<sample>/<object and user>.<nii.gz or png>.

    Characters that file systems dislike become "_".

    >>> key = {"model": "a:b=1", "dataset": "d", "sample": "s", "object": "1", "rater": "gt", "user": "sampled"}
    >>> mask_path(Path("masks"), key | {"group": "G1", "replicate": 0}, 2).as_posix()
    'masks/a_b=1/d/s/1_gt_sampled_G1_0.png'
    """
    names = {k: re.sub(r"[^\w.=+@-]", "_", str(v)).lstrip(".") or "_" for k, v in key.items()}
    last = [names[k] for k in ("object", "rater", "user", "group", "replicate") if k != "group" or key["group"]]
    suffix = "png" if dims == 2 else "nii.gz"
    return folder / names["model"] / names["dataset"] / names["sample"] / f"{'_'.join(last)}.{suffix}"


def save_mask(folder: Path, key: Mapping[str, Any], mask: Mask, sample: Sample) -> None:
    """Write one mask, 0 and 1 (in PNG 0 and 255).

    Raises
    ------
    RunError
        If it cannot be written.
    """
    import cv2

    path = mask_path(folder, key, mask.ndim)
    try:
        if mask.ndim == 3:
            write_labels(path, mask, sample)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        _, data = cv2.imencode(".png", mask.astype(np.uint8) * np.uint8(255))
        hidden = path.with_name(f".tmp-{path.name}")
        hidden.write_bytes(data.tobytes())
        hidden.replace(path)
    except (OSError, DataError) as error:
        raise RunError(f"the mask {path} cannot be written: {error}") from error
