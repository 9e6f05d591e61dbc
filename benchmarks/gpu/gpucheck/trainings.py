"""How each training is started on a few pictures; one function a family, all with the same arguments.

``training(samples, pack, settings, folder, steps, report)`` trains one epoch of `steps` steps. What it learns is of no
use; it shall only run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import rclicks
from rclicks.sample import Sample
from rclicks.training.loop import Progress, Settings

__all__ = ["NEEDS", "TRAININGS"]

Report = Callable[[Progress], None]


def probunet(
    samples: Sequence[Sample], pack: Path, settings: Settings, folder: Path, steps: int, report: Report
) -> None:
    """Train the probabilistic U-Net."""
    from rclicks.adapters.probunet.training import Recipe, train_probunet
    from rclicks.training.examples import read_examples

    examples = read_examples(samples)
    train_probunet(examples, examples[:1], Recipe(), settings, folder, steps=steps, report=report)


def aespa(samples: Sequence[Sample], pack: Path, settings: Settings, folder: Path, steps: int, report: Report) -> None:
    """Train AESPA at 128 pixels; an epoch passes once over the objects, so they are repeated."""
    from rclicks.adapters.aespa.recipe import Recipe
    from rclicks.adapters.aespa.training import train_aespa
    from rclicks.training.examples import read_examples

    examples = read_examples(samples)
    wanted = [examples[i % len(examples)] for i in range(steps * settings.batch_size)]
    train_aespa(wanted, examples[:1], Recipe(), settings, folder, report=report)


def clickability(
    samples: Sequence[Sample], pack: Path, settings: Settings, folder: Path, steps: int, report: Report
) -> None:
    """Train the small click model on clicks drawn around the middle of each object."""
    from rclicks.clickability.training.network import Recipe, train_network
    from rclicks.human_clicks.items import ClickItem, Scene

    def item(number: int) -> ClickItem:
        sample = samples[number % len(samples)]
        mask = np.asarray(sample.targets[0].masks[0])
        inside = np.argwhere(mask)
        points = inside[np.random.default_rng(number).integers(len(inside), size=20)]
        scene = Scene(np.asarray(sample.image), mask, mask)
        return ClickItem(f"i{number}", sample.dataset, sample.id, "0", "first", points, ("",) * 20, lambda: scene)

    items = [item(number) for number in range(steps * settings.batch_size)]
    train_network(items, items[:1], Recipe(architecture="mini-cnn"), settings, folder, report=report)


def volume(samples: Sequence[Sample], pack: Path, settings: Settings, folder: Path, steps: int, report: Report) -> None:
    """Train nnInteractive's tiny network on the pack's volume."""
    from rclicks.adapters.nninteractive.training import Recipe, read_objects, train_volume

    objects = read_objects([rclicks.load_dataset("hippocampus", pack / "data" / "hippocampus")[0]])
    train_volume(objects, objects[:1], Recipe(), settings, folder, steps=steps, report=report)


TRAININGS: Mapping[str, Callable[..., Any]] = {
    "probunet": probunet,
    "clickability mini-cnn": clickability,
    "aespa": aespa,
    "nninteractive tiny": volume,
}
# Training -> the folder of the pack without which it cannot run.
NEEDS: Mapping[str, str] = {"nninteractive tiny": "data/hippocampus"}
