"""Step 1: the same pictures and users on the CPU and on the GPU, for the smallest model of every family."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
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
    if not step.on_gpu:
        for family in order:
            if step.has_time(family, 3.0):
                with step.attempt(family):
                    plain = [_done(play_on_cpu(case)) for case in cases[family]]
                    _compare(step, family, cases[family], plain, _on_device(step, family, cases[family]))
        return
    # One process a picture: 16 cores play five families at once, while this process plays them on the GPU.
    workers = max(1, (os.cpu_count() or 2) - 2)
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        on_cpu: dict[str, list[Future[Played]]] = {family: [] for family in order}
        for number in range(max(map(len, cases.values()), default=0)):
            for family in order:
                if number < len(cases[family]):
                    on_cpu[family].append(pool.submit(play_on_cpu, cases[family][number]))
        others = {}
        for family in order:
            if step.has_time(f"{family} on {step.device}"):
                with step.attempt(f"{family} on {step.device}"):
                    others[family] = _on_device(step, family, cases[family])
        for family in order:
            if family in others:
                with step.attempt(f"{family} on the CPU"):
                    _compare(step, family, cases[family], on_cpu[family], others[family])
        pool.shutdown(wait=False, cancel_futures=True)


def _done(played: Played) -> Future[Played]:
    future: Future[Played] = Future()
    future.set_result(played)
    return future


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
    step: Step, family: str, cases: Sequence[Case], futures: Sequence[Future[Played]], others: Sequence[Played]
) -> None:
    done, late = wait(futures, timeout=max(0.0, step.left()))
    if late:
        step.note(f"not compared: {len(late)} of {len(futures)} plays of {family}, which took too long on the CPU")
    pairs = [(f.result(), other) for f, other in zip(futures, others, strict=True) if f in done]
    if not pairs:
        return
    rows = [[row for played in side for row in played.rows] for side in zip(*[(a, b) for a, b in pairs], strict=True)]
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
        pictures=len({(case.dataset, case.index) for case, f in zip(cases, futures, strict=True) if f in done}),
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
