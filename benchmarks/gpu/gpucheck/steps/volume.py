"""Step 6: nnInteractive's tiny network on one volume: GPU against CPU, compiled and with pinned memory."""

from __future__ import annotations

import importlib.util
import inspect
import sys
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from gpucheck.compare import compare
from gpucheck.context import Step
from gpucheck.playing import BASE, Case, Played, play_model
from gpucheck.timing import free_memory
from rclicks.engine.loading import load_model
from rclicks.protocol import Protocol
from rclicks.registry import Registry
from rclicks.specs import parse

CLICKS = 3
UNUSED = ("SimpleITK", "imagecodecs", "graphviz", "cc3d", "seaborn")
SESSION = "nnInteractive.inference.inference_session"
VARIANTS: tuple[tuple[str, dict[str, bool]], ...] = (
    ("as rclicks opens it", {}),
    ("pinned memory", {"use_pinned_memory": True}),
    ("compiled", {"use_torch_compile": True}),
    ("compiled, pinned memory", {"use_torch_compile": True, "use_pinned_memory": True}),
)


def run(step: Step) -> None:
    """Play three clicks of the base rule on the CPU and on the device, in each way to open a session."""
    if absent := stand_in(UNUSED):
        step.note(
            f"{', '.join(absent)} missing: the package imports them for file formats and trainings that this check "
            "does not touch, so empty modules stand in for them; any use of these would be an error"
        )
    folder, data = step.pack / "models" / "volume-demo", step.pack / "data" / "hippocampus"
    if not folder.is_dir() or not data.is_dir():
        step.note(f"not run: {folder} or {data} is absent; prepare.sh makes them")
        return
    case = Case(f"nninteractive:checkpoint={folder}", "hippocampus", str(data), 0, users=(BASE,), clicks=CLICKS)
    with step.attempt("on the CPU"):
        _, exact = _play(replace(case, device="cpu"), {})
        _row(step, "cpu", "as rclicks opens it", exact, exact)
    if not step.on_gpu:
        return
    for name, changes in VARIANTS:
        if step.has_time(f"session {name}", 10.0 if "compiled" in name else 2.0):
            with step.attempt(f"session {name}"):
                first, second = _play(replace(case, device=step.device), changes)
                _row(step, step.device, name, second, exact, first)
        free_memory(step.device)


def stand_in(names: Sequence[str]) -> list[str]:
    """Put empty modules in the place of those that are not installed, and return their names.

    They are imported at the top of the package's modules and too large to travel. Asking them for anything raises.
    """
    absent = [name for name in names if importlib.util.find_spec(name) is None]
    for name in absent:
        sys.modules[name] = _Absent(name)
    return absent


class _Absent(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise RuntimeError(f"{self.__name__}.{name} was asked for, but {self.__name__} is not installed")


def _play(case: Case, changes: dict[str, bool]) -> tuple[Played, Played]:
    """Return a first play, with all that happens once, and a second one of the same session."""
    protocol = Protocol.named("default", clicks=case.clicks)
    with _session_with(changes):
        model = load_model(Registry.discover(), parse(case.spec), case.device, protocol)
        return play_model(model, case, ("iou", "dice")), play_model(model, case, ("iou", "dice"))


@contextmanager
def _session_with(changes: dict[str, bool]) -> Iterator[None]:
    """Open sessions of the package with other arguments than rclicks passes."""
    module: Any = importlib.import_module(SESSION)
    plain = module.nnInteractiveInferenceSession
    if unknown := sorted(set(changes) - set(inspect.signature(plain).parameters)):
        raise RuntimeError(f"this version of the package has no {', '.join(unknown)}")

    class Changed(plain):  # type: ignore[misc, valid-type]
        def __init__(self, **arguments: Any) -> None:
            super().__init__(**{**arguments, **changes})

    Changed.__name__ = plain.__name__  # checkpoints name the class that they are for
    Changed.__init__.__signature__ = inspect.signature(plain.__init__)  # type: ignore[attr-defined]
    module.nnInteractiveInferenceSession = Changed
    try:
        yield
    finally:
        module.nnInteractiveInferenceSession = plain


def _row(step: Step, device: str, how: str, played: Played, exact: Played, first: Played | None = None) -> None:
    if played.failures:
        raise RuntimeError(str(played.failures[0].get("message")))
    found = compare(exact.rows, played.rows)
    step.row(
        "session",
        device=device,
        session=how,
        **{
            "objects": found.trajectories,
            "equal clicks": found.equal,
            "first diverging round": found.first_round,
            "Dice after the last click": float(np.mean([r["dice"] for r in played.rows if r["round"] == CLICKS])),
            "largest IoU difference to the CPU": found.iou,
            "ms a click": 1000 * float(np.median([r["decode_s"] for r in played.rows])),
            "first play, ms a click": None
            if first is None
            else 1000 * float(np.mean([r["decode_s"] for r in first.rows])),
        },
    )
