"""One batch of the published trainings of AESPA and SPA: the optimiser steps in their order.

The random numbers that published code draws without a seed come here from the generator of the image. Frozen parts get
no gradient, so Adam does not change them; there is no weight decay. The images of a batch share one mixture and, for
SPA, the groups.

The description of the published code leaves two points open. SPA's responsibilities are taken here under the mixture of
the new prompt, as in its validation. The responsibilities of the target in the last step are taken under the same
mixture.

Sources: hmkhoi2701/DL_Repo_Interactive_Segmentation (AESPA); ImprintLab/SPA.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn

from rclicks.interaction import Click
from rclicks.sample import Mask

from .network import LATENT, Mixture, MixtureSam, groups_of, responsibilities
from .published_clicks import agreeing, differing_pixel, first_click, followed_rater
from .session import group_means, on_device, upsampled

if TYPE_CHECKING:
    from .recipe import Recipe
    from .training import View

__all__ = ["aespa_batch", "spa_batch"]

SWITCHING = 0.2  # probability that the next click follows another rater
POSITIVE = 2.0  # weight of the object pixels in the cross-entropy

Step = Callable[[Tensor, Sequence[nn.Module]], float]
Views = Sequence["View"]
Generators = Sequence[np.random.Generator]


def stepping(optimizer: torch.optim.Optimizer) -> Step:
    """Return a function that makes one optimiser step with some parts of the network and returns the loss."""

    def step(loss: Tensor, parts: Sequence[nn.Module]) -> float:
        optimizer.zero_grad()
        learning = [p for part in parts for p in part.parameters() if p.requires_grad]
        for parameter, slope in zip(learning, torch.autograd.grad(loss, learning, allow_unused=True), strict=True):
            parameter.grad = slope
        optimizer.step()
        return float(loss.detach())

    return step


def aespa_batch(
    network: MixtureSam, optimizer: torch.optim.Optimizer, views: Views, rngs: Generators, recipe: Recipe
) -> float:
    """Train AESPA on a batch with two optimiser steps in each round; return the sum of all losses.

    Parameters
    ----------
    network : MixtureSam
        Network that is trained in place.
    optimizer : torch Optimizer
        Optimiser of all its parameters.
    views : sequence of View
        Images with masks at the input size, one for each image of the batch.
    rngs : sequence of numpy Generator
        Random generators, one for each image.
    recipe : Recipe
        Settings; there are `recipe.clicks` + 1 rounds.
    """
    step, clicks = stepping(optimizer), Clicks(len(views))
    images = on_device(np.stack([v.image for v in views]), next(network.parameters()))
    masks = _padded([v.masks for v in views])
    valid = np.asarray(masks.any((2, 3)))
    target = on_device(masks.mean(1), images)  # mean over all masks, also over empty and padded ones, as published
    state = on_device(network.start, images).expand(len(views), -1)
    previous: Tensor | None = None
    followed: list[int | None] = [None] * len(views)
    total = 0.0
    for _ in range(recipe.clicks + 1):
        with torch.no_grad():
            sparse, dense = network.prompts(*clicks.tensors(images), previous)
            mixture = network.mixture(sparse, state)
        latent = network.latent(mixture, images.new_zeros((len(views), LATENT)))
        low = network.decode(network.combine(network.encode(images), latent), sparse, dense).float()
        logits = upsampled(low, network.size, recipe.smooth)
        total += step(_cross_entropy(logits, target), [network.image_encoder, network.mask_decoder])
        previous, values = low.detach(), _as_probability(logits.detach())
        state = responsibilities(values.flatten(1), mixture)

        soft = []
        for i, (rng, value) in enumerate(zip(rngs, values.cpu().numpy(), strict=True)):
            followed[i] = rater = followed_rater(valid[i], followed[i], SWITCHING, rng)
            pixel = differing_pixel(np.abs(value - masks[i, rater]), rng)
            label = bool(masks[i, rater][pixel])
            clicks.add(i, Click(pixel, label))
            soft.append(agreeing(masks[i], valid[i], pixel, label))
        target = on_device(np.stack(soft), images)

        sparse, _ = network.prompts(*clicks.tensors(images), previous)
        with torch.no_grad():
            weights = network.mixture(sparse, state).weights
        means, variances = (m.mean(0) for m in network.EM_mean_variance(sparse, network.places()))
        prompted = Mixture(weights, means, variances)
        found = network.EM_weights(responsibilities(values.flatten(1), prompted))
        loss = F.mse_loss(found, responsibilities(target.flatten(1), prompted))
        total += step(loss, [network.EM_weights, network.prompt_encoder])
    return total


def spa_batch(
    network: MixtureSam, optimizer: torch.optim.Optimizer, views: Views, rngs: Generators, recipe: Recipe
) -> float:
    """Train SPA on a batch with three optimiser steps in each round; return the sum of all losses.

    Parameters
    ----------
    network, optimizer, views, rngs, recipe
        As for `aespa_batch`.
    """
    step, clicks = stepping(optimizer), Clicks(len(views))
    images = on_device(np.stack([v.image for v in views]), next(network.parameters()))
    firsts = [first_click(v.masks, rng) for v, rng in zip(views, rngs, strict=True)]
    for i, first in enumerate(firsts):
        clicks.add(i, first.click)
    wanted = np.stack([first.target for first in firsts])
    target = on_device(wanted, images)
    state = on_device(network.start, images).expand(len(views), -1)
    previous: Tensor | None = None
    total = 0.0

    def sampled(features: Tensor, mixture: Mixture, sparse: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
        """Return the (N, B, S, S) logits of the samples and their (B, 1, 4g, 4g) mean."""
        drawn = np.stack([rng.standard_normal((recipe.samples, LATENT), np.float32) for rng in rngs], 1)
        latents = network.latent(mixture, on_device(drawn, images)).flatten(0, 1)
        count = recipe.samples
        mixed = network.combine(features.repeat(count, 1, 1, 1), latents)
        low = network.decode(mixed, sparse.repeat(count, 1, 1), dense.repeat(count, 1, 1, 1)).float()
        logits = upsampled(low, network.size, recipe.smooth)
        return logits.view(count, len(views), *logits.shape[1:]), low.view(count, len(views), *low.shape[1:]).mean(0)

    for _ in range(recipe.clicks + 1):
        with torch.no_grad():
            sparse, dense = network.prompts(*clicks.tensors(images), previous)
            mixture = network.mixture(sparse, state)
        logits, low = sampled(network.encode(images), mixture, sparse, dense)
        total += step(_cross_entropy(logits.mean(0), target), [network.image_encoder, network.mask_decoder])
        previous = low.detach()

        maps = logits.detach().sigmoid()
        labels = groups_of(maps.cpu().numpy(), recipe.groups)
        nearest = _nearest_group(maps.flatten(1), labels, target.flatten())
        inside = torch.from_numpy(labels == nearest).to(maps.device)
        meant = maps[inside].mean(0)
        other = torch.zeros_like(meant) if inside.all() else maps[~inside].mean(0)
        for i, (rng, difference) in enumerate(zip(rngs, (meant - other).abs().cpu().numpy(), strict=True)):
            pixel = differing_pixel(difference, rng)
            clicks.add(i, Click(pixel, bool(wanted[i][pixel])))

        sparse, dense = network.prompts(*clicks.tensors(images), previous)
        with torch.no_grad():
            state = responsibilities(meant.flatten(1), network.mixture(sparse, state))
            features, weights = network.encode(images), network.mixture(sparse, state).weights
        means, variances = (m.mean(0) for m in network.EM_mean_variance(sparse, network.places()))
        prompted = Mixture(weights, means, variances)
        logits, _ = sampled(features, prompted, sparse, dense)
        total += step(_cross_entropy(logits.mean(0), target), [network.prompt_encoder, network.EM_mean_variance])

        prompted = Mixture(*(m.detach() for m in prompted))
        wanted_state = responsibilities(target.flatten(1), prompted)
        total += step(F.mse_loss(network.EM_weights(state), wanted_state), [network.EM_weights])
    return total


class Clicks:
    """The clicks on the images of a batch; every image has the same number of clicks."""

    def __init__(self, images: int) -> None:
        self._clicks: list[list[Click]] = [[] for _ in range(images)]

    def add(self, image: int, click: Click) -> None:
        """Add a click on the image with this index."""
        self._clicks[image].append(click)

    def tensors(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return points (B, n, 2) as (row, column) and labels (B, n), float32, on the device of `like`."""
        rows = self._clicks
        points = np.array([[c.point for c in row] for row in rows], np.float32).reshape(len(rows), -1, 2)
        return on_device(points, like), on_device([[c.positive for c in row] for row in rows], like)


def _nearest_group(maps: Tensor, groups: NDArray[np.int64], target: Tensor) -> int:
    """Return the group of (N, P) maps whose mean is nearest to a (P,) target: the oracle of the published code."""
    return int(torch.stack([(mean - target).norm() for mean in group_means(maps, groups)]).argmin())


def _cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, target, pos_weight=target.new_tensor(POSITIVE))


def _as_probability(logits: Tensor) -> Tensor:
    """Return logits as probabilities. Values that all lie in [0, 1] are taken for probabilities, as published."""
    return logits.sigmoid() if logits.max() > 1 or logits.min() < 0 else logits


def _padded(masks: Sequence[Mask]) -> Mask:
    """Return the (r, S, S) masks of B images as one (B, R, S, S) array; images with fewer than R get empty masks."""
    most = max(map(len, masks))
    return np.stack([np.pad(stack, [(0, most - len(stack)), (0, 0), (0, 0)]) for stack in masks])
