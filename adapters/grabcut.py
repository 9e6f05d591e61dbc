"""OpenCV GrabCut."""

from __future__ import annotations

from typing import ClassVar

import cv2
import numpy as np

from rclicks.cards import ModelCard
from rclicks.interaction import Box, clicks_of
from rclicks.models.seeds import BACKGROUND, COMMON_OPTIONS, OBJECT, Choice, Number, SeededModel, stamp

CARDS = (ModelCard(name="opencv-grabcut", family="grabcut", summary="x", prompts=("click", "box"), encodes_once=True),)


def load(card, *, checkpoint=None, device="cpu", protocol=None, **options):
    return GrabCut(card, checkpoint, options)


class GrabCut(SeededModel):
    OPTIONS: ClassVar = {
        **COMMON_OPTIONS,
        "iterations": Number(2, 1, 20, whole=True),
        "reach": Number(0.15, 0, 1),
        "previous": Choice(True, (True, False)),
        "lab": Choice(False, (True, False)),
    }

    def solve(self, canvas, seeds, state):
        h, w = canvas.shape
        clicks = clicks_of(state.interactions)
        boxes = [i for i in state.interactions if isinstance(i, Box)]
        lab = np.full((h, w), cv2.GC_PR_BGD, np.uint8)
        if self.options["previous"] and state.mask is not None and state.mask.any():
            small = cv2.resize(state.mask.view(np.uint8) * 255, (w, h), interpolation=cv2.INTER_AREA) > 127
            lab[small] = cv2.GC_PR_FGD
            p = clicks[-1:]
        else:
            p = clicks
            if boxes:
                lab[seeds != BACKGROUND] = cv2.GC_PR_FGD
        near = stamp(
            p,
            (h, w),
            self.options["reach"] * min(h, w)
            if state.mask is None or not self.options["previous"]
            else self.options["radius"] * 2,
            canvas.full,
        )
        lab[near == OBJECT] = cv2.GC_PR_FGD
        lab[near == BACKGROUND] = cv2.GC_PR_BGD
        lab[seeds == OBJECT] = cv2.GC_FGD
        lab[seeds == BACKGROUND] = cv2.GC_BGD
        if not (lab & 1).any() or (lab & 1).all():
            return (lab & 1).astype(float)
        cv2.setRNGSeed(0)
        img = canvas.image
        cv2.grabCut(
            img, lab, None, np.zeros((1, 65)), np.zeros((1, 65)), self.options["iterations"], cv2.GC_INIT_WITH_MASK
        )
        return (lab & 1).astype(float)
