"""Step 5: a batch that does not fit, two processes on one device, a worker that is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import torch

import rclicks
from gpucheck.context import Step
from gpucheck.models import families, pictures, spec_of
from gpucheck.playing import BASE, GROUPS, Case, case_sample, play_model
from gpucheck.steps.throughput import second_round
from gpucheck.timing import free_memory, peak_gib
from rclicks.engine.loading import load_model
from rclicks.models.contract import Model
from rclicks.protocol import Protocol
from rclicks.records.store import same_records
from rclicks.registry import Registry
from rclicks.specs import parse

MANY, FEW = 64, 8


def run(step: Step) -> None:
    """Run the three checks; the first needs a GPU."""
    registry = Registry.discover()
    smallest = sorted((cards[0] for cards in families(registry).values()), key=lambda card: card.parameters)
    specs = [spec_of(registry, card) for card in smallest if card.batched][:2]
    if step.on_gpu:
        for spec in specs:
            if step.has_time(f"out of memory with {spec}", 8.0):
                with step.attempt(f"out of memory with {spec}"):
                    _halving(step, registry, spec)
            torch.cuda.set_per_process_memory_fraction(1.0)
            free_memory(step.device)
        if step.has_time("memory of a killed process", 10.0):
            with step.attempt("memory of a killed process"):
                _killed(step)
    else:
        step.note("a batch that does not fit and the memory of a killed process were not tried: they need a GPU")
    if step.has_time("a killed worker", 12.0):
        with step.attempt("a killed worker"):
            _workers(step, specs[0] if step.on_gpu else spec_of(registry, smallest[0]))


def _halving(step: Step, registry: Registry, spec: str) -> None:
    """Leave less memory than a batch of `MANY` needs and more than one of `FEW`, then play."""
    device = step.device
    where = pictures(step, 1)[0]
    case = Case(spec, *where, users=(GROUPS,), clicks=3, device=device, batch_size=MANY)
    model = load_model(registry, parse(spec), device, Protocol.named("default", clicks=case.clicks))
    small, large = _needs(model, case)
    allowed = small + (large - small) * 0.4
    free_memory(device)
    total = torch.cuda.get_device_properties(0).total_memory / 2**30
    torch.cuda.set_per_process_memory_fraction(allowed / total)
    played = play_model(model, case)
    torch.cuda.set_per_process_memory_fraction(1.0)
    sizes = sorted({row["lanes"] for row in played.rows}, reverse=True)
    step.row(
        "out of memory",
        model=parse(spec).name,
        **{
            f"GiB, batch {FEW}": small,
            f"GiB, batch {MANY}": large,
            "GiB allowed": allowed,
            "asked for": MANY,
            "in the records": ", ".join(map(str, sizes)),
            "rows": len(played.rows),
            "failures": len(played.failures),
            "result": "halved" if sizes and max(sizes) < MANY and not played.failures else "WRONG",
        },
    )


def _needs(model: Model, case: Case) -> tuple[float, float]:
    """Return the GiB that encoding and a batch of `FEW` take, whichever is more, and those of a batch of `MANY`."""
    sample = case_sample(case).blind()
    encoding = peak_gib(lambda: model.embed(sample), case.device)
    embedding, states = second_round(model, sample, MANY)
    few = peak_gib(lambda: model.segment(embedding, states[:FEW]), case.device)
    many = peak_gib(lambda: model.segment(embedding, states), case.device)
    if encoding is None or few is None or many is None or max(encoding, few) >= many:
        raise RuntimeError(f"encoding takes {encoding} GiB, batches {few} and {many}; the last one must be the largest")
    return max(encoding, few), many


def _hold(gib: float, ready: Any) -> None:
    """Take memory of the GPU and wait."""
    held = torch.ones(int(gib * 2**28), device="cuda")
    torch.cuda.synchronize()
    ready.set()
    time.sleep(600)
    del held


def _killed(step: Step) -> None:
    """Kill a process that holds memory, and see whether the device gets it back."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    free_memory(step.device)
    before = torch.cuda.mem_get_info()[0]
    process = context.Process(target=_hold, args=(8.0, ready), daemon=True)
    process.start()
    if not ready.wait(timeout=max(5.0, step.left() - 3)):
        process.kill()
        raise RuntimeError("the process that was to hold memory did not get ready in time")
    held = torch.cuda.mem_get_info()[0]
    process.kill()
    process.join()
    start = time.perf_counter()
    while (after := torch.cuda.mem_get_info()[0]) < before - 2**28 and time.perf_counter() - start < 5:
        time.sleep(0.05)
    step.row(
        "a killed process",
        **{
            "GiB it held": (before - held) / 2**30,
            "GiB not given back": (before - after) / 2**30,
            "seconds": time.perf_counter() - start,
            "result": "freed" if before - after < 2**28 else "WRONG",
        },
    )


def _workers(step: Step, spec: str) -> None:
    """Play with one process, with two on one device, and with two of which one is killed; records must be equal."""
    name, root, _ = pictures(step, 1)[0]
    options: dict[str, Any] = {
        "models": [spec],
        "datasets": [{"name": name, "root": root} if root else name],
        "users": [BASE],
        "clicks": 2,
        "limit": 4 if step.on_gpu else 3,
        "devices": (step.device,),
        "batch_size": 4 if step.on_gpu else 1,
    }
    killed: list[int] = []

    def kill(report: object) -> None:
        if not killed and multiprocessing.active_children():
            # The busiest one is the one that has just reported; the other may not even have begun.
            pid = max((c.pid for c in multiprocessing.active_children() if c.pid), key=_cpu_seconds)
            killed.append(pid)
            os.kill(pid, signal.SIGKILL)

    with tempfile.TemporaryDirectory() as folder:
        one = rclicks.evaluate("quickstart", out=Path(folder) / "one", **options)
        two = rclicks.evaluate("quickstart", out=Path(folder) / "two", workers=2, **options)
        step.row("workers", what="two processes on one device", rows=len(two), **_equal(one, two))
        if not step.has_time("a killed worker", 8.0):
            return
        three = rclicks.evaluate("quickstart", out=Path(folder) / "three", workers=2, on_report=kill, **options)
    step.row("workers", what="one of two workers killed", rows=len(three), **_equal(one, three))
    if not killed:
        step.note("no worker was killed: they had all ended")


def _cpu_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def _equal(one: Any, other: Any) -> dict[str, Any]:
    return {
        "failures": len(other.attrs["failures"]),
        "result": "records equal" if same_records(one, other) else "WRONG: records differ",
    }
