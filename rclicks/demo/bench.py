"""The models of the demo, and what they predict for a session.

A prediction is computed from the session alone: image, model and clicks. What is kept here for speed (loaded models,
encoded images, rounds) is found by exactly these and holds nothing of a visitor, so forgetting it changes no result.
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
MODELS, IMAGES, ROUNDS = 2, 4, 32  # how many are kept; weights and pictures are large
SHOWN = 4  # samples of a model that draws many

Key = tuple[str, ...]
T = TypeVar("T")


class _Recent(Generic[T]):
    """The values that were asked for last."""

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
    """All models, one visitor at a time.

    Parameters
    ----------
    registry : Registry
    extra : sequence of str
        Models to offer beside those that are found, with options and checkpoints.
    device : str
        "cpu", "cuda" or "cuda:1"; never chosen silently.
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
        """Models of images that take clicks and need no weights or whose weights are found, after those named."""
        return [*self._extra, *(n for n in self.registry.models if n not in self._extra and self._ready(n))]

    def card(self, name: str) -> ModelCard:
        """Return the card of a model that the demo can play.

        Raises
        ------
        UnknownNameError
            If there is no such model.
        ProtocolError
            If it is one of volumes, or takes no clicks.
        """
        card = self.registry.find("model", parse(name).name).card
        assert isinstance(card, ModelCard)  # noqa: S101 - the registry's own promise
        if card.dims != 2 or "click" not in card.takes:
            raise ProtocolError(
                f"model {name!r} has {card.dims} axes and takes {', '.join(card.takes)}; the demo plays models of "
                "images (two axes) that take clicks"
            )
        return card

    def load(self, name: str) -> Model:
        """Return a model, loaded once.

        Raises
        ------
        UnknownNameError, ProtocolError, WeightsError
        PluginError
            Also if the packages that it needs are not installed.
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
        """Return the (H, W) bool prediction before the first click, which is empty, and after each click."""
        found = [np.zeros(session.sample.shape, bool)]
        for state in self.rounds(session):
            assert state.mask is not None  # noqa: S101 - it was checked
            found.append(state.mask)
        return found

    def rounds(self, session: Session) -> list[State]:
        """Return the state after each click, as the engine plays them: every round sees the one before.

        Raises
        ------
        RunError
            If the model answers what no model may.
        OutOfMemory
            If the image does not fit.
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
        """Return the (H, W) masks of the model's answers to the last click, by name; {} if it has just one.

        They are those that the model calls candidates; of one that draws samples, the `SHOWN` samples that `distinct`
        chooses.
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
        """Return a session of the same image and model in which `rater` placed up to `count` clicks of the base rule.

        Raises
        ------
        DataError
            If there is no reference, or not of that rater.
        """
        played = session.clear()
        while len(played.clicks) < count and (click := played.suggest(rater, self.masks(played)[-1])):
            played = played.place(click)
        return played

    def scores(self, session: Session, mask: Mask) -> dict[str, dict[str, float]]:
        """Return IoU and Dice of a mask to each rater who drew something; {} without a reference."""
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
        """Return what a prediction depends on beside the clicks; the name too, for some models draw numbers by it."""
        image = np.ascontiguousarray(session.sample.image)
        digest = hashlib.sha256(image.tobytes()).hexdigest()
        return session.model, session.sample.dataset, session.sample.id, str(image.shape), digest

    def _embed(self, model: Model, session: Session) -> Any:
        return self._encoded.get(self._key(session), lambda: model.embed(session.sample.blind()))

    def _play(self, model: Model, session: Session, count: int, before: State) -> State:
        """Return the state after the first `count` clicks, from that of one click less."""
        pool = BatchRunner(model, self._embed(model, session), 1, shape=session.sample.shape)
        (decoded,) = pool.decode([replace(before, interactions=session.clicks[:count])])
        if decoded.error is not None:
            raise RunError(f"{session.model} returned {decoded.error} after click {count}")
        return decoded.state
