#!/usr/bin/env python3
"""Prove the GPU side on whatever machine this runs on, and write one JSON and one Markdown file.

    python3 benchmarks/gpu/check.py [--cpu] [--minutes 8] [--out DIR] [--steps records,throughput]

Steps run one after the other, each in a process of its own with a time box; whatever happens to one, the next begins,
and the files are written anew after each. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE), str(ROOT)]

from gpucheck import machine, plan, report  # noqa: E402

GRACE = 5.0  # seconds after the time box in which a step may end by itself


def main() -> int:
    """Run the steps; return 0, or 1 if something is wrong, 2 for wrong arguments, 3 if no step could run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cpu", action="store_true", help="run the same steps on the CPU, with smaller networks")
    parser.add_argument("--minutes", type=float, default=8.0, help="of the whole check")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder of the results")
    parser.add_argument("--pack", type=Path, default=HERE / "pack", help="folder that prepare.sh made")
    parser.add_argument("--steps", default="", help="names joined by commas; all by default")
    parser.add_argument("--step", help=argparse.SUPPRESS)  # the rest is for the steps' own processes
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        return run_step(arguments)
    return run_all(arguments)


def run_all(arguments: argparse.Namespace) -> int:
    """Run all steps in processes of their own."""
    start = time.time()
    end = start + 60 * arguments.minutes
    try:
        steps = plan.chosen([name for name in arguments.steps.split(",") if name])
    except ValueError as error:
        print(f"check.py: {error}", file=sys.stderr)
        return 2
    work = Path(tempfile.mkdtemp(prefix="rclicks-gpu-"))
    try:
        return _run_all(arguments, steps, work, start, end)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _run_all(arguments: argparse.Namespace, steps: list[plan.StepPlan], work: Path, start: float, end: float) -> int:
    absent = machine.missing([*machine.CORE, *machine.OPTIONAL])
    print(f"missing on this machine: {', '.join(absent) or 'nothing'}", flush=True)
    site = work / "site"
    carried = machine.unpack(arguments.pack / "wheels", site)
    sys.path.insert(2, str(site))
    importlib.invalidate_caches()
    still = machine.missing([*machine.CORE, *machine.OPTIONAL])
    print(f"unpacked {len(carried)} wheels; still missing: {', '.join(still) or 'nothing'}", flush=True)
    device = "cpu" if arguments.cpu else "cuda"
    facts = {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": device,
        "minutes": arguments.minutes,
        "machine": machine.describe(),
        "missing": absent,
        "carried": carried,
        "still_missing": still,
        "source": source(),
    }
    card = "cpu" if arguments.cpu else str(facts["machine"]["card"])  # type: ignore[index]
    name = f"{card}-{datetime.now(UTC):%Y-%m-%d}"
    arguments.out.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": machine.python_path(ROOT, site), "PYTHONUNBUFFERED": "1"}
    # Threads that wait for one another are slower than one thread where cores are few or shared.
    environment |= {"OMP_NUM_THREADS": "1" if arguments.cpu else "4", "MPLBACKEND": "Agg"}
    done: list[dict] = []
    for number, step in enumerate(steps):
        seconds = plan.box(step, steps[number + 1 :], end - time.time() - GRACE, on_gpu=not arguments.cpu)
        began = time.time()
        found = _attempt(step, still, seconds, device, work, arguments, environment)
        done.append({**found, "about": step.about, "seconds": round(time.time() - began, 1), "box_s": round(seconds)})
        facts["seconds"] = round(time.time() - start, 1)
        report.write(arguments.out, name, facts, done, {str(work): "WORK", str(ROOT): ".", sys.prefix: "PYTHON"})
        print(report.line(done[-1]), flush=True)
    print(f"wrote {arguments.out / name}.json and .md after {facts['seconds']} s", flush=True)
    if all(step["status"].startswith("not run") for step in done):
        print("check.py: no step was run, so nothing is shown", file=sys.stderr)
        return 3
    return int(any(report.bad(step) for step in done))


def _attempt(
    step: plan.StepPlan,
    still: list[str],
    seconds: float,
    device: str,
    work: Path,
    arguments: argparse.Namespace,
    environment: dict[str, str],
) -> dict:
    """Run a step in a process of its own, and return what it found."""
    blank = {"step": step.name, "rows": [], "notes": [], "errors": []}
    needed = [*machine.CORE, *step.needs]
    if lacking := [name for name in needed if name in still]:
        return {**blank, "status": f"not run: {', '.join(lacking)} missing"}
    if not step.weight(on_gpu=device != "cpu"):
        return {**blank, "status": "not run: it needs a GPU"}
    if seconds < 2:
        return {**blank, "status": "not run: no time left"}
    file, log = work / f"{step.name}.json", work / f"{step.name}.log"
    command = [sys.executable, str(HERE / "check.py"), "--step", step.name, "--file", str(file)]
    command += ["--until", str(time.time() + seconds), "--pack", str(arguments.pack)]
    command += ["--cpu"] if device == "cpu" else []
    with log.open("w") as stream:
        # A session of its own, so that its worker processes can be ended with it.
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code = process.wait(seconds + GRACE)
            ended = "done" if code == 0 else f"failed: exit code {code}"
        except subprocess.TimeoutExpired:
            ended = "stopped at the end of its time box"
        finally:
            _end(process)
    found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else blank
    if found.get("status", "").startswith("not run"):
        ended = found["status"]
    if ended.startswith("failed"):
        tail = log.read_text(encoding="utf-8", errors="replace")[-3000:]
        found["errors"].append({"what": "the process of the step", "error": ended, "traceback": tail})
    return {**blank, **found, "status": ended}


def _end(process: subprocess.Popen) -> None:
    """End a step's process and all that it started, by its own session."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run_step(arguments: argparse.Namespace) -> int:
    """Run one step in this process."""
    from gpucheck.context import Step

    step = Step(
        name=arguments.step,
        file=arguments.file,
        device="cpu" if arguments.cpu else "cuda",
        until=arguments.until,
        pack=arguments.pack,
    )
    step.save()
    with step.attempt("the whole step"):
        module = importlib.import_module(f"gpucheck.steps.{arguments.step}")
        if step.on_gpu:
            import torch

            if not torch.cuda.is_available():
                step.save("not run: torch sees no CUDA device; pass --cpu to try the script without one")
                return 0
        module.run(step)
    step.save("done")
    return 0


def source() -> dict[str, str]:
    """Return the git revision, if this is a checkout with git."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(ROOT), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"revision": answer.stdout.strip()}


if __name__ == "__main__":
    sys.exit(main())
