"""SuperVoxels of nnInteractive: masks of SAM on one slice, propagated through the volume by SAM 2's video predictor.

The steps are those of the published tool (nnInteractiveSuperVoxel 0.1.0), and its numbers are the defaults of
`Settings`:

1. Scale the volume by its 5 and 95 percentiles.
2. Draw an axial slice; slices in the middle are more likely.
3. Find all masks of this slice with SAM, and take 20 of them at random.
4. Propagate each mask forwards, and backwards through the flipped stack.
5. Of each mask keep one random 26-connected component that touches the slice.

The result is a stack of masks that may overlap. `rclicks.supervoxels.merging` makes one label map from it.

There are two differences. SAM's package takes 8-bit images, so the scaled slice is clipped to 0..1 and converted to
0..255; the tool is reported to pass values that are not clipped. All masks of a slice are propagated in one pass as
separate objects, which SAM 2 treats independently. The masks are the same, but each slice is encoded 2 and not 40
times.

This module was never run here with trained weights. The tests use small networks with synthetic weights. They show that
the steps work together, and say nothing about quality.
"""

from __future__ import annotations

import contextlib
import io
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rclicks.cards import ModelCard
from rclicks.errors import DataError, ProtocolError
from rclicks.models.devices import translate_memory_errors

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "SAM",
    "SAM2",
    "Networks",
    "Settings",
    "automatic_masks",
    "load_networks",
    "one_component",
    "propagate",
    "propagated_masks",
    "slice_odds",
    "spread",
    "suppress",
]

Mask = NDArray[np.bool_]
Floats = NDArray[np.float32]

SAM = "sam-vit-h"  # the published networks
SAM2 = "sam2.1-video-large"
_FAVOUR = 2.0
_PERCENTILES = (5.0, 95.0)


@dataclass(frozen=True)
class Settings:
    """Settings of the published tool.

    Attributes
    ----------
    slices : int
        Number of slices that are drawn; 1 in the published tool.
    masks : int
        Largest number of masks of a slice (``masks_per_image``).
    points : int
        Number of prompt points along each side of a slice; SAM gets points x points prompts.
    batch_size : int
        Number of prompts in one call of SAM.
    quality, stability : float
        Smallest predicted IoU and smallest stability score of a mask.
    overlap : float
        IoU of the boxes of two masks above which only the better mask is kept.
    crops : int
        Number of layers of crops that SAM searches in addition to the whole slice.
    crop_downscale : int
        Factor by which `points` becomes smaller in each layer of crops.
    smallest : int
        Area in pixels; smaller separate regions of a mask are removed, and smaller holes are filled.

    Raises
    ------
    ProtocolError
        If a number is too small.
    """

    slices: int = 1
    masks: int = 20
    points: int = 48
    batch_size: int = 256
    quality: float = 0.85
    stability: float = 0.92
    overlap: float = 0.6
    crops: int = 1
    crop_downscale: int = 2
    smallest: int = 192

    def __post_init__(self) -> None:
        """Refuse numbers that are too small."""
        counts = (self.slices, self.masks, self.points, self.batch_size, self.crop_downscale)
        if min(counts) < 1 or min(self.crops, self.smallest) < 0:
            raise ProtocolError(f"{self}: counts must be at least 1, crops and smallest at least 0")
        if self.points < self.crop_downscale**self.crops:
            raise ProtocolError(
                f"{self.points} points along each side leave none for the smallest crops; use at least "
                f"{self.crop_downscale**self.crops} points, or fewer crops"
            )


@dataclass(frozen=True, eq=False)
class Networks:
    """The two networks, loaded on one device.

    Attributes
    ----------
    masks : segment_anything.Sam
        Network that finds the masks of a slice.
    video : sam2.SAM2VideoPredictor
        Network that propagates masks through the slices.
    """

    masks: Any
    video: Any


def load_networks(
    sam: str | Path | None,
    sam2: str | Path | None,
    *,
    sam_model: str = SAM,
    sam2_model: str = SAM2,
    device: str = "cpu",
) -> Networks:
    """Load both networks through the registry.

    Parameters
    ----------
    sam, sam2 : path, "synthetic" or None
        Checkpoints; None searches the published files in the checkpoint folder.
    sam_model, sam2_model : str
        Names of registered models of the families "sam" and "sam2_video".
    device : str
        "cpu", "cuda" or "cuda:1".

    Raises
    ------
    UnknownNameError, ProtocolError
        If a model does not exist or is of another family.
    PluginError
        If an optional package is missing.
    WeightsError
        If the weights are missing or do not fit.
    """
    from rclicks.engine.loading import load_model
    from rclicks.registry import Registry
    from rclicks.specs import Spec

    registry = Registry.discover()
    found = []
    for name, family, checkpoint in ((sam_model, "sam", sam), (sam2_model, "sam2_video", sam2)):
        card = registry.find("model", name).card
        if not isinstance(card, ModelCard) or card.family != family:
            raise ProtocolError(f"model {name} is of another family; expected a model of the family {family}")
        weights = None if checkpoint is None else str(checkpoint)
        found.append(load_model(registry, Spec(name, checkpoint=weights), device).network)
    return Networks(*found)


def propagated_masks(
    values: NDArray[Any], networks: Networks, rng: np.random.Generator, settings: Settings | None = None
) -> Mask:
    """Return masks of a volume; they may overlap, and some voxels may be in no mask.

    Parameters
    ----------
    values : (Z, Y, X) array of real numbers, all finite
        Grey values.
    networks : Networks
    rng : numpy.random.Generator
        Generator that draws slices, masks and components. Seed it with the name of the volume, so that the result does
        not depend on the order of the volumes.
    settings : Settings or None
        Settings; None for those of the published tool.

    Returns
    -------
    (n, Z, Y, X) bool array
        Masks; n is 0 if SAM finds no mask on the slice.

    Raises
    ------
    DataError
        If `values` is not a volume, or its 5 and 95 percentiles are equal.
    OutOfMemory
        If the device runs out of memory.
    """
    chosen = settings or Settings()
    if values.ndim != 3:
        raise DataError(f"expected a volume (z, y, x), got shape {values.shape}")
    image = spread(values)
    odds = slice_odds(len(image))
    kept: list[Mask] = []
    for z in rng.choice(len(image), min(chosen.slices, len(image)), replace=False, p=odds):
        found = automatic_masks(image[z], networks.masks, chosen)
        picked = found[rng.permutation(len(found))[: chosen.masks]]
        for mask in propagate(image, picked, int(z), networks.video):
            part = one_component(mask, int(z), rng)
            if part is not None:
                kept.append(part)
    return np.stack(kept) if kept else np.zeros((0, *values.shape), bool)


def spread(values: NDArray[Any]) -> Floats:
    """Return a float32 copy scaled so that the 5 and 95 percentiles become 0 and 1; values are not clipped.

    Raises
    ------
    DataError
        If these percentiles are equal.
    """
    low, high = np.percentile(values, _PERCENTILES)
    if not high > low:
        raise DataError(f"the 5 and 95 percentiles of the volume are both {low}, so it has no contrast; leave it out")
    image = np.array(values, np.float32, order="C")
    image -= np.float32(low)
    image /= np.float32(high - low)
    return image


def slice_odds(depth: int) -> NDArray[np.float64]:
    """Return the probability of each slice, (depth,) float64: proportional to exp(-2 t²) with t from -1 to 1.

    >>> slice_odds(3).round(3).tolist()
    [0.107, 0.787, 0.107]
    """
    weight = np.exp(-_FAVOUR * np.linspace(-1, 1, depth) ** 2)
    return np.asarray(weight / weight.sum())


def automatic_masks(plane: Floats, network: Any, settings: Settings) -> Mask:
    """Return all masks that SAM finds on a slice, (n, Y, X) bool.

    Parameters
    ----------
    plane : (Y, X) float32 array
        Slice with values of about 0 to 1; it is clipped to this range.
    network : segment_anything.Sam
    settings : Settings

    Raises
    ------
    OutOfMemory
        If the device runs out of memory.
    """
    from rclicks.models.torchvision_shim import import_torchvision

    import_torchvision()
    from segment_anything import SamAutomaticMaskGenerator

    class Generator(SamAutomaticMaskGenerator):
        """The generator of the package fails if no crop has a mask, because the array of boxes then has no columns."""

        def _process_crop(self, *args: Any) -> Any:
            data = super()._process_crop(*args)
            data["crop_boxes"] = data["crop_boxes"].reshape(-1, 4)
            return data

    generator = Generator(
        network,
        points_per_side=settings.points,
        points_per_batch=settings.batch_size,
        pred_iou_thresh=settings.quality,
        stability_score_thresh=settings.stability,
        box_nms_thresh=settings.overlap,
        crop_n_layers=settings.crops,
        crop_n_points_downscale_factor=settings.crop_downscale,
        min_mask_region_area=settings.smallest,
    )
    grey = (np.clip(plane, 0, 1) * 255).round().astype(np.uint8)
    with translate_memory_errors(), _working_suppression():
        found = generator.generate(np.repeat(grey[:, :, None], 3, axis=2))
    masks = [np.asarray(entry["segmentation"], bool) for entry in found if entry["area"] > 0]
    return np.stack(masks) if masks else np.zeros((0, *plane.shape), bool)


def propagate(image: Floats, masks: Mask, z: int, network: Any) -> Mask:
    """Propagate masks of one slice through the volume with SAM 2's video predictor.

    Parameters
    ----------
    image : (Z, Y, X) float32 array
        Grey values.
    masks : (n, Y, X) bool array
        Masks of slice `z`.
    z : int
        Index of the slice.
    network : sam2.SAM2VideoPredictor

    Returns
    -------
    (n, Z, Y, X) bool array
        Propagated masks.

    Raises
    ------
    OutOfMemory
        If the device runs out of memory.
    """
    found = np.zeros((len(masks), *image.shape), bool)
    with translate_memory_errors():
        for step in (1, -1):  # backwards means forwards on the flipped stack
            start = z if step == 1 else len(image) - 1 - z
            if len(masks):
                _track(image[::step], masks, start, network, found[:, ::step])
    return found


def one_component(mask: Mask, z: int, rng: np.random.Generator) -> Mask | None:
    """Return one random 26-connected component of a (Z, Y, X) mask that touches slice `z`; None if there is none."""
    from scipy import ndimage

    parts, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    touching = np.unique(parts[z])
    touching = touching[touching > 0]
    return np.asarray(parts == rng.choice(touching)) if touching.size else None


def _track(image: Floats, masks: Mask, start: int, network: Any, out: Mask) -> None:
    """Write the masks of slice `start` and of all later slices into `out`, (n, Z, Y, X) bool."""
    frames = _Frames(image, int(network.image_size))
    session = _session(frames, network)
    for number, mask in enumerate(masks):
        network.add_new_mask(session, frame_idx=start, obj_id=number, mask=mask)
    with contextlib.redirect_stderr(io.StringIO()):  # hides a progress bar that cannot be switched off
        for index, names, logits in network.propagate_in_video(session, start_frame_idx=start):
            out[list(names), index] = (logits[:, 0] > 0).cpu().numpy()


class _Frames:
    """Slices as network inputs, made on request: scaled by minimum and maximum of the volume, and resized."""

    def __init__(self, image: Floats, side: int) -> None:
        self._image, self._side = image, side
        self._low, self._range = float(image.min()), float(np.ptp(image))
        self.plane: tuple[int, int] = (image.shape[1], image.shape[2])

    def __len__(self) -> int:
        return len(self._image)

    def __getitem__(self, index: int) -> Tensor:
        import torch
        from torch.nn import functional

        plane = torch.from_numpy((self._image[index] - self._low) / self._range)
        size = (self._side, self._side)
        return functional.interpolate(plane[None, None], size, mode="bilinear", align_corners=False)[0].expand(
            3, -1, -1
        )


def _session(frames: _Frames, network: Any) -> dict[str, Any]:
    """Return a session state; the package's own ``init_state`` can read frames only from files."""
    per_object = ("point_inputs_per_obj", "mask_inputs_per_obj", "output_dict_per_obj", "temp_output_dict_per_obj")
    return {
        "images": frames,
        "num_frames": len(frames),
        "offload_video_to_cpu": False,
        "offload_state_to_cpu": False,
        "video_height": frames.plane[0],
        "video_width": frames.plane[1],
        "device": network.device,
        "storage_device": network.device,
        "cached_features": {},
        "constants": {},
        "obj_id_to_idx": OrderedDict(),
        "obj_idx_to_id": OrderedDict(),
        "obj_ids": [],
        "frames_tracked_per_obj": {},
        **{name: {} for name in per_object},
    }


@contextlib.contextmanager
def _working_suppression() -> Iterator[None]:
    """Replace the generator's non-maximum suppression where torchvision's compiled one is not available.

    `rclicks.models.torchvision_shim` explains when this happens. The generator finds the function in its own module.
    """
    import torch
    import torchvision
    from segment_anything import automatic_mask_generator as module

    try:
        torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except (RuntimeError, NotImplementedError):
        theirs, module.batched_nms = module.batched_nms, _suppress
        try:
            yield
        finally:
            module.batched_nms = theirs
    else:
        yield


def _suppress(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """Return the indices of the boxes that are kept, best first; all boxes have one category in the generator."""
    import torch

    kept = suppress(boxes.cpu().numpy().astype(np.float64), scores.cpu().numpy(), iou_threshold)
    return torch.as_tensor(kept, dtype=torch.int64, device=boxes.device)


def suppress(boxes: NDArray[np.float64], scores: Sequence[float] | NDArray[Any], limit: float) -> NDArray[np.intp]:
    """Return the indices of the boxes that non-maximum suppression keeps, best first.

    Parameters
    ----------
    boxes : (n, 4) float64 array
        Low corner and high corner of each box.
    scores : n floats
        Scores; higher is better.
    limit : float
        IoU with a better box above which a box is dropped.
    """
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept: list[int] = []
    while order.size:
        best, rest = int(order[0]), order[1:]
        kept.append(best)
        low = np.maximum(boxes[best, :2], boxes[rest, :2])
        high = np.minimum(boxes[best, 2:], boxes[rest, 2:])
        shared = np.clip(high - low, 0, None).prod(axis=1)
        union = area[best] + area[rest] - shared
        order = rest[shared <= limit * union]
    return np.asarray(kept, np.intp)
