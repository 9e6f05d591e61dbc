"""Measure the click groups: what base + 10 groups cost beside the base rule alone, and where the time goes.

    python benchmarks/speed/click_groups.py --data-root DATA --model sam-vit-b:checkpoint=synthetic --limit 3
    python benchmarks/speed/click_groups.py --data-root DATA --model ritm-h18s:checkpoint=synthetic --limit 3 \
        --click-models distance clickability-mini clickability:checkpoint=random

Loading a model is not counted. One JSON line a run: the base rule alone, then base and
groups for each click model. `ratio` is to the base rule alone; `beside_networks` is the share of the time that is spent
neither in the segmentation network nor in the click model. ``checkpoint=random`` gives a SegNeXt click model weights as
built (those made from names overflow in the deepest one); times do not depend on the values.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

from rclicks.benchmark import load_benchmark
from rclicks.engine.plan import make_plan
from rclicks.engine.provenance import describe_machine, describe_packages, describe_source
from rclicks.engine.run import run_plan
from rclicks.records.store import load_units
from rclicks.registry import Registry
from rclicks.specs import parse


def measure(arguments: argparse.Namespace, users: list, folder: Path) -> dict:
    """Play the users and return the figures."""
    registry = Registry.discover()
    study = load_benchmark("classical-grabcut", registry).changed(
        registry,
        models=[arguments.model],
        datasets=[arguments.dataset],
        users=users,
        limit=arguments.limit,
        clicks=arguments.clicks,
    )
    plan = make_plan(study, registry, data_root=arguments.data_root, threads=arguments.threads, skip_missing=False)
    run_plan(plan, folder)
    units = load_units(folder)
    wall, clicks = units["wall_s"].sum(), int(units["clicks"].sum())
    network = units["encode_s"].sum() + units["decode_s"].sum()
    return {
        "images": len(units),
        "encoder_calls": int(units["encoder_calls"].sum()),
        "clicks": clicks,
        "wall_s": round(float(wall), 2),
        "encode_s": round(units["encode_s"].sum(), 2),
        "decode_s": round(units["decode_s"].sum(), 2),
        "click_model_s": round(units["click_model_s"].sum(), 2),
        "click_maps_first": int(units["click_maps_first"].sum()),
        "click_maps_later": int(units["click_maps_later"].sum()),
        "users_without_click_model_ms_per_click": round(
            1000 * (units["user_s"].sum() - units["click_model_s"].sum()) / clicks, 2
        ),
        "metrics_ms_per_click": round(1000 * units["metric_s"].sum() / clicks, 2),
        "beside_networks": round((wall - network - units["click_model_s"].sum()) / wall, 4),
        "beside_segmentation_network": round((wall - network) / wall, 4),
    }


def random_weights(name: str, folder: Path) -> Path:
    """Write a SegNeXt click model's weights as built, and return the file."""
    import torch

    from rclicks.clickability.networks.segnext import ClickabilityNetwork

    torch.manual_seed(0)
    file = folder / f"{name}.pth"
    torch.save(ClickabilityNetwork(Registry.discover().find("click-model", name).card.variant).state_dict(), file)
    return file


def main() -> None:
    """Print one JSON object a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--dataset", default="GrabCut")
    parser.add_argument("--click-models", nargs="+", default=["distance"])
    parser.add_argument("--groups", type=int, default=10)
    parser.add_argument("--limit", type=int, default=3)
    parser.add_argument("--clicks", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    print(json.dumps({"machine": describe_machine(("cpu",)), "packages": describe_packages()}))
    print(json.dumps({"source": describe_source(), "arguments": vars(arguments)}, default=str))
    with tempfile.TemporaryDirectory() as temporary:
        base = measure(arguments, ["robot"], Path(temporary) / "base")
        print(json.dumps({"users": "robot"} | base, default=float), flush=True)
        for number, name in enumerate(arguments.click_models):
            spec = parse(name)
            if spec.checkpoint == "random":
                spec = replace(spec, checkpoint=str(random_weights(spec.name, Path(temporary))))
            options = {"model": spec.label, "groups": arguments.groups}
            sampled = {"name": "sampled", "options": options, "checkpoint": spec.checkpoint, "label": "groups"}
            found = measure(arguments, ["robot", sampled], Path(temporary) / f"groups{number}")
            ratio = {"users": f"robot + {name}", "ratio": round(found["wall_s"] / base["wall_s"], 2)}
            print(json.dumps(ratio | found, default=float), flush=True)


if __name__ == "__main__":
    main()
