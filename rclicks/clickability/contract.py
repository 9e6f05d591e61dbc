"""What a click model and its module must do: from an image and an error to a map of where people would click.

`ClickModel` is the live object, `ClickModelModule` the module that makes it: one file or one folder of
``clickability/``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rclicks.cards import ClickModelCard
from rclicks.hooks import optional

if TYPE_CHECKING:
    from rclicks.options import Option
    from rclicks.protocol import Protocol as Rules

__all__ = ["ClickMap", "ClickMapQuery", "ClickModel", "ClickModelModule"]

ClickMap = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class ClickMapQuery:
    """What a map is asked for.

    Attributes
    ----------
    mask : (H, W) array, or (Z, H, W) for models of volumes
        The object: bool, or float in [0, 1].
    error : array of the same shape
        What is to be mended by the click: missed object (then a subset of `mask`), or wrongly taken background. In
        the first round it equals `mask`. bool, or float in [0, 1].
    spacing : tuple of float or None
        Volumes only: size of a voxel along each axis for models that measure distances; None for 1 each.
    """

    mask: NDArray[Any]
    error: NDArray[Any]
    spacing: tuple[float, ...] | None = None


class ClickModel(ABC):
    """A map of where people click. Stateless: what depends on the image alone comes from `prepare`."""

    card: ClickModelCard
    checkpoint_id: str = "none"

    def prepare(self, image: NDArray[np.uint8]) -> Any:
        """Return what depends on the (H, W, 3) uint8 RGB image alone; called once an image."""
        return None

    @abstractmethod
    def maps(self, prepared: Any, queries: Sequence[ClickMapQuery]) -> list[ClickMap]:
        """Return one map an ask, each (H, W), finite and not negative.

        Maps are not normalised and may be positive outside the error; whoever samples from them multiplies by the
        error mask and normalises. Networks answer all asks in one call (`card.batched`).

        Parameters
        ----------
        prepared
            What `prepare` returned for the image.
        queries : sequence of Ask
            Of one image, all (H, W).
        """


class ClickModelModule(Protocol):
    """The module of a family of click models: its cards, and the functions that the engine calls in it.

    `CARDS` and `load` are required. The hook marked as optional may be absent. `rclicks.hooks` explains which
    arguments are passed.

    Attributes
    ----------
    CARDS : tuple of ClickModelCard
        Calls of `rclicks.cards.ClickModelCard` with literal arguments; read without importing the module.
    """

    CARDS: tuple[ClickModelCard, ...]

    def load(
        self, card: ClickModelCard, *, checkpoint: str | None, device: str, protocol: Rules, **options: Any
    ) -> ClickModel:
        """Build a click model. Called in each worker process before the first map is needed.

        Parameters
        ----------
        card : ClickModelCard
            One of `CARDS`.
        checkpoint : str or None
            Path given by the user, "synthetic" for seeded weights of tests, or None for the published file. The
            engine refuses one for a card without `parameters`.
        device : str
            "cpu", "cuda", "cuda:1" or "mps".
        protocol : rclicks.protocol.Protocol
            Rules of the run.
        **options
            Options of the spec.

        Raises
        ------
        ProtocolError
            If an option is unknown or its value is not allowed.
        WeightsError
            If the weights are missing, unsafe or do not fit.
        PluginError
            If an optional package is missing.
        """

    @optional
    def shipped_weights(self, card: ClickModelCard) -> str:
        """Return the identity "<file>@<12 hex digits of SHA-256>" of weights that come with the package.

        Called before a run if the user gave no checkpoint; the identity is part of the run. A module without the hook
        has no weights, or those that `ClickModelCard.checkpoint` names.
        """

    @optional
    def training_options(self, card: ClickModelCard, protocol: Rules) -> Mapping[str, Option]:
        """Return the options of a training, which stand in the model's spec.

        Called before a training and by ``rclicks show``, if the card says ``trainable=True``; no heavy package is
        imported. See `rclicks.training.contract.TrainableModule`.
        """

    @optional
    def train(
        self,
        card: ClickModelCard,
        data: Any,
        out: Path,
        *,
        settings: Any,
        protocol: Rules,
        start: Path | None,
        report: Callable[[Any], None],
        **options: Any,
    ) -> Any:
        """Train the network of a card, write its weights below `out`, and return how it went.

        Called by ``rclicks train`` and `rclicks.train`, if the card says ``trainable=True``. See
        `rclicks.training.contract.TrainableModule`: `data` is a `TrainingData`, `settings` a `TrainingSettings`, and
        `report` takes a `rclicks.training.loop.Progress`, and the result is a `rclicks.training.loop.Result`.

        Raises
        ------
        DataError, ProtocolError, WeightsError, PluginError, OutOfMemory
        """
