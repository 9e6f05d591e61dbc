"""Back-propagating refinement (BRS): optimise the network's input or features until the prediction fits the clicks.

RGB-BRS and DistMap-BRS (Jang and Kim, CVPR 2019) optimise an offset of the normalised image or of the click maps.
f-BRS (Sofiiuk et al., CVPR 2020) optimises a scale and a bias of each feature channel: A and B at the output of the
backbone (they are the same for HRNet), C at the input of the classifier. SciPy's L-BFGS-B optimises one trajectory at a
time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import fmin_l_bfgs_b
from torch import Tensor

from rclicks.models.early_fusion.click_maps import PointRow, mirrored
from rclicks.models.early_fusion.predictor import EarlyFusionModel, Embedding, Slot

from .hrnet import resize
from .network import HRNetModel

__all__ = ["BrsModel", "ClickObjective", "click_boxes"]

OPTIMISER = {"m": 20, "factr": 0, "pgtol": 1e-8, "maxfun": 20, "maxiter": 40}
REGULARISER, BIAS_WEIGHT = 1e-3, 10.0
ENOUGH_CHANGE = 0.01  # smallest change in IoU between the masks of successive evaluations
OPTIMISE_AFTER = 1  # number of clicks; with more clicks the optimisation runs

# Number of the first clicks that the network gets as input. All clicks count in the loss.
NETWORK_CLICKS = {"rgb-brs": 5, "distmap-brs": 5, "f-brs-a": 8, "f-brs-b": 8, "f-brs-c": 8}

# vector -> (logits at the size of the network's input, regularisation term)
Evaluate = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True, eq=False)
class BrsState:
    """Values that BRS passes to the next round.

    Attributes
    ----------
    vector : (n,) float32 array
        Optimised offsets, or scales and biases.
    previous : (H, W) float32 array or None
        Previous mask in the input of the network. f-BRS computes new features only if the input has a new click or a
        new region. In other rounds the network gets this mask again.
    """

    vector: NDArray[np.float32]
    previous: NDArray[np.float32] | None


def click_boxes(slots: Sequence[Sequence[PointRow]], size: tuple[int, int], radius: int = 1) -> tuple[Tensor, Tensor]:
    """Return (B, 1, H, W) float32 masks of the boxes around positive clicks and around negative clicks.

    Parameters
    ----------
    slots : sequence of B sequences of rows
        Clicks of each slot of the batch as (row, column, index, positive), in pixels of the network's input.
    size : tuple of int
        Height and width (H, W) of the network's input in pixels.
    radius : int
        Boxes have sides of 2 * radius + 1 pixels.
    """
    positive, negative = torch.zeros((len(slots), 1, *size)), torch.zeros((len(slots), 1, *size))
    for b, slot in enumerate(slots):
        for row, column, _, sign in slot:
            # Boxes are cut at the border. Published code loses boxes that reach beyond the top or left border.
            top, left = max(0, round(row) - radius), max(0, round(column) - radius)
            (positive if sign else negative)[b, 0, top : round(row) + radius + 1, left : round(column) + radius + 1] = 1
    return positive, negative


class ClickObjective:
    """The function that L-BFGS-B minimises. It stores the logits of the smallest loss.

    Parameters
    ----------
    evaluate : callable
        Function from a vector to the logits (B, 1, h, w) and the regularisation term.
    positive, negative : (B, 1, h, w) tensors
        Masks of the boxes around the clicks, see `click_boxes`.
    threshold : float
        Probability above which a pixel belongs to the object.
    """

    def __init__(self, evaluate: Evaluate, positive: Tensor, negative: Tensor, threshold: float) -> None:
        self.evaluate, self.positive, self.negative, self.threshold = evaluate, positive, negative, threshold
        self.best: Tensor | None = None
        self.losses: list[float] = []
        self._last: Tensor | None = None

    def loss(self, chances: Tensor) -> tuple[Tensor, bool]:
        """Return the mean squared error in the boxes of both signs, and whether the mask fits all clicks."""
        negatives, positives = (1 - chances) * self.positive, chances * self.negative
        loss = negatives.square().sum() / (self.positive.sum() + 1e-5)
        loss = loss + positives.square().sum() / (self.negative.sum() + 1e-5)
        fits = negatives.max().item() < 1 - self.threshold and positives.max().item() < self.threshold
        return loss, fits

    def __call__(self, x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return loss and gradient. The gradient is 0, which ends the search, if the mask fits or hardly changes."""
        vector = torch.from_numpy(x).float().to(self.positive.device).requires_grad_(True)
        with torch.enable_grad():
            logits, regularisation = self.evaluate(vector)
            chances = logits.sigmoid()
            loss, fits = self.loss(chances)
            loss = loss + regularisation
        value = float(loss.detach())
        if self.best is None or value < min(self.losses):
            self.best = logits.detach()
        self.losses.append(value)
        if fits or self._settled(chances.detach() > self.threshold):
            return value, np.zeros_like(x)
        (gradient,) = torch.autograd.grad(loss, vector)
        return value, gradient.cpu().numpy().astype(np.float64)

    def _settled(self, mask: Tensor) -> bool:
        last = self._last
        if last is not None:
            both, either = (mask & last).flatten(1).sum(1), (mask | last).flatten(1).sum(1)
            some = either > 0
            if some.any() and (both[some] / either[some]).mean().item() > 1 - ENOUGH_CHANGE:
                return True
        self._last = mask
        return False


class BrsModel(EarlyFusionModel):
    """RITM with back-propagating refinement; trajectories are optimised one at a time.

    Parameters
    ----------
    model : HRNetModel
        Network whose input or features are optimised.
    mode : str
        Kind of refinement, a key of `NETWORK_CLICKS`.
    """

    network: Any
    precisions = ("float32", "tf32")  # gradients in half precision would need a scaled loss

    @property
    def batched(self) -> bool:
        """Always False: slots are optimised one by one, so padding them to one batch would only cost time."""
        return False

    def __init__(self, *args: Any, model: HRNetModel, mode: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.model, self.mode = model, mode

    def context(self) -> AbstractContextManager[Any]:
        """Return a context in which gradients can be switched on, which inference mode does not allow."""
        return torch.no_grad()

    def predict(self, embedding: Embedding, slots: Sequence[Slot]) -> tuple[Tensor, list[Any]]:
        """Return the refined logits of the L slots, (L, 1, h, w), and their states for the next round."""
        results = [self._refine(embedding, slot) for slot in slots]
        return torch.cat([logits for logits, _ in results]), [extra for _, extra in results]

    def _refine(self, embedding: Embedding, slot: Slot) -> tuple[Tensor, BrsState]:
        before: BrsState | None = slot.extra
        limit = NETWORK_CLICKS[self.mode]
        on_features = self.mode.startswith("f-brs")
        if before is not None and on_features and len(slot.clicks) > limit and not slot.look.changed:
            slot = replace(slot, previous=before.previous)
        batch, points = self.inputs(embedding, [slot], limit)
        length, evaluate = (self._features if on_features else self._offsets)(batch, points)
        keep = before is not None and before.vector.size == length and (on_features or not slot.look.changed)
        vector = before.vector if before is not None and keep else np.zeros(length, np.float32)
        rows = [slot.rows, mirrored(slot.rows, slot.look.size[1])] if self.flip else [slot.rows]
        boxes = (mask.to(self.device) for mask in click_boxes(rows, slot.look.size))
        objective = ClickObjective(evaluate, *boxes, self.card.threshold)
        if len(slot.clicks) > OPTIMISE_AFTER:
            vector = fmin_l_bfgs_b(objective, vector.astype(np.float64), **OPTIMISER)[0].astype(np.float32)
        best = objective.best
        logits = evaluate(torch.from_numpy(vector).to(self.device))[0] if best is None else best
        return self.unflip(logits), BrsState(vector, slot.previous)

    def _features(self, batch: Tensor, points: Tensor) -> tuple[int, Evaluate]:
        """Return the length of the vector, and the function from scales and biases of the features to logits."""
        head, size = self.model.feature_extractor, (batch.shape[2], batch.shape[3])
        features = self.model.features(*self.model.prepare(batch, points))
        late = self.mode == "f-brs-c"
        if late:
            features = head.context(features)[0]

        def evaluate(vector: Tensor) -> tuple[Tensor, Tensor]:
            scale, bias = vector.view(2, 1, -1, 1, 1)
            changed = features * (1 + scale) + bias
            logits = head.cls_head(changed) if late else head.head(changed)[0]
            penalty = scale.square().sum() + BIAS_WEIGHT * bias.square().sum()
            return resize(logits, size), REGULARISER * penalty

        return 2 * features.shape[1], evaluate

    def _offsets(self, batch: Tensor, points: Tensor) -> tuple[int, Evaluate]:
        """Return the length of the vector, and the function from offsets of the image or the click maps to logits."""
        image, clicks = self.model.prepare(batch, points)
        size = (batch.shape[2], batch.shape[3])
        first = clicks.shape[1] - 2  # the channel of the previous mask, if there is one, gets no offset
        channels = 3 if self.mode == "rgb-brs" else 2

        def evaluate(vector: Tensor) -> tuple[Tensor, Tensor]:
            offset = vector.view(1, channels, *size)
            if self.flip:
                offset = torch.cat([offset, offset.flip(3)])
            penalty = REGULARISER * offset.square().sum()
            if self.mode == "rgb-brs":
                features = self.model.features(image + offset, clicks)
            else:
                features = self.model.features(image, torch.cat([clicks[:, :first], clicks[:, first:] + offset], dim=1))
            return resize(self.model.feature_extractor.head(features)[0], size), penalty

        return channels * size[0] * size[1], evaluate
