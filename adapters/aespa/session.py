"""Sessions of SPA and AESPA in a batch, as the models run them, with gradients for training.

AESPA's sessions follow its style "validation", SPA's its style "training": the logits of a round are a prompt of the
next one. Each slot of the batch has its own mixture, clicks and answer, so that no slot depends on the others.
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
    """One session of a batch: one followed rater on one image.

    Attributes
    ----------
    truth : (S, S) bool array
        Reference mask: the mask of the followed rater.
    counted : (S, S) bool array
        True where pixels are not ignored.
    rng : numpy Generator
        Random generator of the noise.
    clicks : list of Click
        Clicks so far.
    answer : (S, S) bool array or None
        Last prediction; None before the first round.
    preference : (K,) tensor or None
        Responsibilities that the next round starts from.
    previous : (1, 4g, 4g) tensor or None
        Logits of the last round; for SPA their mean over the samples.
    maps : (N, S, S) tensor or None
        Probabilities of the samples of the last round.
    """

    truth: Mask
    counted: Mask
    rng: np.random.Generator
    clicks: list[Click] = field(default_factory=list)
    answer: Mask | None = None
    preference: Tensor | None = None
    previous: Tensor | None = None
    maps: Tensor | None = None

    @cached_property
    def _reference(self) -> TargetReference:
        return TargetReference(self.truth, ~self.counted)

    def click(self) -> bool:
        """Add the click of the base rule at the centre of the largest error; return False if there is no error.

        The first click goes to the centre of the reference mask. A prediction made before the first click is not used.
        """
        answer = self.answer if self.clicks and self.answer is not None else np.zeros_like(self.truth)
        made = next_click(self._reference, answer, [c.point for c in self.clicks])
        if made is not None:
            self.clicks.append(made)
        return made is not None


class Session:
    """Sessions that are computed in one batch.

    Parameters
    ----------
    network : MixtureSam
        Network that predicts.
    features : (L, 256, g, g) tensor
        Image features of the L slots.
    slots : sequence of Slot
        Sessions; their state is changed by `advance`.
    recipe : Recipe
        Settings of the training.
    """

    def __init__(self, network: MixtureSam, features: Tensor, slots: Sequence[Slot], recipe: Recipe) -> None:
        self.network, self.features, self.slots, self.recipe = network, features, slots, recipe
        self.sampling = recipe.model == "spa"
        for slot in slots:
            slot.preference = on_device(network.start, features)

    def advance(self, chosen: Sequence[int]) -> Tensor:
        """Compute a round of the chosen slots and return their (N, L, S, S) logits of N samples.

        Parameters
        ----------
        chosen : sequence of int
            Indices of L slots, which must all have the same number of clicks.
        """
        network, slots = self.network, [self.slots[i] for i in chosen]
        sparse, dense = self._prompts(slots)
        preference = _stacked([slot.preference for slot in slots])
        if self.sampling and slots[0].maps is not None:
            with torch.no_grad():
                chosen_maps = torch.stack([_chosen_group(slot, self.recipe.groups) for slot in slots])
                preference = responsibilities(chosen_maps.flatten(1), network.mixtures(sparse, preference))
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


def _chosen_group(slot: Slot, groups: int) -> Tensor:
    """Return the (S, S) mean map of the group of samples that the clicks of a slot contradict least."""
    assert slot.maps is not None  # noqa: S101 - the caller has checked it
    labels = groups_of(slot.maps.cpu().numpy(), groups)
    means = torch.stack(group_means(slot.maps, labels))
    rows, columns = np.array([c.point for c in slot.clicks]).T
    wanted = on_device([c.positive for c in slot.clicks], means)
    return means[int((means[:, rows, columns] - wanted).abs().mean(1).argmin())]


def group_means(maps: Tensor, groups: NDArray[np.int64]) -> list[Tensor]:
    """Return for each group, counted from 0, the mean (...) of its maps among (N, ...) maps."""
    return [maps[torch.from_numpy(groups == k).to(maps.device)].mean(0) for k in range(int(groups.max()) + 1)]


def upsampled(low: Tensor, size: int, smooth: bool) -> Tensor:
    """Return (B, 1, h, w) logits enlarged to (B, size, size): interpolated if `smooth`, else repeated as published."""
    if smooth:
        return F.interpolate(low, (size, size), mode="bilinear", align_corners=False)[:, 0]
    return F.interpolate(low, (size, size), mode="nearest")[:, 0]


def overlap_loss(logits: Tensor, target: Tensor, counted: Tensor) -> Tensor:
    """Return the sum of cross-entropy and soft Dice loss over the counted pixels.

    Parameters
    ----------
    logits : (..., S, S) tensor
        Predicted logits.
    target : (..., S, S) tensor
        Target in [0, 1]; it is broadcast against `logits`.
    counted : (..., S, S) tensor
        1 where a pixel counts, 0 where it is ignored.

    Returns
    -------
    (...) tensor
        Loss of each map.
    """
    pixels = counted.sum((-2, -1)).clamp_min(1)
    logits, target = torch.broadcast_tensors(logits, target)
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none") * counted
    probability = logits.sigmoid() * counted
    target = target * counted
    shared = (probability * target).sum((-2, -1))
    both = (probability + target).sum((-2, -1))
    return entropy.sum((-2, -1)) / pixels + 1 - (2 * shared + 1) / (both + 1)


def closest_loss(logits: Tensor, masks: Sequence[Tensor], counted: Tensor) -> Tensor:
    """Return for each slot the mean over its raters of the loss of the sample that is closest to the rater, (L,).

    Parameters
    ----------
    logits : (N, L, S, S) tensor
        Logits of N samples of L slots.
    masks : sequence of (R, S, S) tensor
        Masks of the raters of each slot; the number R of raters may differ.
    counted : (L, S, S) tensor
        1 where a pixel counts, 0 where it is ignored.
    """
    found = [overlap_loss(logits[:, i, None], drawn[None], counted[i]).amin(0).mean() for i, drawn in enumerate(masks)]
    return torch.stack(found)


def on_device(array: Any, like: Tensor) -> Tensor:
    """Return a copy of an array as a float32 tensor on the device of `like`."""
    made: NDArray[np.float32] = np.asarray(array, np.float32)
    return torch.from_numpy(made.copy()).to(like.device)


def _stacked(tensors: Sequence[Tensor | None]) -> Tensor:
    return torch.stack([t for t in tensors if t is not None])
