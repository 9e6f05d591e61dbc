"""Step 3: clicks a second of the whole engine, with one, two and four workers on one device."""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import rclicks
from gpucheck.context import Step
from gpucheck.models import families, named, pictures, spec_of
from gpucheck.playing import BASE, GROUPS
from rclicks.records.store import load_units
from rclicks.registry import Registry

WORKERS = {"cuda": (1, 4, 2), "cpu": (1, 2)}  # in order of value
CLICKS, LIMIT = {"cuda": 10, "cpu": 2}, {"cuda": 6, "cpu": 2}
FIRST = ("mobilesam", "ritm-h18s", "sam-vit-b")


def run(step: Step) -> None:
    """Play base rule and ten groups with each number of workers."""
    registry = Registry.discover()
    cards = named(registry, FIRST) if step.on_gpu else [min(_smallest(registry), key=lambda c: c.parameters)]
    for card in cards:
        for workers in WORKERS[step.device]:
            what = f"{card.name} with {workers} workers"
            if step.has_time(what, 20.0 if step.on_gpu else 8.0):
                with step.attempt(what):
                    _measure(step, spec_of(registry, card), card.name, workers)


def _smallest(registry: Registry) -> list[Any]:
    return [cards[0] for cards in families(registry).values()]


def _measure(step: Step, spec: str, name: str, workers: int) -> None:
    sets = list(dict.fromkeys((d, r) for d, r, _ in pictures(step, 3)))
    datasets: list[Any] = [{"name": d, "root": r} if r else d for d, r in sets]
    reports: list[tuple[float, int]] = []
    with tempfile.TemporaryDirectory() as folder, _Utilisation(step.on_gpu) as used:
        out = Path(folder) / "run"
        frame = rclicks.evaluate(
            "quickstart",
            models=[spec],
            datasets=datasets,
            users=[BASE, GROUPS],
            clicks=CLICKS[step.device],
            limit=LIMIT[step.device],
            workers=workers,
            devices=(step.device,),
            out=out,
            on_report=lambda report: reports.append((time.perf_counter(), report.clicks)),
        )
        units = load_units(out)
    warm = units[~units["cold"].astype(bool)]
    warm = warm if len(warm) else units
    model_s, wall = float((warm["encode_s"] + warm["decode_s"]).sum()), float(warm["wall_s"].sum())
    clicks = int(warm["clicks"].sum())
    step.row(
        "engine",
        model=name,
        workers=workers,
        units=len(units),
        clicks=len(frame),
        **{
            "clicks/s": steady_rate(reports, workers),
            "encode, ms an image": 1000 * float(warm["encode_s"].mean()),
            "model, ms a click": 1000 * model_s / clicks,
            "beside the model, ms a click": 1000 * (wall - model_s) / clicks,
            "users, ms a click": 1000 * float(warm["user_s"].sum()) / clicks,
            "metrics, ms a click": 1000 * float(warm["metric_s"].sum()) / clicks,
            "share of a worker's time beside the model": (wall - model_s) / wall,
            "GPU busy, %": used.mean,
            "failures": len(frame.attrs["failures"]),
        },
    )


def steady_rate(reports: list[tuple[float, int]], workers: int) -> float | None:
    """Return clicks a second after every worker had time for its first unit; None if too few units followed.

    >>> steady_rate([(10.0, 5), (11.0, 5), (12.0, 5)], 1)
    5.0
    """
    later = reports[workers:]
    if len(later) < 2:
        return None
    seconds = reports[-1][0] - reports[workers - 1][0]
    return sum(clicks for _, clicks in later) / seconds if seconds > 0 else None


class _Utilisation:
    """Asks the driver twice a second how busy the GPU is; `mean` is of the second half, when all workers play."""

    def __init__(self, wanted: bool) -> None:
        self._values: list[float] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True) if wanted else None

    def __enter__(self) -> _Utilisation:
        if self._thread:
            self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        if self._thread:
            self._thread.join(timeout=5)

    def _ask(self) -> None:
        import torch

        while not self._ended.wait(0.5):
            try:
                self._values.append(float(torch.cuda.utilization()))
            except Exception:  # noqa: BLE001 - the driver's library may be absent; the column then stays empty
                return

    @property
    def mean(self) -> float | None:
        half = self._values[len(self._values) // 2 :]
        return sum(half) / len(half) if half else None
