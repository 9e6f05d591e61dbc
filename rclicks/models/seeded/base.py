"""Base of all methods without weights: labels of seeds, options with bounds, and no checkpoint.

>>> np.array([OBJECT, 0, BACKGROUND], np.int8).tolist()  # object, unknown, background
[1, 0, -1]
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from rclicks.cards import ModelCard
from rclicks.errors import WeightsError
from rclicks.models.contract import Model
from rclicks.options import Choice, Number, read_options

__all__ = ["ASSUMED", "BACKGROUND", "OBJECT", "Classical", "Probability", "SeedMap"]

OBJECT, BACKGROUND, ASSUMED = (
    1,
    -1,
    -2,
)  # ASSUMED: background by a rule (frame, outside of a box), not drawn by the user

SeedMap = NDArray[np.int8]
Probability = NDArray[np.float32]


class Classical(Model):
    """Base of models without weights; they run on the CPU.

    Attributes
    ----------
    OPTIONS : dict
        Options of the model with defaults and bounds.

    Raises
    ------
    WeightsError
        If a checkpoint is given.
    ProtocolError
        If an option is unknown or out of bounds.
    """

    OPTIONS: ClassVar[Mapping[str, Number | Choice]]

    def __init__(self, card: ModelCard, checkpoint: object, options: Mapping[str, object]) -> None:
        if checkpoint is not None:
            raise WeightsError(
                f"model {card.name} has no weights, but checkpoint={checkpoint!r} was given; leave it out"
            )
        self.card = card
        self.device = "cpu"
        self.checkpoint_id = "none"
        self.options = read_options(card.name, self.OPTIONS, options)
