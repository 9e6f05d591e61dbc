"""Step 2: milliseconds of encoding and decoding in every precision, at several batch sizes, and peak memory."""

from __future__ import annotations

import time
from typing import Any

from gpucheck.context import Step
from gpucheck.models import families, named, pictures, spec_of
from gpucheck.playing import Case, case_sample
from gpucheck.timing import free_memory, median_ms, peak_gib
from rclicks.cards import ModelCard
from rclicks.engine.loading import load_model
from rclicks.errors import OutOfMemory, RclicksError
from rclicks.interaction import Click
from rclicks.models.contract import Model, State
from rclicks.models.precision import allowed_precisions, set_precision
from rclicks.protocol import Protocol
from rclicks.registry import Registry
from rclicks.sample import Sample
from rclicks.specs import parse

__all__ = ["second_round"]

# In order of value: the protocol's costliest model, then the cheap ones, then sizes between them.
FIRST = ("sam-vit-h", "ritm-h18s", "mobilesam", "sam-vit-b", "ritm-h32", "sam2.1-large", "sam-vit-l")
BATCHES = {"cuda": (1, 4, 11, 32, 64), "cpu": (1, 4)}
MODEL_SECONDS = 25.0  # of which a model's first precision must be reachable


def run(step: Step) -> None:
    """Measure the models of `FIRST`, then the smallest of every family that is not among them."""
    registry = Registry.discover()
    smallest = [cards[0] for cards in families(registry).values()]
    if step.on_gpu:
        cards = named(registry, FIRST)
        measured = {card.family for card in cards}
        cards += [card for card in smallest if card.family not in measured]
    else:
        cards = sorted(smallest, key=lambda card: card.parameters)
    sample = case_sample(Case("", *pictures(step, 1)[0])).blind()
    for card in cards:
        if step.has_time(card.name, MODEL_SECONDS if step.on_gpu else 3.0):
            with step.attempt(card.name):
                _measure(step, registry, card, sample)
        free_memory(step.device)


def _measure(step: Step, registry: Registry, card: ModelCard, sample: Sample) -> None:
    try:
        spec = spec_of(registry, card)
        begun = time.perf_counter()
        model = load_model(registry, parse(spec), step.device, Protocol())
    except RclicksError as error:
        step.note(f"{card.name}: not run: {error}")
        return
    loading = time.perf_counter() - begun
    plain = model.options
    for precision in allowed_precisions(model) or ("float32",):
        if precision != "float32" and not step.has_time(f"{card.name} in {precision}", 5.0 if step.on_gpu else 2.0):
            return
        model.options = plain
        set_precision(model, precision if model.precisions else None)
        with step.attempt(f"{card.name} in {precision}"):
            facts = _times(step, model, sample)
            step.row("encode and decode", model=card.name, precision=precision, **facts, **{"load, s": loading})


def _times(step: Step, model: Model, sample: Sample) -> dict[str, Any]:
    """Return milliseconds and memory of one model in one precision."""
    embedding, states = second_round(model, sample, max(BATCHES[step.device]))
    facts: dict[str, Any] = {"encode ms": median_ms(lambda: model.embed(sample), step.device, seconds=2.0)}
    best = None
    for batch in BATCHES[step.device]:
        if not model.batched and batch > 1:
            break
        if step.left() < 2:
            break
        try:
            took = median_ms(lambda b=batch: model.segment(embedding, states[:b]), step.device, seconds=1.5)
        except OutOfMemory:
            facts[f"ms a click, batch {batch}"] = None
            break
        facts[f"ms a click, batch {batch}"] = took / batch
        best = batch
    if best is not None:
        facts["peak GiB"] = peak_gib(
            lambda: (model.embed(sample), model.segment(embedding, states[:best])), step.device
        )
    return facts


def second_round(model: Model, sample: Sample, count: int) -> tuple[Any, list[State]]:
    """Return an embedding and `count` equal states before their second click, with all that a first answer leaves."""
    height, width = sample.shape
    embedding = model.embed(sample)
    first = model.segment(embedding, [State((Click((height // 2, width // 2), True),))])[0]
    clicks = (*first.interactions, Click((height // 3, width // 3), False))
    return embedding, [State(clicks, first.mask, first.probability, first.memory)] * count
