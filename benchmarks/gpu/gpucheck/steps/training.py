"""Step 7: fifty steps of every training in mixed precision: the loss stays finite and falls."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import rclicks
from gpucheck.context import Step
from gpucheck.models import pictures
from gpucheck.timing import free_memory, peak_gib
from gpucheck.trainings import NEEDS, TRAININGS
from rclicks.training.loop import Progress, Settings

STEPS = {"cuda": 50, "cpu": 6}
BATCH = {"cuda": 4, "cpu": 2}


class _NoTimeLeft(Exception):  # noqa: N818 - no error
    """The time box of the step has ended."""


def run(step: Step) -> None:
    """Train each family for a moment."""
    samples = [rclicks.load_dataset(name, root)[index] for name, root, index in pictures(step, 12)]
    for name, training in TRAININGS.items():
        if name in NEEDS and not (step.pack / NEEDS[name]).is_dir():
            step.note(f"{name}: not run, the pack has no {NEEDS[name]}")
            continue
        if step.has_time(name, 6.0 if step.on_gpu else 4.0):
            with step.attempt(name):
                _measure(step, name, training, samples)
        free_memory(step.device)


def _measure(step: Step, name: str, training: Callable[..., Any], samples: list[Any]) -> None:
    steps, batch = STEPS[step.device], BATCH[step.device]
    settings = Settings(epochs=1, batch_size=batch, workers=4 if step.on_gpu else 1, device=step.device)
    losses: list[float] = []
    times: list[float] = []

    def watch(progress: Progress) -> None:
        if progress.row is None:  # `loss` is the mean of the epoch so far
            losses.append(progress.loss * progress.step - sum(losses))
            times.append(time.perf_counter())
        if step.left() < 1 and len(losses) > 1:
            raise _NoTimeLeft

    def train() -> None:
        with tempfile.TemporaryDirectory() as folder, contextlib.suppress(_NoTimeLeft):
            training(samples, step.pack, settings, Path(folder), steps, watch)

    peak = peak_gib(train, step.device)
    if len(losses) < steps:
        step.note(f"{name}: stopped after {len(losses)} of {steps} steps, no time left")
    part = max(1, len(losses) // 5)
    before, after = float(np.mean(losses[:part])), float(np.mean(losses[-part:]))
    step.row(
        "training",
        family=name,
        precision="bf16 autocast" if step.on_gpu else "float32",
        steps=len(losses),
        batch=batch,
        **{
            "finite": bool(np.isfinite(losses).all()),
            "first fifth": before,
            "last fifth": after,
            "falls": after < before,
            "ms a step": 1000 * float(np.median(np.diff(times))) if len(times) > 1 else None,
            "peak GiB": peak,
        },
    )
