"""What a model and its module must do so that the engine can play users against the model.

`Model` is the live object, `ModelModule` the module that makes it: one file or one folder of ``adapters/``.
A model is *stateless*: everything that a trajectory needs lives in its `State`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rclicks.cards import ModelCard
from rclicks.hooks import optional
from rclicks.interaction import Interaction
from rclicks.sample import Mask, Sample

if TYPE_CHECKING:
    from torch import nn

    from rclicks.options import Option
    from rclicks.protocol import Protocol as Rules

__all__ = ["Model", "ModelModule", "State"]


@dataclass(frozen=True, eq=False)
class State:
    """Where one trajectory stands, seen from the model.

    Attributes
    ----------
    interactions : tuple of Interaction
        All interactions so far, oldest first; the last one is new.
    mask : (H, W) or (Z, H, W) bool array or None
        The prediction before the last interaction; None before the first.
    probability : float32 array of the same shape in [0, 1] or None
        Its probabilities; None before the first, for models whose card says ``probabilities=False``, and in volumes,
        where the engine keeps masks alone.
    memory : object
        What the adapter wants back next round (previous logits, region of interest); None at first.
        Must be picklable and must not be mutated in place.
    """

    interactions: tuple[Interaction, ...] = ()
    mask: Mask | None = None
    probability: NDArray[np.float32] | None = None
    memory: Any = None


class Model(ABC):
    """A model ready to play.

    Attributes
    ----------
    card : ModelCard
    device : str
        "cpu", "cuda", "cuda:1", "mps".
    checkpoint_id : str
        "none" for methods without weights, "synthetic" for seeded test weights, else
        "<file>@<first 12 hex digits of its SHA-256>".
    options : mapping of str to value
        Effective options of the adapter, for provenance and the protocol hash; empty by default.
    network : torch.nn.Module or None
        The network with its weights, for tools that call its parts themselves, such as the supervoxels of
        Segment Anything; None, the default, for methods without a network and for remote models.
    precision : str
        In what its network computes; see `rclicks.models.precision`.
    precisions : tuple of str
        The values of the option ``precision`` that its network calls obey; empty for models without such a network.
    """

    card: ModelCard
    device: str = "cpu"
    checkpoint_id: str = "none"
    options: Mapping[str, Any] = MappingProxyType({})
    network: Any = None
    precision: str = "float32"
    precisions: tuple[str, ...] = ()

    @property
    def batched(self) -> bool:
        """Whether `segment` runs its lanes in one network call, so that padding them makes sense."""
        return self.card.batched

    @abstractmethod
    def embed(self, sample: Sample) -> Any:
        """Do the work that depends on the image alone; called once an image.

        `sample` has no targets. The result is shared by all lanes and must not be changed by `segment`.
        """

    @abstractmethod
    def segment(self, embedding: Any, states: Sequence[State]) -> list[State]:
        """Predict the next mask of every state, in order.

        Every returned state has the same interactions, a new bool `mask` of the image's shape, a float32
        `probability` (None if the card says ``probabilities=False``) and the new `memory`. Order and company of the
        states must not matter. The last states may be padding copies; they cost time but their results are dropped.

        Raises
        ------
        OutOfMemory
            Translate the library's own error (see `rclicks.models.devices.translate_memory_errors`).
        """

    def samples(self, embedding: Any, state: State) -> NDArray[np.float32] | None:
        """Return all answers to the interactions of a state that `segment` returned, for measures of sets.

        (M, H, W) or (M, Z, H, W) float32 probabilities in [0, 1], at least one; their masks are what lies above the
        card's `threshold`. None, as here, if the model has one answer alone. A pure function of its arguments; asked
        for only if a benchmark wants such measures.
        """
        return None

    def candidates(self, embedding: Any, state: State) -> NDArray[np.float32] | None:
        """Return the few distinct answers to the interactions of a state that `segment` returned, for display.

        (k, H, W) float32 probabilities in [0, 1]. None, as here, if the model has no such answers; the demo then
        shows some of its `samples`. A pure function of its arguments.
        """
        return None

    def batch_key(self, embedding: Any, state: State) -> Hashable:
        """Return a key such that states of equal keys can run in one network call of one shape.

        The engine only batches states of equal keys, and pads each batch to the canonical lane count.
        """
        return None

    def synchronise(self) -> None:
        """Wait until the device has finished, so that times are honest; a model that runs on the CPU need not."""
        return


class ModelModule(Protocol):
    """The module of a family of models: its cards, and the functions that the engine calls in it.

    `CARDS` and `load` are required. The hooks marked as optional may be absent. `rclicks.hooks` explains which
    arguments are passed.

    Attributes
    ----------
    CARDS : tuple of ModelCard
        Calls of `rclicks.cards.ModelCard` with literal arguments; read without importing the module.
    """

    CARDS: tuple[ModelCard, ...]

    def load(
        self,
        card: ModelCard,
        *,
        checkpoint: str | None,
        device: str,
        protocol: Rules,
        models: Callable[[Any], Model] | None = None,
        **options: Any,
    ) -> Model:
        """Build the model of a card. Called once in each worker process, and by the demo and the tools.

        Parameters
        ----------
        card : ModelCard
            One of `CARDS`.
        checkpoint : str or None
            Path given by the user, "synthetic" for seeded weights of tests, or None for the published file.
        device : str
            "cpu", "cuda", "cuda:1" or "mps"; a method that runs on the CPU only may ignore it.
        protocol : rclicks.protocol.Protocol
            Rules of the run.
        models : callable (spec) -> Model
            Passed on request. Loads another registered model with the same device and protocol, for a model that is
            made of another one. Such a module has the hook `inner_model` too.
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
    def build_network(self, variant: str) -> nn.Module:
        """Return the network of a variant with untrained weights.

        Its state_dict has the keys of the official checkpoint. Called by the conformance suite, which counts the
        parameters on torch's meta device. Required where the card states `parameters`.

        Parameters
        ----------
        variant : str
            `ModelCard.variant`.

        Raises
        ------
        ProtocolError
            If there is no such variant.
        PluginError
            If an optional package is missing.
        """

    @optional
    def inner_model(self, options: Mapping[str, Any]) -> str | Mapping[str, Any]:
        """Return the spec of the registered model that a model made of another one uses.

        Called before a run, because the weights of that model identify the run. A module without the hook has
        weights of its own, or none.

        Parameters
        ----------
        options : mapping
            Options of the spec, without defaults.

        Raises
        ------
        ProtocolError
            If the option that names the model is not a spec.
        """

    @optional
    def checkpoint_path(self, card: ModelCard, checkpoint: str | None) -> Path:
        """Return the weight file or folder, for weights that are not one file in the checkpoint folder.

        Called before a run, by ``rclicks doctor`` and by the demo. Without the hook,
        `rclicks.models.weights.find_checkpoint` looks for the file of the card.

        Parameters
        ----------
        card : ModelCard
        checkpoint : str or None
            Path given by the user; None for the published weights. Never "synthetic".

        Raises
        ------
        WeightsError
            If the weights are missing; says where they were looked for and where they are published.
        PluginError
            If they come with a package that is not installed.
        """

    @optional
    def checkpoint_identity(self, path: Path, card: ModelCard) -> str:
        """Return "<name>@<12 hex digits>" of weights that `checkpoint_path` found, for weights that are a folder.

        Called before a run; the identity is part of the run and of the key of every record. It must depend on the
        contents of all files that decide results. Without the hook it is the SHA-256 of the one file.

        Raises
        ------
        WeightsError
            If the weights are not complete, or are not those of the card.
        """

    @optional
    def training_options(self, card: ModelCard, protocol: Rules) -> Mapping[str, Option]:
        """Return the options of a training, which stand in the model's spec.

        Called before a training and by ``rclicks show``, if the card says ``trainable=True``; no heavy package is
        imported. See `rclicks.training.contract.TrainableModule`.
        """

    @optional
    def train(
        self,
        card: ModelCard,
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
