"""Step 1: the same pictures and users on the CPU and on the GPU, for the smallest model of every family."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from gpucheck.compare import compare
from gpucheck.context import Step
from gpucheck.models import families, pictures, spec_of
from gpucheck.playing import BASE, GROUPS, Case, Played, case_sample, play_model
from gpucheck.playing import play_case as play_on_cpu
from gpucheck.timing import copies, free_memory, waits_ms
from rclicks.engine.loading import load_model
from rclicks.errors import RclicksError
from rclicks.interaction import Click
from rclicks.models.contract import Model, State
from rclicks.protocol import Protocol
from rclicks.registry import Registry
from rclicks.specs import parse

ENGINE_LANES = {"cuda": 16, "cpu": 4}  # the batch size compared with the CPU's 1; 16 is the engine's own on GPUs
RESERVE = 6.0  # seconds that are kept to compare what was played
PICTURES, CLICKS = {"cuda": 3, "cpu": 1}, {"cuda": 5, "cpu": 2}
USERS = {"cuda": (BASE, GROUPS), "cpu": (BASE, "sampled:model=distance,groups=2")}


def run(step: Step) -> None:
    """Play each family on both devices and compare; device placement, copies and `synchronise` beside it."""
    registry = Registry.discover()
    cases: dict[str, list[Case]] = {}
    for family, cards in families(registry).items():
        with step.attempt(f"family {family}"):
            try:
                spec = spec_of(registry, cards[0])
            except RclicksError as error:
                step.row("records", family=family, model=cards[0].name, result=f"not run: {error}")
                continue
            found = pictures(step, PICTURES[step.device])
            clicks = CLICKS[step.device]
            # The base rule of all pictures first: a slow model then has at least that to show.
            cases[family] = [
                Case(spec, *where, users=(user,), clicks=clicks, threads=1)
                for user in USERS[step.device]
                for where in found
            ]
    order = sorted(cases, key=lambda family: families(registry)[family][0].parameters)
    if step.on_gpu:
        _side_by_side(step, order, cases)
        return
    for family in order:
        if step.has_time(family, 3.0):
            with step.attempt(family):
                plain = [play_on_cpu(case) for case in cases[family]]
                _compare(step, family, cases[family], plain, _on_device(step, family, cases[family]))


def _side_by_side(step: Step, order: Sequence[str], cases: Mapping[str, Sequence[Case]]) -> None:
    """Play on all cores, one play a process, and meanwhile on the GPU in this process."""
    # A pool that can be ended at once: what is late shall not hold up the next step.
    with multiprocessing.get_context("spawn").Pool(max(1, (os.cpu_count() or 2) - 2)) as pool:
        waiting: dict[str, list[Any]] = {family: [] for family in order}
        for number in range(max((len(own) for own in cases.values()), default=0)):
            for family in order:
                if number < len(cases[family]):
                    waiting[family].append(pool.apply_async(play_on_cpu, (cases[family][number],)))
        others: dict[str, list[Played]] = {}
        for family in order:
            if step.has_time(f"{family} on {step.device}", RESERVE):
                with step.attempt(f"{family} on {step.device}"):
                    others[family] = _on_device(step, family, cases[family])
            for ready in [name for name in others if all(result.ready() for result in waiting[name])]:
                played = others.pop(ready)
                with step.attempt(f"{ready} on the CPU"):
                    _compare(step, ready, cases[ready], [result.get() for result in waiting[ready]], played)
        for family, played in others.items():
            with step.attempt(f"{family} on the CPU"):
                late = [_wait(result, step.left() - 1) for result in waiting[family]]
                _compare(step, family, cases[family], late, played)


def _wait(result: Any, seconds: float) -> Played | None:
    """Return a play, None if it is not ready in time."""
    try:
        played: Played = result.get(timeout=max(0.0, seconds))
    except multiprocessing.TimeoutError:
        return None
    return played


def _on_device(step: Step, family: str, cases: Sequence[Case]) -> list[Played]:
    spec = cases[0].spec
    protocol = Protocol.named("default", clicks=cases[0].clicks)
    model = load_model(Registry.discover(), parse(spec), step.device, protocol)
    batch_size = ENGINE_LANES[step.device]
    played = [play_model(model, replace(case, device=step.device, batch_size=batch_size)) for case in cases]
    if step.on_gpu:
        with step.attempt(f"{family}: device placement"):
            _placement(step, family, model, cases[0])
    del model
    free_memory(step.device)
    return played


def _compare(
    step: Step, family: str, cases: Sequence[Case], plain: Sequence[Played | None], others: Sequence[Played]
) -> None:
    """Write how the plays that both devices ended differ."""
    ended = [(case, a, b) for case, a, b in zip(cases, plain, others, strict=True) if a is not None]
    if late := len(cases) - len(ended):
        step.note(f"not compared: {late} of {len(cases)} plays of {family}, which took too long on the CPU")
    if not ended:
        return
    pairs = [(a, b) for _, a, b in ended]
    rows = [[row for played in side for row in played.rows] for side in zip(*pairs, strict=True)]
    logits: list[dict[Any, Any]] = [{}, {}]
    for number, (a, b) in enumerate(pairs):
        for side, played in zip(logits, (a, b), strict=True):
            side.update({(number, key): value for key, value in played.logits.items()})
    found = compare(rows[0], rows[1], *logits)
    failures = [str(f.get("message")) for a, b in pairs for f in (*a.failures, *b.failures)]
    step.row(
        "records",
        family=family,
        model=parse(cases[0].spec).name,
        weights=pairs[0][0].checkpoint,
        pictures=len({(case.dataset, case.index) for case, _, _ in ended}),
        trajectories=found.trajectories,
        **{
            "equal clicks": found.equal,
            "first diverging round": found.first_round,
            "largest IoU difference": found.iou,
            "largest logit difference": found.logit,
            "result": "equal" if found.equal == found.trajectories and not found.only_one else "diverges",
        },
    )
    if failures:
        step.note(f"{family}: {len(failures)} failures, the first: {failures[0][:300]}")


def _placement(step: Step, family: str, model: Model, case: Case) -> None:
    """Write where the weights lie, what a call copies, and whether `synchronise` waits for all work."""
    sample = case_sample(case).blind()
    height, width = sample.shape
    embedding = model.embed(sample)
    states = [State((Click((height // 2, width // 2), True),))] * 11
    states = model.segment(embedding, states)
    second = [
        State((*s.interactions, Click((height // 3, width // 3), False)), s.mask, s.probability, s.memory)
        for s in states
    ]
    embed_ms, embed_rest = waits_ms(lambda: model.embed(sample), model.synchronise, step.device)
    call_ms, call_rest = waits_ms(lambda: model.segment(embedding, second), model.synchronise, step.device)
    elsewhere = [
        name
        for module in vars(model).values()
        if isinstance(module, torch.nn.Module)
        for name, tensor in (*module.named_parameters(), *module.named_buffers())
        if tensor.device.type != torch.device(step.device).type
    ]
    encoding = copies(lambda: model.embed(sample))
    decoding = copies(lambda: model.segment(embedding, second))
    step.row(
        "device placement",
        family=family,
        **{
            "tensors elsewhere": len(elsewhere),
            "embed: copies to GPU": encoding["to GPU"],
            "embed: from GPU": encoding["from GPU"],
            "segment of 11: copies to GPU": decoding["to GPU"],
            "segment of 11: from GPU": decoding["from GPU"],
            "segment of 11: single numbers": decoding["single numbers"],
            "segment of 11: kernels": decoding["kernels"],
            "embed, ms": embed_ms,
            "work left after synchronise, ms": embed_rest,
            "segment of 11, ms": call_ms,
            "work left after its synchronise, ms": call_rest,
        },
    )
