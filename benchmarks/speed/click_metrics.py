"""Measure the scoring of click models: all five measures on many objects, without the click model's own time.

    python benchmarks/speed/click_metrics.py --objects 500 --clicks 50 --sets 100 [--workers 2]

Objects, maps and clicks are synthetic (image 480 x 640); one JSON line. ``reference`` is the time an object takes by
the straightforward forms that this replaces: a linear program for each Wasserstein distance, and loops over points for
the Kolmogorov-Smirnov statistic; it is measured on few sets and scaled.
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
from scipy.optimize import linprog
from scipy.spatial.distance import cdist

from rclicks.cards import ClickModelCard
from rclicks.clickability.contract import ClickModel
from rclicks.clickability.evaluation import evaluate
from rclicks.engine.provenance import describe_machine, describe_packages
from rclicks.human_clicks.items import ClickItem, Scene

SHAPE = (480, 640)


class Bell(ClickModel):
    """A map that costs next to nothing: made once."""

    card = ClickModelCard(name="bell", summary="a bell in the middle")

    def __init__(self) -> None:
        yy, xx = np.mgrid[: SHAPE[0], : SHAPE[1]]
        self.bell = np.exp(-((yy - 240) ** 2 + (xx - 320) ** 2) / 2 / 60**2).astype(np.float32)

    def maps(self, prepared, queries):
        return [self.bell for _ in queries]


def item(number: int, clicks: int) -> ClickItem:
    rng = np.random.default_rng(number)
    points = np.clip(rng.normal((240, 320), 60, (clicks, 2)), 0, (479, 639)).astype(int)
    mask = np.zeros(SHAPE, bool)
    mask[120:360, 160:480] = True
    scene = Scene(np.zeros((*SHAPE, 3), np.uint8), mask, mask)
    return ClickItem(f"i{number}", "synthetic", f"s{number}", "0", "first", points, ("",) * clicks, lambda: scene)


def score(numbers: list[int], clicks: int, sets: int) -> int:
    return len(evaluate(Bell(), [item(n, clicks) for n in numbers], sets=sets))


def reference(clicks: int, sets: int = 3) -> float:
    """Return the seconds an object of 100 sets takes by linear programs and loops."""
    rng = np.random.default_rng(0)
    real, start = rng.random((clicks, 2)), time.perf_counter()
    rows = np.vstack([np.kron(np.eye(clicks), np.ones(clicks)), np.kron(np.ones(clicks), np.eye(clicks))])
    for _ in range(sets):
        drawn = rng.random((clicks, 2))
        linprog(cdist(real, drawn).ravel(), A_eq=rows, b_eq=np.full(2 * clicks, 1 / clicks), method="highs")
        for own, other in ((real, drawn), (drawn, real)):
            for y, x in own:
                for points in (own, other):
                    np.sum((points[:, 1] <= x) & (points[:, 0] <= y))
                    np.sum((points[:, 1] <= x) & (points[:, 0] > y))
                    np.sum((points[:, 1] > x) & (points[:, 0] <= y))
    return (time.perf_counter() - start) / sets * 100


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=500)
    parser.add_argument("--clicks", type=int, default=50)
    parser.add_argument("--sets", type=int, default=100)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    start = time.perf_counter()
    parts = [list(range(w, arguments.objects, arguments.workers)) for w in range(arguments.workers)]
    work = partial(score, clicks=arguments.clicks, sets=arguments.sets)
    if arguments.workers == 1:
        work(parts[0])
    else:
        with ProcessPoolExecutor(arguments.workers) as pool:
            list(pool.map(work, parts))
    wall = time.perf_counter() - start
    each = wall / arguments.objects
    found = {"arguments": vars(arguments), "wall_s": round(wall, 1), "ms_per_object": round(1000 * each, 1)}
    found |= {"reference_ms_per_object": round(1000 * reference(arguments.clicks))}
    print(json.dumps(found | {"machine": describe_machine(("cpu",)), "packages": describe_packages()}))


if __name__ == "__main__":
    main()
