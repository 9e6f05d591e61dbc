"""What an adapter must do so that the engine can play users against a model.

An adapter module (one file of adapters/) has

* ``CARDS``: a tuple of `rclicks.cards.ModelCard`, literals only;
* ``load(card, *, checkpoint=None, device="cpu", protocol=DEFAULT, **options) -> Model``;
* for torch models ``build_network(variant) -> torch.nn.Module`` with the official checkpoint's state_dict keys.

A model is *stateless*: everything that a trajectory needs lives in its `State`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rclicks.cards import ModelCard
from rclicks.interaction import Interaction
from rclicks.sample import Mask, Sample

__all__ = ["Model", "State"]


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
    options : dict
        Effective options of the adapter, for provenance and the protocol hash.
    precision : str
        In what its network computes; see `rclicks.models.precision`.
    precisions : tuple of str
        The values of the option ``precision`` that its network calls obey; empty for models without such a network.
    """

    card: ModelCard
    device: str = "cpu"
    checkpoint_id: str = "none"
    options: dict[str, Any]
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

    def lane_key(self, embedding: Any, state: State) -> Hashable:
        """Return a key such that states of equal keys can run in one network call of one shape.

        The engine only batches states of equal keys, and pads each batch to the canonical lane count.
        """
        return None

    def synchronise(self) -> None:
        """Wait until the device has finished, so that times are honest; a model that runs on the CPU need not."""
        return
