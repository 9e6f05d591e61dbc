"""N worker processes with a queue each of two units, so that a worker can decode ahead.

A worker that dies (killed for memory, a crash in native code) is replaced; the unit it was playing is tried once more
and then recorded as failed.
"""

from __future__ import annotations

import contextlib
import multiprocessing as mp
import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from rclicks.engine.plan import Plan, Unit
from rclicks.engine.worker import Report, Worker, limited_threads
from rclicks.errors import RclicksError, RunError
from rclicks.records.store import RunStore

__all__ = ["run_here", "run_processes"]

AHEAD = 2
READY = "ready"
TRIES = 2
OnReport = Callable[[Report], None]


def run_here(plan: Plan, store: RunStore, units: Sequence[Unit], on_report: OnReport) -> None:
    """Play `units` in this process, on the plan's first device."""
    with limited_threads(plan.threads), Worker(plan, store, plan.devices[0]) as worker:
        for i, unit in enumerate(units):
            on_report(worker.run(unit, units[i + 1] if i + 1 < len(units) else None))


@dataclass
class _Child:
    process: BaseProcess
    pipe: Connection
    queue: deque[Unit] = field(default_factory=deque)
    ready: bool = False


def run_processes(plan: Plan, store: RunStore, units: Sequence[Unit], workers: int, on_report: OnReport) -> None:
    """Play `units` in `workers` processes; device i modulo the number of devices goes to worker i.

    Raises
    ------
    RunError
        If the run folder cannot be written, or workers die before they have begun.
    """
    context = mp.get_context("spawn")
    waiting: deque[Unit] = deque(units)
    deaths: dict[str, int] = {}
    children: dict[int, _Child] = {}
    done = 0

    def start(slot: int) -> None:
        ours, theirs = context.Pipe()
        device = plan.devices[slot % len(plan.devices)]
        process = context.Process(target=_serve, args=(theirs, plan, store, device), daemon=True)
        process.start()
        theirs.close()
        children[slot] = _Child(process, ours)
        feed(children[slot])

    def feed(child: _Child) -> None:
        while waiting and len(child.queue) < AHEAD:
            # A unit in whose time a worker died is played alone, so that no innocent one is blamed for it.
            if child.queue and (waiting[0].key in deaths or child.queue[0].key in deaths):
                return
            child.queue.append(waiting.popleft())
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it has died; `settle` will find out
                child.pipe.send(child.queue[-1])

    def settle(slot: int) -> int:
        child = children[slot]
        try:
            answer = child.pipe.recv()
        except (EOFError, ConnectionResetError):
            return _bury(child, slot)
        if isinstance(answer, RclicksError):
            raise answer
        if answer == READY:
            child.ready = True
            return 0
        child.queue.popleft()
        on_report(answer)
        feed(child)
        return 1

    def _bury(child: _Child, slot: int) -> int:
        child.process.join()
        if not child.ready:
            raise RunError(
                f"a worker ended with exit code {child.process.exitcode} before it had begun. In a script, start the "
                'run below `if __name__ == "__main__":`, because workers import the script.'
            )
        unit = child.queue.popleft()
        waiting.extendleft(reversed(child.queue))
        deaths[unit.key] = deaths.get(unit.key, 0) + 1
        finished = 0
        if unit.key not in store.done():
            if deaths[unit.key] < TRIES:
                waiting.appendleft(unit)
            else:
                message = f"the worker process ended with exit code {child.process.exitcode}, {TRIES} times"
                where = {"model": unit.model, "dataset": unit.dataset, "sample": unit.sample}
                store.write_failures(unit.key, [where | {"error": "WorkerDied", "message": message}])
                on_report(Report(unit, 0, 1, 0.0, f"{unit.dataset}/{unit.sample}: {message}"))
                finished = 1
        else:
            on_report(Report(unit, 0, 0, 0.0))
            finished = 1
        start(slot)
        return finished

    try:
        for slot in range(min(workers, len(units))):
            start(slot)
        while done < len(units):
            pipes = {child.pipe: slot for slot, child in children.items() if child.queue}
            for pipe in wait(list(pipes)):
                done += settle(pipes[pipe])  # type: ignore[index]
    finally:
        for child in children.values():
            _end(child)


def _end(child: _Child) -> None:
    if not child.queue and child.process.is_alive():
        try:
            child.pipe.send(None)
        except OSError:
            child.process.kill()
    else:
        child.process.kill()
    child.process.join(timeout=10)
    if child.process.is_alive():
        child.process.kill()
    child.pipe.close()


def _serve(pipe: Connection, plan: Plan, store: RunStore, device: str) -> None:
    """Play what comes through `pipe` until None comes."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    parent = os.getppid()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError), limited_threads(plan.threads):
        try:
            worker = Worker(plan, store, device, orphaned=lambda: os.getppid() != parent)
        except RclicksError as error:
            pipe.send(error)
            return
        pipe.send(READY)
        with worker:
            _serve_units(pipe, worker)


def _serve_units(pipe: Connection, worker: Worker) -> None:
    queue: deque[Any] = deque()
    while True:
        while pipe.poll() or not queue:
            try:
                queue.append(pipe.recv())
            except EOFError:  # the parent is gone
                return
        unit = queue.popleft()
        if unit is None:
            return
        try:
            report = worker.run(unit, queue[0] if queue else None)
        except RclicksError as error:
            pipe.send(error)
            return
        pipe.send(report)
