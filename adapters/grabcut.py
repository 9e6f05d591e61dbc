"""OpenCV's GrabCut (Rother et al. 2004) driven by clicks and boxes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from rclicks.cards import ModelCard
from rclicks.interaction import Box, clicks_of
from rclicks.models.contract import State
from rclicks.models.seeded.base import BACKGROUND, OBJECT, SeedMap
from rclicks.models.seeded.image import COMMON_OPTIONS, SeededModel, WorkingImage, rasterize_clicks
from rclicks.options import Choice, Number, Option
from rclicks.protocol import Protocol

__all__ = ["CARDS", "GrabCut", "load"]

CARDS = (
    ModelCard(
        name="opencv-grabcut",
        family="grabcut",
        summary="OpenCV's GrabCut: graph cut with Gaussian mixtures refitted to its own answer (Rother et al. 2004)",
        source="https://docs.opencv.org/4.x/d8/d83/tutorial_py_grabcut.html",
        licence="Apache-2.0",
        citation=(
            "C. Rother, V. Kolmogorov and A. Blake, GrabCut: interactive foreground extraction using iterated graph "
            "cuts, ACM TOG 23(3), 2004"
        ),
        prompts=("click", "box"),
        encodes_once=True,
    ),
)


def load(
    card: ModelCard,
    *,
    checkpoint: object = None,
    device: str = "cpu",
    protocol: Protocol | None = None,
    **options: object,
) -> GrabCut:
    """Return the model. It always runs on the CPU; `device` and `protocol` have no effect.

    Raises
    ------
    ProtocolError
        If an option is unknown or out of bounds.
    """
    return GrabCut(card, checkpoint, options)


def load_options(card: ModelCard, protocol: Protocol) -> Mapping[str, Option]:
    """Return the options of `load`."""
    return GrabCut.OPTIONS


class GrabCut(SeededModel):
    """`cv2.grabCut`, started from all interactions at every call.

    Seeds (see `SeededModel`) are fixed. Other pixels start as probable object in two cases: inside a box, or within
    `reach` times the shorter image side of a positive click if no negative click is nearer. The remaining pixels start
    as probable background. Then `iterations` rounds of mixture fitting and graph cut follow.

    Starting from the interactions gave better results on held-out images than starting from the previous mask, which
    tends to keep early mistakes. OpenCV starts the mixtures with a random k-means; its generator is set to the same
    state before each call. Probabilities are 0 or 1, except for the interpolated border.

    Options in addition to the common ones: `iterations`, `reach`.
    """

    OPTIONS: ClassVar[Mapping[str, Number | Choice]] = {
        **COMMON_OPTIONS,
        "long_side": Number(240, 32, 4096, whole=True),
        "radius": Number(3, 0, 50),
        "iterations": Number(2, 1, 50, whole=True),
        "reach": Number(0.15, 0, 1),
    }

    def solve(self, working: WorkingImage, seeds: SeedMap, state: State) -> NDArray[np.float64]:
        """Return 1 where GrabCut's result is object or probable object, else 0."""
        boxed = any(isinstance(interaction, Box) for interaction in state.interactions)
        labels = np.full(working.shape, cv2.GC_PR_FGD if boxed else cv2.GC_PR_BGD, np.uint8)
        reach = self.options["reach"] * min(working.shape)
        near = rasterize_clicks(clicks_of(state.interactions), working.shape, reach, working.full)
        labels[near == OBJECT] = cv2.GC_PR_FGD
        labels[near == BACKGROUND] = cv2.GC_PR_BGD
        labels[seeds == OBJECT] = cv2.GC_FGD
        labels[seeds == BACKGROUND] = cv2.GC_BGD
        is_object = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
        if is_object.any() and not is_object.all():  # each mixture needs pixels to start from
            cv2.setRNGSeed(0)
            mixtures = np.zeros((1, 65)), np.zeros((1, 65))
            cv2.grabCut(working.image, labels, None, *mixtures, self.options["iterations"], cv2.GC_INIT_WITH_MASK)
            is_object = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
        return is_object.astype(np.float64)
