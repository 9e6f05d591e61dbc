"""Click models from saliency: people click where they would look, within the error.

The two baselines SM and SI of RClicks (Antonov et al. 2024). The network TranSalNet (Lou et al. 2022) sees the error's
surroundings; its map, times the error and divided by its sum, is the click map:

* ``saliency-cutout`` (SM) sees the error cut out, on grey;
* ``saliency-image`` (SI) sees the image as it is.

As published, the network's map is rounded to 256 levels before it is resized.
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
        summary="TranSalNet saliency of the error, cut out and put on grey",
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
        summary="TranSalNet saliency of the error and what is around it",
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
FILL = 1  # of 255: what published code puts around the image

Frame = tuple[slice, slice]


def frame_of(error: NDArray[Any]) -> Frame:
    """Return the rows and columns of the bounding box of the pixels equal to 1, enlarged 1.4 times within the image.

    Raises
    ------
    DataError
        If no pixel equals 1, as in a soft mask that was not thresholded.
    """
    certain = error == 1
    if not certain.any():
        raise DataError(
            f"saliency click models need an error mask with at least one pixel equal to 1; the largest value of this "
            f"one, of shape {error.shape}, is {float(error.max()) if error.size else 'missing'}. Threshold soft masks "
            "first, and do not ask for clicks on empty errors"
        )
    rows, columns = (_enlarged(np.flatnonzero(certain.any(axis)), error.shape[1 - axis]) for axis in (1, 0))
    return rows, columns


def _enlarged(found: NDArray[np.intp], length: int) -> slice:
    first, last = int(found[0]), int(found[-1])
    size = last - first + 1
    margin = (int(ENLARGE * size) - size) // 2
    return slice(max(0, first - margin), min(length, last + margin + 1))


def cut_out(image: NDArray[np.uint8], error: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the image with grey outside of the error.

    Parameters
    ----------
    image : (H, W, 3) uint8 array
    error : (H, W) array
        bool, or float in [0, 1], which blends (published code adds grey to all pixels below 1, which overflows).
    """
    share = np.asarray(error, np.float64)[..., None]
    return (share * image + (1 - share) * GREY).astype(np.uint8)


class Saliency(ClickModel):
    """TranSalNet on the surroundings of each error.

    Parameters
    ----------
    card : ClickModelCard
    network : torch.nn.Module
        A `TranSalNet`, in evaluation mode, on `device`.
    device, checkpoint_id : str
    together : bool or None
        Answer all asks in one forward pass; None does so anywhere but on the CPU, see `one_by_one`.
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
        """Return the image: what the network sees depends on the error."""
        return image

    def maps(self, prepared: NDArray[np.uint8], queries: Sequence[ClickMapQuery]) -> list[ClickMap]:
        """Return one (H, W) float32 map an ask: 0 outside the error, with sum 1.

        If saliency is 0 on all of the error, the map is the error itself.

        Raises
        ------
        DataError
            See `frame_of`.
        OutOfMemory
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
    """Return the (288, 384) map of a frame as a click map of the whole image."""
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
    """Return one of the two models, with the published TranSalNet weights, a plain state_dict.

    Raises
    ------
    WeightsError
        If the checkpoint is missing, unsafe or does not fit.
    """
    from rclicks.clickability.networks.transalnet import TranSalNet

    network = TranSalNet()
    identity = fill(network, card, checkpoint)
    return Saliency(card, network.eval().requires_grad_(False).to(device), device=device, checkpoint_id=identity)
