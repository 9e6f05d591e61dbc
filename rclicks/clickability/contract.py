"""Contract of click models. A click model computes a map of where people click from an image and an error.

`ClickModel` is the class of click models. `ClickModelModule` describes the module that builds one: a file or a folder
in ``clickability/``.
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
    """Input of a click model for one map.

    Attributes
    ----------
    mask : (H, W) array, or (Z, H, W) for volumes
        Reference mask of the object: bool, or float in [0, 1].
    error : array of the same shape
        Error that the click should correct: false negatives, which are a subset of `mask`, or false positives. In the
        first round it equals `mask`. bool, or float in [0, 1].
    spacing : tuple of float or None
        Voxel size along each axis in mm, for click models of volumes that measure distances; None for 1 on each axis.
    """

    mask: NDArray[Any]
    error: NDArray[Any]
    spacing: tuple[float, ...] | None = None


class ClickModel(ABC):
    """A model of where people click. It has no state; `prepare` computes everything that depends on the image alone.

    Attributes
    ----------
    card : ClickModelCard
        Facts about the click model.
    checkpoint_id : str
        Identity of the weights; "none" for a model without weights.
    """

    card: ClickModelCard
    checkpoint_id: str = "none"

    def prepare(self, image: NDArray[np.uint8]) -> Any:
        """Return everything that depends on the (H, W, 3) uint8 RGB image alone. It is called once for each image."""
        return None

    @abstractmethod
    def maps(self, prepared: Any, queries: Sequence[ClickMapQuery]) -> list[ClickMap]:
        """Return one map for each query, (H, W), finite and not negative.

        Maps are not normalised and may be positive outside the error. The caller multiplies them by the error mask and
        normalises them. Networks compute all queries in one call (`card.batched`).

        Parameters
        ----------
        prepared
            Result of `prepare` for the image.
        queries : sequence of ClickMapQuery
            Queries for one image, whose arrays all have its shape (H, W).
        """


class ClickModelModule(Protocol):
    """The module of a family of click models: its cards, and the functions that the engine calls in it.

    `CARDS` and `load` are required. The hooks marked as optional may be absent. `rclicks.hooks` explains which
    arguments are passed.

    Attributes
    ----------
    CARDS : tuple of ClickModelCard
        Cards, written as calls of `rclicks.cards.ClickModelCard` with literal arguments. They are read without
        importing the module.
    """

    CARDS: tuple[ClickModelCard, ...]

    def load(
        self, card: ClickModelCard, *, checkpoint: str | None, device: str, protocol: Rules, **options: Any
    ) -> ClickModel:
        """Build a click model. It is called in each worker process before the first map is needed.

        Parameters
        ----------
        card : ClickModelCard
            One of `CARDS`.
        checkpoint : str or None
            Path given by the user, "synthetic" for synthetic weights of tests, or None for the published file. The
            engine refuses a checkpoint if the card has no `parameters`.
        device : str
            Name of the torch device: "cpu", "cuda", "cuda:1" or "mps".
        protocol : rclicks.protocol.Protocol
            Rules of the run.
        **options
            Options of the spec.

        Raises
        ------
        ProtocolError
            If an option is unknown or its value is not allowed.
        WeightsError
            If the weights are missing, contain objects that could run code, or do not fit the network.
        PluginError
            If an optional package is missing.
        """

    @optional
    def shipped_weights(self, card: ClickModelCard) -> str:
        """Return the identity "<file>@<12 hex digits of SHA-256>" of weights that come with the package.

        It is called before a run if the user gave no checkpoint. The run stores the identity. A module without this
        hook has no weights, or the weights that `ClickModelCard.checkpoint` names.
        """

    @optional
    def training_options(self, card: ClickModelCard, protocol: Rules) -> Mapping[str, Option]:
        """Return the options of a training, which the user sets in the spec of the model.

        It is called before a training and by ``rclicks show`` if the card says ``trainable=True``. It must not import
        large packages. See `rclicks.training.contract.TrainableModule`.
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
        """Train the network of a card, write its weights below `out`, and return the result of the training.

        It is called by ``rclicks train`` and `rclicks.train` if the card says ``trainable=True``. `data` is a
        `TrainingData` and `settings` a `TrainingSettings` of `rclicks.training.contract`. `report` takes a
        `rclicks.training.loop.Progress`, and the result is a `rclicks.training.loop.Result`. See
        `rclicks.training.contract.TrainableModule`.

        Raises
        ------
        DataError, ProtocolError, WeightsError, PluginError, OutOfMemory
            As described in `rclicks.training.contract.TrainableModule`.
        """
