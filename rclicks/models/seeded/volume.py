"""Base of the classical 3-D models without weights, like `rclicks.models.seeded.image` for images.

`embed` makes a *working volume*: grey values in 0..1, averaged over blocks if the volume has too many voxels.
`segment` draws the interactions as seeds on the working volume, calls the method, enlarges its probabilities, and
makes the result agree with the interactions. A method defines only how seeds become probabilities, in
`VolumeModel.solve`:

>>> class Seeded(VolumeModel):
...     def solve(self, working, seeds, state):
...         return (seeds == OBJECT).astype(float), None
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rclicks.cards import ModelCard
from rclicks.errors import PluginError
from rclicks.interaction import Box, Interaction, check_inside
from rclicks.models.contract import State
from rclicks.models.seeded.base import ASSUMED, OBJECT, Classical, SeedMap
from rclicks.models.seeded.seeds_3d import Drawn, clear_outside, draw, enforce_seeds, implied_background
from rclicks.models.seeded.working_volume import Triple, WorkingVolume, enlarge
from rclicks.options import Choice, Number
from rclicks.sample import Sample

__all__ = ["VOLUME_OPTIONS", "VolumeModel", "require_simpleitk"]

VOLUME_OPTIONS: dict[str, Number | Choice] = {
    "voxels": Number(450_000, 1000, 1e8, whole=True),
    "radius": Number(2.0, 0, 100),
    "frame": Choice("always", ("auto", "always", "never")),
    "connected": Choice(True, (True, False)),
    "core": Number(0.5, 0, 1),
    "reach": Number(1.0, 0, 100),
}


class VolumeModel(Classical):
    """Base of the classical 3-D models, which compute probabilities from seeds.

    All of them follow these rules:

    * They compute on a working volume of at most about `voxels` voxels (`WorkingVolume`). Probabilities are enlarged
      linearly.
    * Interactions become seeds by the rules of `draw`: balls of `radius` mm around clicks, scribbles, the inner parts
      of lassos, and the inner part of the latest box (`core` times its size).
    * ``frame`` says whether the outermost voxels of the volume are background seeds: "always" (the default), "auto" as
      long as there is neither a box nor a negative interaction, or "never". `implied_background` has the rules for
      boxes. `reach` says how far an object may extend beyond the box of a slice. Drawn seeds have priority over all
      these rules.
    * Without a positive interaction or a box the result is the empty mask with probability 0 everywhere.
    * ``connected`` removes parts without an object seed (`enforce_seeds`).

    Attributes
    ----------
    OPTIONS : dict
        Options of the model with defaults and bounds.
    """

    OPTIONS: ClassVar[Mapping[str, Number | Choice]] = VOLUME_OPTIONS

    def embed(self, sample: Sample) -> WorkingVolume:
        """Return the working volume with everything that depends on the volume alone."""
        working = WorkingVolume.of(sample, self.options["voxels"])
        return replace(working, extra=self.prepare(working))

    def prepare(self, working: WorkingVolume) -> Any:
        """Return further data that the method computes from the volume alone; None by default."""
        return None

    @abstractmethod
    def solve(self, working: WorkingVolume, seeds: SeedMap, state: State) -> tuple[NDArray[np.floating[Any]], Any]:
        """Return the probability of the object at every voxel of the working volume, (z, y, x) floats, and the memory.

        `seeds` contains at least one `OBJECT`. The memory is part of the next state. It may save time but must not
        change the result.
        """

    def segment(self, embedding: WorkingVolume, states: Sequence[State]) -> list[State]:
        """Predict every state independently.

        Raises
        ------
        ProtocolError
            If an interaction lies outside the volume.
        """
        return [self._answer(embedding, state) for state in states]

    def _answer(self, working: WorkingVolume, state: State) -> State:
        for interaction in state.interactions:
            check_inside(interaction, working.full)
        boxes = [i for i in state.interactions if isinstance(i, Box)]
        if not boxes and not any(i.positive for i in state.interactions):
            empty = np.zeros(working.full, np.float32)
            return replace(state, mask=np.zeros(working.full, bool), probability=empty, memory=None)
        drawn = self._drawn(working, state.interactions, working.step)
        seeds = self._seeds(working, state.interactions, drawn)
        answer, memory = self.solve(working, seeds, state)
        small = np.array(np.clip(answer, 0, 1), np.float32, order="C")
        small[seeds == OBJECT] = 1
        small[seeds < 0] = 0
        large = enlarge(small, working.step, working.full)
        clear_outside(large, boxes)
        at, label = drawn if working.step == (1, 1, 1) else self._drawn(working, state.interactions, (1, 1, 1))
        mask, probability = enforce_seeds(large, at, label, self.options["connected"])
        return replace(state, mask=mask, probability=probability, memory=memory)

    def seeds(self, working: WorkingVolume, interactions: Sequence[Interaction]) -> SeedMap:
        """Return the seed map on the working volume: `OBJECT`, `BACKGROUND`, `ASSUMED` (background) or 0."""
        return self._seeds(working, interactions, self._drawn(working, interactions, working.step))

    def assumed(self, working: WorkingVolume, interactions: Sequence[Interaction]) -> NDArray[np.bool_]:
        """Return the voxels of the working volume that are background by a rule, (z, y, x) bool."""
        return implied_background(interactions, working, self.options["frame"], self.options["reach"])

    def drawn_on(self, working: WorkingVolume, interaction: Interaction) -> NDArray[np.bool_]:
        """Return the seeds that one interaction would have if it were the only one, (z, y, x) bool."""
        on = np.zeros(working.shape, bool)
        on.reshape(-1)[self._drawn(working, (interaction,), working.step)[0]] = True
        return on

    def _seeds(self, working: WorkingVolume, interactions: Sequence[Interaction], drawn: Drawn) -> SeedMap:
        seeds = np.where(self.assumed(working, interactions), np.int8(ASSUMED), np.int8(0))
        at, label = drawn
        seeds.reshape(-1)[at] = label
        return seeds

    def _drawn(self, working: WorkingVolume, interactions: Sequence[Interaction], step: Triple) -> Drawn:
        """Draw the interactions on the working volume, or on the original volume if all steps are 1."""
        shape = working.shape if step == working.step else working.full
        spacing = tuple(s / k * own for s, k, own in zip(working.spacing, working.step, step, strict=True))
        return draw(interactions, shape, spacing, self.options["radius"], self.options["core"], step)


def require_simpleitk(card: ModelCard) -> None:
    """Import SimpleITK when the model is loaded, so that a run without it fails before it starts.

    Raises
    ------
    PluginError
        If SimpleITK is not installed.
    """
    try:
        import SimpleITK  # noqa: F401
    except ImportError as error:
        raise PluginError(
            f"model {card.name} needs SimpleITK, which is not installed; "
            "install the extra: pip install 'rclicks[volumes]'"
        ) from error
