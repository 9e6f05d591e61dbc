"""Step 8: what CUDA graphs and torch.compile would gain, part by part of a network.

The parts are the sub-modules that a model calls when it encodes and decodes; each is called again with the arguments of
such a call. Nothing of this is used by rclicks yet: the step says whether it would pay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from gpucheck.context import Step
from gpucheck.models import named, pictures, spec_of
from gpucheck.playing import Case, case_sample
from gpucheck.steps.throughput import second_round
from gpucheck.timing import free_memory, median_ms
from rclicks.engine.loading import load_model
from rclicks.models.contract import Model
from rclicks.models.precision import network_precision, set_precision
from rclicks.protocol import Protocol
from rclicks.registry import Registry
from rclicks.sample import Sample
from rclicks.specs import parse

FIRST = ("ritm-h18s", "mobilesam", "sam-vit-b")
BATCH = 11
SHORTEST = 0.2  # ms; parts that take less are left out
COMPILE_SECONDS = 25.0


@dataclass(frozen=True, eq=False)
class Part:
    """A call of a sub-module."""

    name: str
    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __call__(self) -> Any:
        """Call it again."""
        return self.module(*self.args, **self.kwargs)


def run(step: Step) -> None:
    """Measure the parts of a few models in bf16."""
    registry = Registry.discover()
    sample = case_sample(Case("", *pictures(step, 1)[0])).blind()
    for compile_too in (False, True):
        for card in named(registry, FIRST):
            if not step.has_time(
                f"{card.name}{' compiled' if compile_too else ''}", COMPILE_SECONDS if compile_too else 5
            ):
                continue
            with step.attempt(card.name):
                model = load_model(registry, parse(spec_of(registry, card)), step.device, Protocol())
                set_precision(model, "bf16")
                for part in parts_of(model, sample):
                    with step.attempt(f"{card.name}: {part.name}"):
                        _measure(step, model, card.name, part, compile_too)
            free_memory(step.device)


def parts_of(model: Model, sample: Sample) -> list[Part]:
    """Return the last call of every child module that the model calls, parents instead of their own children."""
    network = next(m for m in _modules(model))
    calls: dict[str, Part] = {}
    depth = 0

    def before(module: nn.Module, args: Any, kwargs: Any) -> None:
        nonlocal depth
        if depth == 0:
            calls[names[id(module)]] = Part(names[id(module)], module, args, kwargs)
        depth += 1

    def after(*_: Any) -> None:
        nonlocal depth
        depth -= 1

    names = {id(module): name for name, module in network.named_modules() if name}
    hooks = []
    for name, module in network.named_modules():
        if name:
            hooks.append(module.register_forward_pre_hook(before, with_kwargs=True))
            hooks.append(module.register_forward_hook(after))
    try:
        embedding, states = second_round(model, sample, BATCH)
        model.segment(embedding, states)
    finally:
        for hook in hooks:
            hook.remove()
    return list(calls.values())


def _modules(model: Model) -> list[nn.Module]:
    found = [value for value in vars(model).values() if isinstance(value, nn.Module)]
    # A family may hand over a method of its network instead of the network itself.
    owners = [getattr(value, "__self__", None) for value in vars(model).values()]
    return found + [owner for owner in owners if isinstance(owner, nn.Module)]


def _measure(step: Step, model: Model, name: str, part: Part, compile_too: bool) -> None:
    with torch.inference_mode(), network_precision(model.precision, step.device):
        eager = median_ms(part, step.device, repeats=9, seconds=1.0)
        if eager < SHORTEST:
            return
        if not compile_too:
            graph = median_ms(graphed(part), step.device, repeats=9, seconds=1.0)
            step.row(
                "CUDA graphs", model=name, part=part.name, **{"ms": eager, "graph, ms": graph, "ratio": eager / graph}
            )
            return
        compiled = torch.compile(part.module, dynamic=False)
        call = Part(part.name, compiled, part.args, part.kwargs)
        took = median_ms(call, step.device, repeats=9, seconds=COMPILE_SECONDS)
        step.row(
            "torch.compile", model=name, part=part.name, **{"ms": eager, "compiled, ms": took, "ratio": eager / took}
        )


def graphed(part: Part) -> Callable[[], None]:
    """Return a function that replays the kernels of a call; its arguments stay where they are.

    Raises
    ------
    RuntimeError
        If the call cannot be captured, for example because it waits for a number.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            part()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        part()
    return graph.replay
