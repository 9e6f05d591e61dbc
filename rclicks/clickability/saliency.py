"""Click models from saliency, which assume that people click where they look, within the error.

These are the two baselines SM and SI of the RClicks paper (Antonov et al. 2024). The input of the network TranSalNet
(Lou et al. 2022) is the part of the image around the error. Its output, multiplied by the error and divided by the sum,
is the click map.

* ``saliency-cutout`` (SM): the input is grey outside the error.
* ``saliency-image`` (SI): the input is the unchanged image.

As published, the output of the network is rounded to 256 levels before it is resized.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rclicks.cards import Checkpoint, ClickModelCard
from rclicks.clickability.contract import ClickMap, ClickMapQuery, ClickModel
from rclicks.clickability.letterbox import Letterbox, cover
from rclicks.clickability.segnext import one_by_one
from rclicks.errors import DataError
from rclicks.models.devices import translate_memory_errors
from rclicks.models.precision import network_precision
from rclicks.models.weights import fill
from rclicks.protocol import Protocol

if TYPE_CHECKING:
    from torch import nn

__all__ = ["CARDS", "Saliency", "cut_out", "frame_of", "load"]

CARDS = (
    ClickModelCard(
        name="saliency-cutout",
        variant="cutout",
        summary="TranSalNet saliency of the error; the image is grey outside the error",
        source="https://github.com/LJOVO/TranSalNet; baseline SM of Antonov et al. 2024 (RClicks)",
        licence="MIT",
        citation="Lou et al.: TranSalNet: towards perceptually relevant visual saliency prediction, 2022",
        batched=True,
        parameters=72510977,
        checkpoint=Checkpoint(file="TranSalNet_Res.pth"),
        trained_on=("SALICON",),
        extra="torch",
    ),
    ClickModelCard(
        name="saliency-image",
        variant="image",
        summary="TranSalNet saliency of the error and its surroundings",
        source="https://github.com/LJOVO/TranSalNet; baseline SI of Antonov et al. 2024 (RClicks)",
        licence="MIT",
        citation="Lou et al.: TranSalNet: towards perceptually relevant visual saliency prediction, 2022",
        batched=True,
        parameters=72510977,
        checkpoint=Checkpoint(file="TranSalNet_Res.pth"),
        trained_on=("SALICON",),
        extra="torch",
    ),
)

BOX = (288, 384)
ENLARGE = 1.4
GREY = 127.5
FILL = 1  # 8-bit value around the image, as in published code

Frame = tuple[slice, slice]


def frame_of(error: NDArray[Any]) -> Frame:
    """Return the rows and columns of the bounding box of the pixels equal to 1, enlarged 1.4 times within the image.

    Raises
    ------
    DataError
        If no pixel equals 1, for example in a soft mask that was not thresholded.
    """
    certain = error == 1
    if not certain.any():
        raise DataError(
            f"saliency click models need an error mask with at least one pixel equal to 1; the largest value of this "
            f"mask of shape {error.shape} is {float(error.max()) if error.size else 'missing'}. Threshold soft masks "
            "first, and do not query clicks on empty errors"
        )
    rows, columns = (_enlarged(np.flatnonzero(certain.any(axis)), error.shape[1 - axis]) for axis in (1, 0))
    return rows, columns


def _enlarged(found: NDArray[np.intp], length: int) -> slice:
    first, last = int(found[0]), int(found[-1])
    size = last - first + 1
    margin = (int(ENLARGE * size) - size) // 2
    return slice(max(0, first - margin), min(length, last + margin + 1))


def cut_out(image: NDArray[np.uint8], error: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the (H, W, 3) uint8 image with grey outside the error.

    Parameters
    ----------
    image : (H, W, 3) uint8 array
        RGB image.
    error : (H, W) array
        Error, bool or float in [0, 1]. Pixels with a value between 0 and 1 are blended with grey. Published code adds
        grey to all pixels below 1, which overflows.
    """
    share = np.asarray(error, np.float64)[..., None]
    return (share * image + (1 - share) * GREY).astype(np.uint8)


class Saliency(ClickModel):
    """Click model from the saliency of the surroundings of each error.

    Parameters
    ----------
    card : ClickModelCard
        Facts about the click model.
    network : torch.nn.Module
        `TranSalNet` in evaluation mode on `device`.
    device : str
        Name of the torch device.
    checkpoint_id : str
        Identity of the weights.
    together : bool or None
        Whether one forward pass computes all queries. None means True except on the CPU, see
        `rclicks.clickability.segnext.one_by_one`.
    """

    def __init__(
        self,
        card: ClickModelCard,
        network: nn.Module,
        *,
        device: str = "cpu",
        checkpoint_id: str = "none",
        together: bool | None = None,
    ) -> None:
        self.card, self.network, self.device, self.checkpoint_id = card, network, device, checkpoint_id
        self.together = device != "cpu" if together is None else together

    def prepare(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the image itself, because the input of the network depends on the error."""
        return image

    def maps(self, prepared: NDArray[np.uint8], queries: Sequence[ClickMapQuery]) -> list[ClickMap]:
        """Return one (H, W) float32 map for each query; it is 0 outside the error and sums to 1.

        If the saliency is 0 on the whole error, the map is the error itself.

        Raises
        ------
        DataError
            As `frame_of`.
        OutOfMemory
            If the memory of the device is too small.
        """
        if not self.together:
            return one_by_one(lambda query: self._batch(prepared, [query])[0], queries)
        return self._batch(prepared, queries)

    def _batch(self, image: NDArray[np.uint8], queries: Sequence[ClickMapQuery]) -> list[ClickMap]:
        frames = [frame_of(query.error) for query in queries]
        crops = [self._crop(image, query.error, frame) for query, frame in zip(queries, frames, strict=True)]
        saliency = self._saliency([Letterbox.of(c.shape[:2], BOX).put(c, FILL) for c in crops])
        return [_pasted(s, query.error, frame) for s, query, frame in zip(saliency, queries, frames, strict=True)]

    def _crop(self, image: NDArray[np.uint8], error: NDArray[Any], frame: Frame) -> NDArray[np.uint8]:
        return cut_out(image[frame], error[frame]) if self.card.variant == "cutout" else image[frame]

    def _saliency(self, crops: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        import torch

        with translate_memory_errors(), torch.inference_mode(), network_precision("float32", self.device):
            batch = torch.from_numpy(np.stack(crops)).to(self.device).permute(0, 3, 1, 2).float() / 255
            levels: NDArray[np.uint8] = (self.network(batch)[:, 0] * 255).to(torch.uint8).cpu().numpy()
        return levels


def _pasted(saliency: NDArray[np.uint8], error: NDArray[Any], frame: Frame) -> NDArray[np.float32]:
    """Return the (288, 384) map of a frame as an (H, W) click map of the whole image."""
    inside = error[frame]
    found = cover(saliency, inside.shape).astype(np.float64) * inside
    total = found.sum()
    made = np.zeros(error.shape, np.float32)
    made[frame] = found / total if total > 0 else inside
    return made


def load(
    card: ClickModelCard,
    *,
    checkpoint: str | Path | None = None,
    device: str = "cpu",
    protocol: Protocol | None = None,
) -> Saliency:
    """Return one of the two models with the published weights of TranSalNet, which are a plain state_dict.

    Raises
    ------
    WeightsError
        If the checkpoint is missing, contains objects that could run code, or does not fit the network.
    """
    from rclicks.clickability.networks.transalnet import TranSalNet

    network = TranSalNet()
    identity = fill(network, card, checkpoint)
    return Saliency(card, network.eval().requires_grad_(False).to(device), device=device, checkpoint_id=identity)
