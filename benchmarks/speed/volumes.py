"""Measure what volumes cost beside the model: surface metrics, the base rule, the engine, and memory.

    python benchmarks/speed/volumes.py [--side 256] [--data-root DATA]

One JSON line. `metrics`: NSD and HD95 of two balls in a cube, seconds of one core. `click`: the base rule on an error
that is a ball in a cube, beside SciPy's distance transform of the same crop. `play`: a model that costs nothing plays
ten clicks of the base rule and three groups on a cube read from an uncompressed file, in a process of its own; peak
memory above what Python and its libraries take, in volumes of float32. `hippocampus`: seconds a click on ten volumes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import nibabel
import numpy as np
from scipy import ndimage

import rclicks
from rclicks.cards import ModelCard
from rclicks.engine.episode import EpisodeConfig, play
from rclicks.engine.loading import load_user
from rclicks.metrics.surface import SurfacePair
from rclicks.metrics.target import TargetReference
from rclicks.models.contract import Model, State
from rclicks.protocol import Protocol
from rclicks.registry import Registry
from rclicks.specs import parse
from rclicks.users.robot import next_click

SPACING = (1.0, 0.8, 0.8)
METRICS = ("iou", "dice", "nsd-surfel", "hd95-surfel")


class Ball(Model):
    """A ball around each click; next to no time and no memory beyond its mask."""

    card = ModelCard(name="ball", family="ball", summary="balls", dims=3, probabilities=False)

    def embed(self, sample):
        return sample.shape

    def segment(self, embedding, states):
        return [self._next(embedding, state) for state in states]

    def _next(self, shape, state):
        mask, reach = np.zeros(shape, bool), max(shape) // 12
        for click in state.interactions:
            window = tuple(slice(max(0, c - reach), c + reach + 1) for c in click.point)
            grid = np.ogrid[tuple(slice(w.start, min(w.stop, n)) for w, n in zip(window, shape, strict=True))]
            near = sum((g - c) ** 2 for g, c in zip(grid, click.point, strict=True)) <= reach**2
            mask[window][near] = click.positive
        return State(state.interactions, mask)


def ball(side: int, radius: float, shift: float = 0.0) -> np.ndarray:
    grid = np.ogrid[:side, :side, :side]
    return sum((g - side / 2 - shift) ** 2 for g in grid) <= radius**2


def timed(what, *, repeats: int = 3) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        what()
        times.append(time.perf_counter() - start)
    return min(times)


def users():
    registry, protocol = Registry.discover(), Protocol.named("default", clicks=10)
    names = ("robot", "sampled:model=distance,groups=3")
    return [(n, load_user(registry, parse(n), protocol)) for n in names], protocol


def episode(sample):
    players, protocol = users()
    return play(Ball(), sample, players, EpisodeConfig("ball", protocol, METRICS, 42, 1, "unit"))


def memory(folder: str) -> tuple[float, int, float]:
    """Return peak memory above the libraries' in bytes, clicks and seconds of a play."""
    warm = rclicks.load_dataset("volumes", Path(folder) / "warm")[0]
    episode(warm)  # imports and small buffers
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak so far, a parent's even, is forgotten
    before = resident("VmRSS")
    sample = rclicks.load_dataset("volumes", Path(folder) / "large")[0]
    start = time.perf_counter()
    rows = episode(sample).rows
    return (resident("VmHWM") - before) * 1024, len(rows), time.perf_counter() - start


def resident(what: str) -> int:
    """Return the present (VmRSS) or largest (VmHWM) memory of this process in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--data-root", type=Path)
    options = parser.parse_args()
    side = options.side
    a, b = ball(side, side * 0.27), ball(side, side * 0.265, 1.5)
    found: dict = {"side": side, "voxels of the object": int(a.sum())}
    for definition in ("surfel", "voxel"):
        found[f"metrics {definition} s"] = timed(
            lambda d=definition: (p := SurfacePair.of(a, b, SPACING, d)).nsd(2) + p.hausdorff(95)
        )
    facts = TargetReference(a, None, SPACING)
    nothing = np.zeros_like(a)
    found["click s"] = timed(lambda: next_click(facts, nothing, (), SPACING))
    crop = np.pad(a[facts.window], 1)
    found["distance transform of the same crop s"] = timed(
        lambda: ndimage.distance_transform_edt(crop, sampling=SPACING), repeats=1
    )
    with tempfile.TemporaryDirectory() as folder:
        for name, size in (("warm", 32), ("large", side)):
            for part, values in (
                ("images", ball(size, size * 0.2).astype(np.float32)),
                ("labels", ball(size, size * 0.2)),
            ):
                path = Path(folder) / name / part / "case.nii"
                path.parent.mkdir(parents=True)
                nibabel.save(
                    nibabel.Nifti1Image(values.astype(np.float32 if part == "images" else np.uint8), np.eye(4)), path
                )
        with get_context("spawn").Pool(1) as pool:
            peak, clicks, seconds = pool.apply(memory, (folder,))
    found |= {"peak in volumes of float32": peak / (4 * side**3), "clicks": clicks, "play s/click": seconds / clicks}
    if options.data_root:
        data = rclicks.load_dataset("hippocampus", options.data_root / "volumes" / "hippocampus")
        start, count = time.perf_counter(), 0
        for index in range(10):
            count += len(episode(data[index]).rows)
        found["hippocampus s/click"] = (time.perf_counter() - start) / count
    print(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in found.items()}))


if __name__ == "__main__":
    main()
