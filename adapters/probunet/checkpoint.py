"""Sizes, input and checkpoints of a probabilistic U-Net, which its training and its model share.

A checkpoint is a torch file of tensors and plain values. It contains the sizes of its network:
``{"format": FORMAT, "design": {...}, "state": {...}}``.

>>> Design(features=(8, 16, 32)).reduction, Design(clicks=False).channels
(4, 3)
>>> padded(np.ones((5, 7), np.float32), Design(features=(8, 16, 32)).reduction).shape
(8, 8)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rclicks.errors import ProtocolError, WeightsError
from rclicks.interaction import Click
from rclicks.models.early_fusion.click_maps import disk_maps, point_tensor
from rclicks.models.weights import load_into, read_checkpoint
from rclicks.sample import Mask

if TYPE_CHECKING:
    import torch

    from .network import ProbabilisticUNet

__all__ = [
    "FORMAT",
    "LARGEST",
    "Design",
    "build",
    "checkpoint_of",
    "grey_values",
    "network_input",
    "padded",
    "read_network",
]

FORMAT = "rclicks probabilistic u-net 1"
LARGEST = 4096  # largest number of channels of a stage and of numbers in a latent; larger ones are refused


@dataclass(frozen=True, kw_only=True)
class Design:
    """Sizes of a network.

    Attributes
    ----------
    features : tuple of int
        Channels of each stage, from the full resolution to the lowest; at least two stages.
    latent : int
        Length of the latent vector.
    clicks : bool
        Whether positive clicks, negative clicks and the previous mask are input channels. Without them the network is
        the published one, whose prediction does not depend on clicks.
    radius : int
        Radius of the discs of clicks in pixels.
    leak : float
        Slope of the rectifiers below 0. The published value is 0, with which features of narrow networks can stay 0
        permanently.
    """

    features: tuple[int, ...] = (8, 16, 24, 32)
    latent: int = 6
    clicks: bool = True
    radius: int = 3
    leak: float = 0.1

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be built with a `ProtocolError`."""
        numbers = (*self.features, self.latent, self.radius)
        if not all(isinstance(n, int) and 1 <= n <= LARGEST for n in numbers) or not 2 <= len(self.features) <= 8:
            raise ProtocolError(
                f"a probabilistic U-Net of stages {self.features}, latent {self.latent} and discs of radius "
                f"{self.radius} cannot be built; expected 2 to 8 stages and integers from 1 to {LARGEST}"
            )
        if not isinstance(self.leak, float) or not 0 <= self.leak < 1:
            raise ProtocolError(
                f"the leak of a probabilistic U-Net is {self.leak!r}; expected a number of at least 0 and below 1"
            )
        if not isinstance(self.clicks, bool):
            raise ProtocolError(f"the value clicks of a probabilistic U-Net is {self.clicks!r}; expected true or false")

    @property
    def reduction(self) -> int:
        """Number of which the sides of the input must be multiples."""
        return int(2 ** (len(self.features) - 1))

    @property
    def channels(self) -> int:
        """Number of input channels: red, green, blue and, with clicks, three more."""
        return 6 if self.clicks else 3


def build(design: Design) -> ProbabilisticUNet:
    """Return the untrained network of a design."""
    from .network import ProbabilisticUNet

    return ProbabilisticUNet(design.channels, design.features, design.latent, design.leak)


def checkpoint_of(network: torch.nn.Module, design: Design) -> dict[str, Any]:
    """Return the content of a checkpoint file."""
    plain = asdict(design) | {"features": list(design.features)}
    return {"format": FORMAT, "design": plain, "state": dict(network.state_dict())}


def read_network(path: Path) -> tuple[ProbabilisticUNet, Design]:
    """Return the network of a checkpoint and its sizes. No code in the file is run.

    Raises
    ------
    WeightsError
        If the file is damaged, contains objects that could run code, is of another kind, or if its weights do not fit
        its sizes.
    """
    content = read_checkpoint(path)
    if not isinstance(content, Mapping) or content.get("format") != FORMAT:
        raise WeightsError(
            f"{path} is no checkpoint of a probabilistic U-Net; expected best.pth of `rclicks train probunet`"
        )
    try:
        given = dict(content["design"])
        design = Design(**given | {"features": tuple(given["features"])})
        state = dict(content["state"])
    except (KeyError, TypeError, ValueError, ProtocolError) as error:
        raise WeightsError(
            f"{path} does not contain the sizes of its network ({error!r}); train the network again"
        ) from error
    network = build(design)
    load_into(network, state, str(path))
    return network, design


def grey_values(image: NDArray[Any]) -> NDArray[np.float32]:
    """Return an (H, W, 3) uint8 image as (3, H, W) float32 values from -1 to 1."""
    return np.ascontiguousarray(np.moveaxis(np.asarray(image, np.float32) / 127.5 - 1, 2, 0))


def padded(plane: NDArray[Any], multiple: int) -> NDArray[Any]:
    """Return a (..., H, W) array padded with zeros at the bottom and right to multiples of `multiple`."""
    height, width = plane.shape[-2:]
    margins = [(0, 0)] * (plane.ndim - 2) + [(0, -height % multiple), (0, -width % multiple)]
    return np.pad(plane, margins)


def network_input(
    design: Design, image: NDArray[np.float32], clicks: Sequence[Click], previous: Mask | None
) -> torch.Tensor:
    """Return the input of the network, a (C, H, W) float32 tensor.

    Parameters
    ----------
    design : Design
        Sizes of the network.
    image : (3, H, W) float32 array
        Padded result of `grey_values`.
    clicks : sequence of Click
        All clicks so far; clicks outside the image have no effect.
    previous : (H, W) bool array or None
        Prediction before the newest click; None for an empty one.
    """
    import torch

    # Copy the array into memory of torch. With memory of NumPy the last bits of sums depend on its alignment.
    planes = torch.from_numpy(image).clone()
    if not design.clicks:
        return planes
    size = (image.shape[1], image.shape[2])
    rows = [(float(c.point[0]), float(c.point[1]), k, c.positive) for k, c in enumerate(clicks)]
    discs = disk_maps(point_tensor([rows]), size, design.radius)[0]
    before = np.zeros(size, np.float32) if previous is None else previous.astype(np.float32)
    return torch.cat([planes, discs, torch.from_numpy(before)[None]])
