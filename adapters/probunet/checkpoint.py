"""What training and adapter of a probabilistic U-Net share: its sizes, its input, its checkpoints.

A checkpoint is a torch file of tensors and plain values that says itself which sizes its network has:
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
LARGEST = 4096  # channels of a stage, numbers of a latent: a checkpoint that asks for more is refused


@dataclass(frozen=True, kw_only=True)
class Design:
    """The sizes of a network.

    Attributes
    ----------
    features : tuple of int
        Channels of each stage, from the full resolution down; two stages or more.
    latent : int
        Numbers in a latent.
    clicks : bool
        Whether positive clicks, negative clicks and the previous mask are input channels. Without them it is the
        published model, which answers the same whatever is clicked.
    radius : int
        Of the clicks' discs, in pixels.
    leak : float
        Slope of the rectifiers below 0; published is 0, with which narrow networks can lose features for good.
    """

    features: tuple[int, ...] = (8, 16, 24, 32)
    latent: int = 6
    clicks: bool = True
    radius: int = 3
    leak: float = 0.1

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        numbers = (*self.features, self.latent, self.radius)
        if not all(isinstance(n, int) and 1 <= n <= LARGEST for n in numbers) or not 2 <= len(self.features) <= 8:
            raise ProtocolError(
                f"a probabilistic U-Net of stages {self.features}, latent {self.latent} and discs of radius "
                f"{self.radius} cannot be built; expected 2 to 8 stages and whole numbers from 1 to {LARGEST}"
            )
        if not isinstance(self.leak, float) or not 0 <= self.leak < 1:
            raise ProtocolError(f"leak of a probabilistic U-Net is {self.leak!r}; expected a number from 0 to below 1")
        if not isinstance(self.clicks, bool):
            raise ProtocolError(f"clicks of a probabilistic U-Net is {self.clicks!r}; expected true or false")

    @property
    def reduction(self) -> int:
        """Sides of the input are multiples of this."""
        return int(2 ** (len(self.features) - 1))

    @property
    def channels(self) -> int:
        """Of the input: red, green, blue and, with clicks, three more."""
        return 6 if self.clicks else 3


def build(design: Design) -> ProbabilisticUNet:
    """Return the untrained network of a design."""
    from .network import ProbabilisticUNet

    return ProbabilisticUNet(design.channels, design.features, design.latent, design.leak)


def checkpoint_of(network: torch.nn.Module, design: Design) -> dict[str, Any]:
    """Return what a checkpoint's file holds."""
    plain = asdict(design) | {"features": list(design.features)}
    return {"format": FORMAT, "design": plain, "state": dict(network.state_dict())}


def read_network(path: Path) -> tuple[ProbabilisticUNet, Design]:
    """Return the network of a checkpoint and its sizes; nothing in the file is run.

    Raises
    ------
    WeightsError
        If the file is damaged, unsafe, of another kind, or contradicts itself.
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
        raise WeightsError(f"{path} does not say which network it holds ({error!r}); train it again") from error
    network = build(design)
    load_into(network, state, str(path))
    return network, design


def grey_values(image: NDArray[Any]) -> NDArray[np.float32]:
    """Return (3, H, W) float32 values from -1 to 1 of an (H, W, 3) uint8 image."""
    return np.ascontiguousarray(np.moveaxis(np.asarray(image, np.float32) / 127.5 - 1, 2, 0))


def padded(plane: NDArray[Any], multiple: int) -> NDArray[Any]:
    """Return a (..., H, W) array with zeros below and to the right, so that both sides are multiples of a number."""
    height, width = plane.shape[-2:]
    margins = [(0, 0)] * (plane.ndim - 2) + [(0, -height % multiple), (0, -width % multiple)]
    return np.pad(plane, margins)


def network_input(
    design: Design, image: NDArray[np.float32], clicks: Sequence[Click], previous: Mask | None
) -> torch.Tensor:
    """Return the (C, H, W) float32 tensor that the network sees.

    Parameters
    ----------
    design : Design
    image : (3, H, W) float32 array
        Of `grey_values`, padded.
    clicks : sequence of Click
        All so far; those beyond the image are not seen.
    previous : (H, W) bool array or None
        The answer before the newest click; None for none.
    """
    import torch

    # A copy in torch's own memory: sums over NumPy's differ in the last bits with where it happens to lie.
    planes = torch.from_numpy(image).clone()
    if not design.clicks:
        return planes
    size = (image.shape[1], image.shape[2])
    rows = [(float(c.point[0]), float(c.point[1]), k, c.positive) for k, c in enumerate(clicks)]
    discs = disk_maps(point_tensor([rows]), size, design.radius)[0]
    before = np.zeros(size, np.float32) if previous is None else previous.astype(np.float32)
    return torch.cat([planes, discs, torch.from_numpy(before)[None]])
