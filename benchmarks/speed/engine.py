"""Measure the engine: encoder calls, clicks a second, own overhead a click, gain of a second worker, peak memory.

    python benchmarks/speed/engine.py --data-root DATA           # classical models on GrabCut, 1 and 2 workers
    python benchmarks/speed/engine.py --data-root DATA --models ritm-h18s:checkpoint=synthetic --datasets DAVIS \
        --limit 20 --clicks 20 --workers 1                                 # peak memory and overhead of a network

Overhead is everything but the model's own encoding and decoding: reading and decoding files, click placement,
metrics, records, scheduling; loading a model (once a worker) is not counted. Peak memory is the largest resident set
of one process.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

from rclicks.benchmark import load_benchmark
from rclicks.cli.specs import split_specs
from rclicks.engine.plan import make_plan
from rclicks.engine.provenance import describe_machine, describe_packages, describe_source
from rclicks.engine.run import run_plan
from rclicks.records.store import load_records, load_units, same_records
from rclicks.registry import Registry


def measure(arguments: argparse.Namespace, workers: int, folder: Path) -> dict:
    """Run once and return the figures."""
    registry = Registry.discover()
    benchmark = load_benchmark("classical-grabcut", registry).changed(
        registry,
        models=split_specs(arguments.models),
        datasets=split_specs(arguments.datasets),
        limit=arguments.limit,
        clicks=arguments.clicks,
    )
    plan = make_plan(benchmark, registry, data_root=arguments.data_root, batch_size=arguments.batch_size)
    seconds = []
    start = time.perf_counter()
    run_plan(plan, folder, workers=workers, on_report=lambda report: seconds.append(report.seconds))
    wall = time.perf_counter() - start
    units = load_units(folder)
    clicks = int(units["clicks"].sum())
    network = units["encode_s"].sum() + units["decode_s"].sum()
    loading = units["load_s"].sum()
    who = resource.RUSAGE_SELF if workers == 1 else resource.RUSAGE_CHILDREN
    return {
        "workers": workers,
        "units": len(units),
        "images_x_models": int(units.groupby(["model", "dataset"])["sample"].nunique().sum()),
        "encoder_calls": int(units["encoder_calls"].sum()),
        "clicks": clicks,
        "wall_s": round(wall, 2),
        "clicks_per_s": round(clicks / wall, 2),
        "model_ms_per_click": round(1000 * network / clicks, 2),
        "user_ms_per_click": round(1000 * units["user_s"].sum() / clicks, 2),
        "metric_ms_per_click": round(1000 * units["metric_s"].sum() / clicks, 2),
        "overhead_ms_per_click": round(1000 * (sum(seconds) - network - loading) / clicks, 2),
        "peak_memory_gb": round(resource.getrusage(who).ru_maxrss / 1e6, 2),
    }


def main() -> None:
    """Print one JSON object a measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--models", action="append")
    parser.add_argument("--datasets", action="append")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--clicks", type=int, default=20)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    arguments = parser.parse_args()
    machine, source = describe_machine(("cpu",)), describe_source()
    print(json.dumps({"machine": machine, "packages": describe_packages(), "source": source}))
    with tempfile.TemporaryDirectory() as temporary:
        found = [(w, measure(arguments, w, Path(temporary) / f"w{w}")) for w in arguments.workers]
        for _, figures in found:
            print(json.dumps(figures))
        first = load_records(Path(temporary) / f"w{arguments.workers[0]}")
        for workers, figures in found[1:]:
            gain = round(figures["clicks_per_s"] / found[0][1]["clicks_per_s"], 3)
            equal = same_records(first, load_records(Path(temporary) / f"w{workers}"))
            print(json.dumps({"gain_of_workers": workers, "ratio": gain, "records_equal": equal}))


if __name__ == "__main__":
    main()
