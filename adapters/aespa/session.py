"""Sessions of SPA and AESPA side by side, as their models play them, with gradients where a training wants them.

AESPA's are those of its style "validation", SPA's of its style "training": the logits of a round are a prompt of the
next. Each image has its own mixture, clicks and answer, so that none of them depends on the others of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

from rclicks.interaction import Click
from rclicks.metrics.target import TargetReference
from rclicks.sample import Mask
from rclicks.users.robot import next_click

from .network import LATENT, MixtureSam, groups_of, responsibilities

if TYPE_CHECKING:
    from .recipe import Recipe

__all__ = ["Session", "Slot", "closest_loss", "group_means", "on_device", "overlap_loss", "upsampled"]


@dataclass(eq=False)
class Slot:
    """One rater's session on one image.

    Attributes
    ----------
    truth, counted : (S, S) bool array
        What the rater drew, and where pixels are not to be ignored.
    rng : numpy Generator
        Of the noise.
    clicks : list of Click
        So far.
    answer : (S, S) bool array or None
        The last one; None before the first round.
    """

    truth: Mask
    counted: Mask
    rng: np.random.Generator
    clicks: list[Click] = field(default_factory=list)
    answer: Mask | None = None
    preference: Tensor | None = None  # (K,)
    previous: Tensor | None = None  # (1, 4g, 4g) logits
    maps: Tensor | None = None  # (N, S, S) probabilities

    @cached_property
    def _facts(self) -> TargetReference:
        return TargetReference(self.truth, ~self.counted)

    def click(self) -> bool:
        """Let the rater click at the centre of the largest error; False if nothing is wrong.

        The first click goes to the centre of what the rater drew: sessions begin with an empty answer, whatever the
        network would say before it.
        """
        answer = self.answer if self.clicks and self.answer is not None else np.zeros_like(self.truth)
        made = next_click(self._facts, answer, [c.point for c in self.clicks])
        if made is not None:
            self.clicks.append(made)
        return made is not None


class Session:
    """Lanes that are played side by side.

    Parameters
    ----------
    network : MixtureSam
    features : (L, 256, g, g) tensor
        Of the lanes' images.
    slots : sequence of Lane
    recipe : Recipe
    """

    def __init__(self, network: MixtureSam, features: Tensor, slots: Sequence[Slot], recipe: Recipe) -> None:
        self.network, self.features, self.slots, self.recipe = network, features, slots, recipe
        self.sampling = recipe.model == "spa"
        for slot in slots:
            slot.preference = on_device(network.start, features)

    def advance(self, chosen: Sequence[int]) -> Tensor:
        """Play a round of some lanes, all with the same number of clicks, and return their logits (N, L, S, S)."""
        network, slots = self.network, [self.slots[i] for i in chosen]
        sparse, dense = self._prompts(slots)
        preference = _stacked([slot.preference for slot in slots])
        if self.sampling and slots[0].maps is not None:
            with torch.no_grad():
                meant = torch.stack([_meant(slot, self.recipe.groups) for slot in slots])
                preference = responsibilities(meant.flatten(1), network.mixtures(sparse, preference))
        mixture = network.mixtures(sparse, preference)
        latents = network.latent(mixture, self._noise(slots))
        samples = len(latents)
        mixed = network.combine(self.features[list(chosen)].repeat(samples, 1, 1, 1), latents.flatten(0, 1))
        low = network.decode(mixed, sparse.repeat(samples, 1, 1), dense.repeat(samples, 1, 1, 1)).float()
        logits = upsampled(low, network.size, self.recipe.smooth).view(samples, len(slots), network.size, network.size)
        with torch.no_grad():
            maps = logits.sigmoid()
            if not self.sampling:
                preference = responsibilities(maps[0].flatten(1), mixture)
            answers = (logits.mean(0) > 0).cpu().numpy()
            previous = low.view(samples, len(slots), *low.shape[1:]).mean(0)
        for i, slot in enumerate(slots):
            slot.answer, slot.preference = answers[i], preference[i].detach()
            slot.previous, slot.maps = previous[i], maps[:, i]
        return logits

    def _prompts(self, slots: Sequence[Slot]) -> tuple[Tensor, Tensor]:
        clicks = [slot.clicks for slot in slots]
        points = np.array([[c.point for c in row] for row in clicks], np.float32).reshape(len(slots), -1, 2)
        labels = np.array([[c.positive for c in row] for row in clicks], np.float32)
        masks = None if slots[0].previous is None else _stacked([slot.previous for slot in slots])
        return self.network.prompts(on_device(points, self.features), on_device(labels, self.features), masks)

    def _noise(self, slots: Sequence[Slot]) -> Tensor:
        if not self.sampling:
            return self.features.new_zeros((1, len(slots), LATENT))
        drawn = [slot.rng.standard_normal((self.recipe.samples, LATENT), np.float32) for slot in slots]
        return on_device(np.stack(drawn, 1), self.features)


def _meant(slot: Slot, groups: int) -> Tensor:
    """Return the (S, S) mean of the group of samples that a lane's clicks contradict least."""
    assert slot.maps is not None  # noqa: S101 - the caller has looked
    labels = groups_of(slot.maps.cpu().numpy(), groups)
    means = torch.stack(group_means(slot.maps, labels))
    rows, columns = np.array([c.point for c in slot.clicks]).T
    wanted = on_device([c.positive for c in slot.clicks], means)
    return means[int((means[:, rows, columns] - wanted).abs().mean(1).argmin())]


def group_means(maps: Tensor, groups: NDArray[np.int64]) -> list[Tensor]:
    """Return the means (...) of (N, ...) maps over their groups, which are numbered from 0."""
    return [maps[torch.from_numpy(groups == k).to(maps.device)].mean(0) for k in range(int(groups.max()) + 1)]


def upsampled(low: Tensor, size: int, smooth: bool) -> Tensor:
    """Return (B, size, size) logits of (B, 1, h, w), interpolated if `smooth`, else repeated as published."""
    if smooth:
        return F.interpolate(low, (size, size), mode="bilinear", align_corners=False)[:, 0]
    return F.interpolate(low, (size, size), mode="nearest")[:, 0]


def overlap_loss(logits: Tensor, target: Tensor, counted: Tensor) -> Tensor:
    """Return cross-entropy plus soft Dice, (...), of (..., S, S) logits and targets in [0, 1], where it counts."""
    pixels = counted.sum((-2, -1)).clamp_min(1)
    logits, target = torch.broadcast_tensors(logits, target)
    wrong = F.binary_cross_entropy_with_logits(logits, target, reduction="none") * counted
    probability = logits.sigmoid() * counted
    target = target * counted
    shared = (probability * target).sum((-2, -1))
    both = (probability + target).sum((-2, -1))
    return wrong.sum((-2, -1)) / pixels + 1 - (2 * shared + 1) / (both + 1)


def closest_loss(logits: Tensor, masks: Sequence[Tensor], counted: Tensor) -> Tensor:
    """Return (L,): for each of a lane's raters the loss of the closest of its samples, the mean over the raters.

    Parameters
    ----------
    logits : (N, L, S, S) tensor
    masks : sequence of (R, S, S) tensor
        One a lane; lanes may have different numbers of raters.
    counted : (L, S, S) tensor
    """
    found = [overlap_loss(logits[:, i, None], own[None], counted[i]).amin(0).mean() for i, own in enumerate(masks)]
    return torch.stack(found)


def on_device(array: Any, like: Tensor) -> Tensor:
    """Return numbers as a float32 tensor beside another one."""
    made: NDArray[np.float32] = np.asarray(array, np.float32)
    return torch.from_numpy(made.copy()).to(like.device)


def _stacked(tensors: Sequence[Tensor | None]) -> Tensor:
    return torch.stack([t for t in tensors if t is not None])
