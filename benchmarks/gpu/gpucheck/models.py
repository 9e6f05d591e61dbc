"""Which models there are: asked of the registry, so that new families take part by themselves."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

import rclicks
from gpucheck.context import Step
from rclicks.cards import ModelCard
from rclicks.engine.loading import checkpoint_of
from rclicks.errors import PluginError, WeightsError
from rclicks.models.weights import SYNTHETIC
from rclicks.registry import Registry
from rclicks.specs import parse

__all__ = ["families", "make_pictures", "named", "pictures", "spec_of"]

PICTURE_SETS = ("GrabCut", "Berkeley", "DAVIS")
SMALL = 4  # pictures of the CPU form


def families(registry: Registry, dims: int = 2) -> dict[str, list[ModelCard]]:
    """Return the torch models of each family, those with the fewest weights first."""
    found: dict[str, list[ModelCard]] = {}
    for entry in registry.models.values():
        card = entry.card
        if isinstance(card, ModelCard) and card.parameters and card.dims == dims and not card.needs:
            found.setdefault(card.family, []).append(card)
    return {family: sorted(cards, key=lambda c: (c.parameters, c.name)) for family, cards in sorted(found.items())}


def spec_of(registry: Registry, card: ModelCard) -> str:
    """Return a spec of the model with its real weights if this machine has them, else with synthetic ones.

    Raises
    ------
    PluginError
        If a package that the model needs is missing.
    """
    try:
        checkpoint_of(registry, parse(card.name))
    except WeightsError:
        return f"{card.name}:checkpoint={SYNTHETIC}"
    except PluginError:
        checkpoint_of(registry, parse(f"{card.name}:checkpoint={SYNTHETIC}"))  # raises if the adapter cannot be used
        return f"{card.name}:checkpoint={SYNTHETIC}"
    return card.name


def named(registry: Registry, names: Iterable[str]) -> list[ModelCard]:
    """Return the cards of those of `names` that exist."""
    cards = (registry.models[name].card for name in names if name in registry.models)
    return [card for card in cards if isinstance(card, ModelCard)]


def pictures(step: Step, count: int) -> list[tuple[str, str | None, int]]:
    """Return (data set, its folder, index) of pictures, spread over the sets that are there.

    On a GPU these are the pack's, or without a pack those of the built-in quickstart set; on the CPU small ones that
    are made here, because the CPU form shall only show that the script works.
    """
    if not step.on_gpu:
        folder = step.file.parent / "pictures"
        make_pictures(folder, SMALL)
        return [("folder", str(folder), index) for index in range(SMALL)][:count]
    sets: list[tuple[str, str | None, int]] = []
    for name in PICTURE_SETS:
        folder = step.pack / "data" / name
        if folder.is_dir():
            sets.append((name, str(folder), len(rclicks.load_dataset(name, folder))))
    if not sets:
        sets = [("quickstart", None, len(rclicks.load_dataset("quickstart")))]
    found: list[tuple[str, str | None, int]] = []
    for index in range(max(size for _, _, size in sets)):
        found += [(name, folder, index) for name, folder, size in sets if index < size]
    return found[:count]


def make_pictures(folder: Path, count: int) -> None:
    """Write small pictures of one bright ellipse each, with masks, as the data set `folder` reads them; once."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rows, columns = np.mgrid[:96, :128]
    for number in range(count):
        if (folder / "masks" / f"{number}.png").is_file():
            continue
        rng = np.random.default_rng(number)
        mask = ((rows - rng.integers(36, 60)) / 24) ** 2 + ((columns - rng.integers(44, 84)) / 32) ** 2 < 1
        image = rng.integers(20, 90, (96, 128, 3)) + 90 * mask[..., None]
        cv2.imwrite(str(folder / "images" / f"{number}.png"), image.astype(np.uint8))
        cv2.imwrite(str(folder / "masks" / f"{number}.png"), 255 * mask.astype(np.uint8))
