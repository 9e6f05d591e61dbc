"""Write the last mask of a trajectory into the run folder: NIfTI in the space of the volume, or PNG for images."""

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
    """Return the path of a trajectory's mask: <model>/<dataset>/<sample>/<object, rater, user, ...>.<nii.gz or png>.

    Characters that are not allowed in file names on some systems become "_".

    >>> key = {"model": "a:b=1", "dataset": "d", "sample": "s", "object": "1", "rater": "gt", "user": "sampled"}
    >>> mask_path(Path("masks"), key | {"group": "G1", "replicate": 0}, 2).as_posix()
    'masks/a_b=1/d/s/1_gt_sampled_G1_0.png'
    """
    names = {k: re.sub(r"[^\w.=+@-]", "_", str(v)).lstrip(".") or "_" for k, v in key.items()}
    last = [names[k] for k in ("object", "rater", "user", "group", "replicate") if k != "group" or key["group"]]
    suffix = "png" if dims == 2 else "nii.gz"
    return folder / names["model"] / names["dataset"] / names["sample"] / f"{'_'.join(last)}.{suffix}"


def save_mask(folder: Path, key: Mapping[str, Any], mask: Mask, sample: Sample) -> None:
    """Write one mask with the values 0 and 1 (PNG: 0 and 255).

    Parameters
    ----------
    folder : Path
        Folder of all masks of the run.
    key : mapping
        Key columns of the trajectory, see `mask_path`.
    mask : (H, W) or (Z, H, W) bool array
    sample : Sample
        The sample of the mask; for volumes it gives spacing and affine.

    Raises
    ------
    RunError
        If the file cannot be written.
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
