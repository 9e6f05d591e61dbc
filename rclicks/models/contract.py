"""Contract between the engine and a model, and between the engine and the module that builds the model.

`Model` is the object that predicts masks. `ModelModule` is the module that builds it: one file or one folder of
``adapters/``. A model is *stateless*: everything that a trajectory needs is stored in its `State`.
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
    """State of one trajectory, as the model receives and returns it.

    Attributes
    ----------
    interactions : tuple of Interaction
        All interactions so far, oldest first; the last one is new.
    mask : (H, W) or (Z, H, W) bool array or None
        Prediction before the last interaction; None before the first prediction.
    probability : float32 array of the same shape in [0, 1] or None
        Probabilities of this prediction. None before the first prediction, for models whose card says
        ``probabilities=False``, and in volumes, because the engine keeps only the masks of volumes.
    memory : object
        Data that the adapter needs in the next round (for example previous logits or a region of interest); None at
        first. It must be picklable and must not be changed in place.
    """

    interactions: tuple[Interaction, ...] = ()
    mask: Mask | None = None
    probability: NDArray[np.float32] | None = None
    memory: Any = None


class Model(ABC):
    """A loaded model that predicts masks.

    Attributes
    ----------
    card : ModelCard
        Facts about the model.
    device : str
        "cpu", "cuda", "cuda:1" or "mps".
    checkpoint_id : str
        "none" for methods without weights, "synthetic" for test weights, otherwise
        "<file>@<first 12 hexadecimal digits of its SHA-256>".
    options : mapping of str to value
        Effective options of the adapter. They are stored in the run and are part of its identity; empty by default.
    network : torch.nn.Module or None
        Network with its weights, for tools that call its parts directly, such as the supervoxels of Segment Anything.
        None (the default) for methods without a network and for remote models.
    precision : str
        Numerical precision of the network calls; see `rclicks.models.precision`.
    precisions : tuple of str
        Values of the option ``precision`` that the model supports; empty for models without such a network.
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
        """Whether `segment` predicts all its states in one network call. Only then does the engine pad batches."""
        return self.card.batched

    @abstractmethod
    def embed(self, sample: Sample) -> Any:
        """Return everything that depends on the image alone; called once for each image.

        `sample` has no targets. All trajectories share the result, so `segment` must not change it.
        """

    @abstractmethod
    def segment(self, embedding: Any, states: Sequence[State]) -> list[State]:
        """Predict the next mask of every state, in order.

        Every returned state has the same interactions, a new bool `mask` of the image's shape, a float32
        `probability` (None if the card says ``probabilities=False``) and the new `memory`. The result for a state must
        not depend on the other states or on their order. The last states may be copies that pad the batch; their
        results are discarded.

        Raises
        ------
        OutOfMemory
            If the device or the machine runs out of memory. Adapters convert the error of their library with
            `rclicks.models.devices.translate_memory_errors`.
        """

    def samples(self, embedding: Any, state: State) -> NDArray[np.float32] | None:
        """Return the set of predictions for the interactions of a state that `segment` returned.

        The result is an (M, H, W) or (M, Z, H, W) float32 array of probabilities in [0, 1] with M of at least 1. A mask
        of the set contains the pixels above the card's `threshold`. The default None means that the model has one
        prediction only. The method must be a pure function of its arguments. It is called only if a benchmark has
        metrics of sets.
        """
        return None

    def candidates(self, embedding: Any, state: State) -> NDArray[np.float32] | None:
        """Return a few distinct predictions for the interactions of a state that `segment` returned, for display.

        The result is a (k, H, W) float32 array of probabilities in [0, 1]. The default None means that the model has
        no such predictions; the demo then shows some of its `samples`. The method must be a pure function of its
        arguments.
        """
        return None

    def batch_key(self, embedding: Any, state: State) -> Hashable:
        """Return a key; states with equal keys can be predicted in one network call of one shape.

        The engine puts only states with equal keys into one batch, and pads each batch to the batch size of the run.
        """
        return None

    def synchronise(self) -> None:
        """Wait until the device has finished its work, so that measured times include it; not needed on a CPU."""
        return


class ModelModule(Protocol):
    """The module of a model family: its cards, and its functions that the engine calls.

    `CARDS` and `load` are required. The hooks marked as optional may be absent. `rclicks.hooks` explains which
    arguments are passed.

    Attributes
    ----------
    CARDS : tuple of ModelCard
        Calls of `rclicks.cards.ModelCard` with literal arguments; they are read without importing the module.
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
            Path given by the user, "synthetic" for test weights, or None for the published file.
        device : str
            "cpu", "cuda", "cuda:1" or "mps"; a method that runs on the CPU only may ignore it.
        protocol : rclicks.protocol.Protocol
            Evaluation rules of the run.
        models : callable (spec) -> Model
            Function that loads another registered model with the same device and protocol, for a model that uses
            another one. It is passed only if `load` has this parameter. Such a module also has the hook `inner_model`.
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
    def load_options(self, card: ModelCard, protocol: Rules) -> Mapping[str, Option]:
        """Return the options of `load` by name, for a module whose `load` has ``**options``.

        Called before a run, so that a wrong option is an error of the plan and not of every unit. The function must not
        import slow packages such as torch. An option that only `load` can check is a `rclicks.options.AnyValue`.
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
        """Return the spec of the registered model that this model uses.

        Called before a run, because the weights of the inner model are part of the identity of the run. A module
        without this hook has its own weights or none.

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
        """Return the path of the weights, for weights that are not a single file in the checkpoint folder.

        Called before a run, by ``rclicks doctor`` and by the demo. Without this hook,
        `rclicks.models.weights.find_checkpoint` looks for the file named on the card.

        Parameters
        ----------
        card : ModelCard
        checkpoint : str or None
            Path given by the user; None for the published weights. Never "synthetic".

        Raises
        ------
        WeightsError
            If the weights are missing. The message says where they were searched and where they are published.
        PluginError
            If the weights are part of a package that is not installed.
        """

    @optional
    def checkpoint_identity(self, path: Path, card: ModelCard) -> str:
        """Return "<name>@<12 hexadecimal digits>" for weights that `checkpoint_path` found and that are a folder.

        Called before a run; the identity is part of the run and of the key of every record. It must depend on the
        contents of all files that influence results. Without this hook it is the SHA-256 of the single file.

        Raises
        ------
        WeightsError
            If the weights are incomplete or do not belong to the card.
        """

    @optional
    def training_options(self, card: ModelCard, protocol: Rules) -> Mapping[str, Option]:
        """Return the options of a training by name; the caller sets them in the spec of the model.

        Called before a training and by ``rclicks show``, if the card says ``trainable=True``. The function must not
        import slow packages such as torch. See `rclicks.training.contract.TrainableModule`.
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
        """Train the network of a card, write its weights to the folder `out`, and return the result.

        Called by ``rclicks train`` and `rclicks.train`, if the card says ``trainable=True``. See
        `rclicks.training.contract.TrainableModule`: `data` is a `TrainingData`, `settings` is a `TrainingSettings`,
        `report` takes a `rclicks.training.loop.Progress`, and the result is a `rclicks.training.loop.Result`.

        Raises
        ------
        DataError
            If the data cannot be trained on.
        ProtocolError
            If a setting, an option or the protocol is refused.
        WeightsError
            If the weights in `start` do not fit.
        PluginError
            If an optional package is missing.
        OutOfMemory
            If the device or the machine runs out of memory.
        """
