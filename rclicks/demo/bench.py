"""The models of the demo, and their predictions for a session.

A prediction depends on the session alone: image, model and clicks. Loaded models, encoded images and rounds are cached
under exactly these keys. The caches contain nothing about a visitor, and dropping an entry changes no result.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import RLock
from typing import Any, Generic, TypeVar

import numpy as np

from rclicks.cards import ModelCard
from rclicks.demo.agreement import distinct
from rclicks.demo.session import Session
from rclicks.engine.batching import BatchRunner
from rclicks.engine.loading import find_weights, load_model
from rclicks.errors import PluginError, ProtocolError, RunError, WeightsError
from rclicks.metrics.catalogue import score
from rclicks.models.contract import Model, State
from rclicks.protocol import Protocol as Rules
from rclicks.registry import Registry
from rclicks.sample import Mask
from rclicks.specs import parse

__all__ = ["Bench"]

SCORES = ("iou", "dice")
MODELS, IMAGES, ROUNDS = 2, 4, 32  # sizes of the caches; weights and encoded images need much memory
SHOWN = 4  # number of samples that are shown of a model that draws many

Key = tuple[str, ...]
T = TypeVar("T")


class _Recent(Generic[T]):
    """Cache of the most recently used values."""

    def __init__(self, limit: int) -> None:
        self._limit, self._kept = limit, OrderedDict[Any, T]()

    def peek(self, key: Any) -> T | None:
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def put(self, key: Any, value: T) -> T:
        self._kept[key] = value
        self._kept.move_to_end(key)
        while len(self._kept) > self._limit:
            self._kept.popitem(last=False)
        return value

    def get(self, key: Any, make: Callable[[], T]) -> T:
        found = self.peek(key)
        return self.put(key, make()) if found is None else found


class Bench:
    """All models of the demo. It serves one visitor at a time.

    Parameters
    ----------
    registry : Registry
    extra : sequence of str
        Specs of models that are offered in addition to those that are found, with options and checkpoints.
    device : str
        "cpu", "cuda" or "cuda:1"; there is no automatic choice.

    Raises
    ------
    UnknownNameError, ProtocolError
        If a model in `extra` does not exist or cannot be used in the demo.
    """

    def __init__(self, registry: Registry, extra: Sequence[str] = (), device: str = "cpu") -> None:
        self.registry, self.device = registry, device
        self._extra = tuple(extra)
        self._models = _Recent[Model](MODELS)
        self._encoded = _Recent[Any](IMAGES)
        self._rounds = _Recent[State](ROUNDS)
        self._turn = RLock()
        for name in extra:
            self.card(name)

    @property
    def names(self) -> list[str]:
        """Specs of the extra models, then names of all models that take clicks on images and can be loaded."""
        return [*self._extra, *(n for n in self.registry.models if n not in self._extra and self._ready(n))]

    def card(self, name: str) -> ModelCard:
        """Return the card of a model that the demo can use.

        Raises
        ------
        UnknownNameError
            If there is no such model.
        ProtocolError
            If the model is for volumes, or takes no clicks.
        """
        card = self.registry.find("model", parse(name).name).card
        assert isinstance(card, ModelCard)  # noqa: S101 - guaranteed by the registry
        if card.dims != 2 or "click" not in card.takes:
            raise ProtocolError(
                f"model {name!r} is for {card.dims}-D data and takes {', '.join(card.takes)}; the demo needs models of "
                "images (2-D) that take clicks"
            )
        return card

    def load(self, name: str) -> Model:
        """Return a loaded model; the most recently used models are cached.

        Raises
        ------
        UnknownNameError, ProtocolError
            If the model does not exist or cannot be used in the demo.
        WeightsError
            If the weights are missing or do not fit.
        PluginError
            If a package that the model needs is not installed.
        """
        card = self.card(name)
        with self._turn:
            try:
                return self._models.get(name, lambda: load_model(self.registry, parse(name), self.device))
            except ImportError as error:
                raise PluginError(
                    f"model {name!r} needs packages that are not installed ({error}): "
                    f"pip install 'rclicks[{card.extra or 'test'}]'"
                ) from error

    def masks(self, session: Session) -> list[Mask]:
        """Return the (H, W) bool predictions: the empty mask before the first click, and the mask after each click."""
        found = [np.zeros(session.sample.shape, bool)]
        for state in self.rounds(session):
            assert state.mask is not None  # noqa: S101 - the batch runner has checked it
            found.append(state.mask)
        return found

    def rounds(self, session: Session) -> list[State]:
        """Return the state after each click. As in the engine, each round starts from the state of the previous round.

        Raises
        ------
        RunError
            If the model returns an invalid prediction.
        OutOfMemory
            If the device or the machine runs out of memory.
        """
        if not session.clicks:
            return []
        with self._turn:
            model, key = self.load(session.model), self._key(session)
            done: list[State] = []
            state = State()
            for count in range(1, len(session.clicks) + 1):
                known = (key, session.clicks[:count])
                state = self._rounds.peek(known) or self._rounds.put(known, self._play(model, session, count, state))
                done.append(state)
            return done

    def candidates(self, session: Session) -> dict[str, Mask]:
        """Return the (H, W) masks of the model's predictions for the last click, by name; {} if there is only one.

        They are the candidates of the model (`Model.candidates`). For a model that draws samples instead, they are the
        `SHOWN` samples that `distinct` chooses.
        """
        with self._turn:
            rounds = self.rounds(session)
            model = self.load(session.model)
            if not rounds:
                return {}
            embedding, threshold = self._embed(model, session), model.card.threshold
            few = model.candidates(embedding, rounds[-1])
            if few is not None:
                return {f"candidate {number}": mask for number, mask in enumerate(few > threshold, 1)}
            samples = model.samples(embedding, rounds[-1])
            if samples is None:
                return {}
            drawn = samples > threshold
            return {f"sample {i + 1} of {len(drawn)}": drawn[i] for i in distinct(drawn, SHOWN)}

    def led(self, session: Session, rater: str, count: int) -> Session:
        """Return a session with the same image and model and up to `count` clicks of the base rule that follow `rater`.

        Raises
        ------
        DataError
            If there is no reference mask of this rater.
        """
        played = session.clear()
        while len(played.clicks) < count and (click := played.suggest(rater, self.masks(played)[-1])):
            played = played.place(click)
        return played

    def scores(self, session: Session, mask: Mask) -> dict[str, dict[str, float]]:
        """Return IoU and Dice of a mask with each rater who drew something, by rater; {} without a reference mask."""
        return {rater: score(SCORES, own, mask, Rules()) for rater, own in session.drew().items()}

    def _ready(self, name: str) -> bool:
        try:
            card = self.card(name)
            if card.checkpoint is not None:
                find_weights(self.registry.find("model", name))
        except (ProtocolError, WeightsError, PluginError):
            return False
        return not card.needs

    def _key(self, session: Session) -> Key:
        """Return everything except the clicks that a prediction depends on.

        It contains the name of the sample, because some models use it as a key of their random numbers.
        """
        image = np.ascontiguousarray(session.sample.image)
        digest = hashlib.sha256(image.tobytes()).hexdigest()
        return session.model, session.sample.dataset, session.sample.id, str(image.shape), digest

    def _embed(self, model: Model, session: Session) -> Any:
        return self._encoded.get(self._key(session), lambda: model.embed(session.sample.blind()))

    def _play(self, model: Model, session: Session, count: int, before: State) -> State:
        """Return the state after the first `count` clicks, from the state before the last of them."""
        pool = BatchRunner(model, self._embed(model, session), 1, shape=session.sample.shape)
        (decoded,) = pool.decode([replace(before, interactions=session.clicks[:count])])
        if decoded.error is not None:
            raise RunError(f"{session.model} returned {decoded.error} after click {count}")
        return decoded.state
