"""Run the units of a plan in this process or in several worker processes.

Each worker has a queue of two units, so that it can decode the next sample while it works on the present one. A worker
that ends unexpectedly (out of memory, or a crash in native code) is replaced. Its unit is tried once more and is then
recorded as failed.
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
    """Run `units` in this process on the first device of the plan.

    Parameters
    ----------
    plan : Plan
    store : RunStore
    units : sequence of Unit
    on_report : callable (Report) -> None
        Function that is called after each unit.

    Raises
    ------
    RunError
        If the run folder cannot be written.
    """
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
    """Run `units` in several processes. Worker i uses device i modulo the number of devices.

    Parameters
    ----------
    plan : Plan
    store : RunStore
    units : sequence of Unit
    workers : int
        Number of processes; not more than the number of units are started.
    on_report : callable (Report) -> None
        Function that is called in this process after each unit.

    Raises
    ------
    RunError
        If the run folder cannot be written, or a worker ends before it is ready.
    """
    context = mp.get_context("spawn")
    waiting: deque[Unit] = deque(units)
    deaths: dict[str, int] = {}
    children: dict[int, _Child] = {}
    done = 0

    def start(slot: int) -> None:
        parent_end, child_end = context.Pipe()
        device = plan.devices[slot % len(plan.devices)]
        process = context.Process(target=_serve, args=(child_end, plan, store, device), daemon=True)
        process.start()
        child_end.close()
        children[slot] = _Child(process, parent_end)
        feed(children[slot])

    def feed(child: _Child) -> None:
        while waiting and len(child.queue) < AHEAD:
            # A unit during which a worker died runs alone, so that a second death is not counted for another unit.
            if child.queue and (waiting[0].key in deaths or child.queue[0].key in deaths):
                return
            child.queue.append(waiting.popleft())
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the worker has died; `settle` handles it
                child.pipe.send(child.queue[-1])

    def settle(slot: int) -> int:
        child = children[slot]
        try:
            answer = child.pipe.recv()
        except (EOFError, ConnectionResetError):
            return _replace_dead(child, slot)
        if isinstance(answer, RclicksError):
            raise answer
        if answer == READY:
            child.ready = True
            return 0
        child.queue.popleft()
        on_report(answer)
        feed(child)
        return 1

    def _replace_dead(child: _Child, slot: int) -> int:
        child.process.join()
        if not child.ready:
            raise RunError(
                f"a worker ended with exit code {child.process.exitcode} before it was ready. In a script, start the "
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
    """Run the units that arrive through `pipe` until None arrives."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # only the parent process handles Ctrl-C
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
            except EOFError:  # the parent process has ended
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
