"""The network of a small probabilistic U-Net (Kohl et al., NeurIPS 2018).

A U-Net computes features of the image. 1x1 convolutions combine them with a latent vector, which is the same at every
pixel. The latent comes from a Gaussian with a diagonal covariance. The prior depends on the image and the prompts, the
posterior also on the mask of one rater.

Four things differ from the paper: group norms in the U-Net, leaky rectifiers, prompts as additional input channels, and
a pooling of the prior and posterior networks with the maximum in addition to the mean. As in the paper, these two
networks have no norms: a norm would remove the information how much of the image a mask covers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

__all__ = ["Gaussian", "ProbabilisticUNet", "divergence"]

GROUP = 8  # channels in each group of the norms
FIRST_LOG_SIGMA = -1.0  # of untrained Gaussians; they are narrow, so that the network soon learns to use the mean
LOG_SIGMA = 6.0  # largest absolute value of the logarithm of a standard deviation

Gaussian = tuple[Tensor, Tensor]  # means and logarithms of standard deviations, each (B, L)


def divergence(of: Gaussian, other: Gaussian) -> Tensor:
    """Return the Kullback-Leibler divergence KL(of || other) of diagonal Gaussians in nats, (B,)."""
    (mean, log), (mean_2, log_2) = of, other
    ratio = (2 * (log - log_2)).exp() + ((mean - mean_2) / log_2.exp()) ** 2
    return (log_2 - log + (ratio - 1) / 2).sum(1)


class ProbabilisticUNet(nn.Module):
    """U-Net, prior, posterior, and the layers that combine a latent with the features.

    Parameters
    ----------
    channels : int
        Number of input channels: image and prompts.
    features : sequence of int
        Channels of each stage. Each stage after the first has half the resolution of the one before.
    latent : int
        Length L of the latent vector.
    leak : float
        Slope of the rectifiers below 0.
    """

    def __init__(self, channels: int, features: Sequence[int], latent: int, leak: float) -> None:
        super().__init__()
        self.down = _stages(channels, features, leak, norms=True)
        self.up = nn.ModuleList(_block(a + b, a, leak, norms=True) for a, b in pairwise(features))
        self.prior_stages = _stages(channels, features, leak, norms=False)
        self.prior_head = nn.Linear(2 * features[-1], 2 * latent)
        self.posterior_stages = _stages(channels + 1, features, leak, norms=False)
        self.posterior_head = nn.Linear(2 * features[-1], 2 * latent)
        for head in (self.prior_head, self.posterior_head):  # prior and posterior are equal at the start
            nn.init.zeros_(head.weight)
            nn.init.constant_(head.bias[:latent], 0.0)
            nn.init.constant_(head.bias[latent:], FIRST_LOG_SIGMA)
        first = features[0]
        self.join = nn.Sequential(
            nn.Conv2d(first + latent, first, 1),
            nn.LeakyReLU(leak),
            nn.Conv2d(first, first, 1),
            nn.LeakyReLU(leak),
            nn.Conv2d(first, 1, 1),
        )

    def expect(self, share: float) -> None:
        """Set the output bias to the logit of the share of object pixels, which must lie strictly between 0 and 1.

        Without this, a training on small objects spends hundreds of steps on learning that most pixels are background.
        """
        last = self.join[-1]
        assert isinstance(last.bias, Tensor)  # noqa: S101 - the last layer is a convolution with a bias
        nn.init.constant_(last.bias, math.log(share / (1 - share)))

    def features(self, given: Tensor) -> Tensor:
        """Return (B, F, H, W) features of (B, C, H, W) input; H and W must be multiples of 2 ** (stages - 1)."""
        found = given
        kept = []
        for number, stage in enumerate(self.down):
            found = stage(F.avg_pool2d(found, 2) if number else found)
            kept.append(found)
        for block, skip in zip(reversed(self.up), reversed(kept[:-1]), strict=True):
            larger = F.interpolate(found, scale_factor=2, mode="bilinear", align_corners=False)
            found = block(torch.cat([skip, larger], 1))
        return found

    def prior(self, given: Tensor) -> Gaussian:
        """Return the prior of the latent for (B, C, H, W) input, see `Gaussian`."""
        return _gaussian(self.prior_stages, self.prior_head, given)

    def posterior(self, given: Tensor, mask: Tensor) -> Gaussian:
        """Return the posterior of the latent for (B, C, H, W) input and (B, H, W) masks of 0 and 1, see `Gaussian`."""
        return _gaussian(self.posterior_stages, self.posterior_head, torch.cat([given, mask[:, None] - 0.5], 1))

    def decode(self, features: Tensor, latent: Tensor) -> Tensor:
        """Return (B, H, W) logits of (B, F, H, W) features and (B, L) latents."""
        height, width = features.shape[2:]
        everywhere = latent[:, :, None, None].expand(-1, -1, height, width)
        made: Tensor = self.join(torch.cat([features, everywhere], 1))[:, 0]
        return made.float()


def _stages(channels: int, features: Sequence[int], leak: float, *, norms: bool) -> nn.ModuleList:
    steps = zip([channels, *features[:-1]], features, strict=True)
    return nn.ModuleList(_block(a, b, leak, norms=norms) for a, b in steps)


def _block(channels: int, features: int, leak: float, *, norms: bool) -> nn.Sequential:
    groups = features // GROUP if features % GROUP == 0 else 1
    layers: list[nn.Module] = []
    for inputs in (channels, features):
        convolution = nn.Conv2d(inputs, features, 3, padding=1)
        if norms:
            layers += [convolution, nn.GroupNorm(groups, features), nn.LeakyReLU(leak)]
        else:
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            layers += [convolution, nn.LeakyReLU(leak)]
    return nn.Sequential(*layers)


def _gaussian(stages: nn.ModuleList, head: nn.Linear, given: Tensor) -> Gaussian:
    found = given
    for number, stage in enumerate(stages):
        found = stage(F.avg_pool2d(found, 2) if number else found)
    pooled = torch.cat([found.mean((2, 3)), found.amax((2, 3))], 1)  # a click hardly changes the mean alone
    mean, log = head(pooled).float().chunk(2, 1)
    return mean, log.clamp(-LOG_SIGMA, LOG_SIGMA)
