"""Train a probabilistic U-Net on images that several raters have drawn, with clicks of one rater at a time.

A step takes crops of random images and for each of them two random raters, who click up to a few times at the centre of
the largest error of the network's own answer (the one of the prior's mean). Two who differ on one crop within one step
teach much sooner what the latent is for than raters of unlike crops do. The loss is the negated evidence lower
bound of that rater's mask, divided by the number of pixels: cross-entropy under a latent of the posterior, summed over
the pixels, plus beta times the divergence of the posterior from the prior (Kohl et al., NeurIPS 2018). Some raters
do not click at all, so that the prior's samples before the first click are those of the published model.

A rater who drew nothing is learnt from only where no clicks were due. Sessions begin with an empty answer, so such a
rater never clicks; without this rule, images without clicks would show empty masks more often than raters draw them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rclicks.errors import DataError, ProtocolError
from rclicks.interaction import Click
from rclicks.metrics.raters.diversity import squared_ged
from rclicks.metrics.raters.overlap import Overlaps, mean_of
from rclicks.metrics.target import TargetReference
from rclicks.sample import Mask
from rclicks.training.examples import Example, central_crop, evenly, fingerprint, random_crop
from rclicks.training.loop import Progress, Result, Settings, TrainingTask, train
from rclicks.training.schedules import warm_cosine
from rclicks.users.robot import next_click

from .checkpoint import Design, build, checkpoint_of, grey_values, network_input

if TYPE_CHECKING:
    import torch

__all__ = ["ProbUNetTask", "Recipe", "train_probunet"]

GAIN, OFFSET = 0.1, 0.1  # how much the light of a crop is changed at most, in grey values from -1 to 1
TOGETHER = 2  # raters of a crop in one step
VALIDATED = 12  # images
SAMPLES = 16  # of each image in validation
CLICKS = 3  # after which validation measures Dice


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is learnt and how.

    Attributes
    ----------
    design : Design
        The network; without clicks it is trained as published.
    size : int
        Side of the crops in pixels; smaller images are padded with mid-grey.
    beta : float
        Weight of the divergence; larger values make the prior's samples more like one another's mean.
    lr : float
        Peak learning rate; a short rise, then a cosine to 0.
    decay : float
        Weight decay.
    rounds : tuple of float
        How often (relative) a rater clicks 0, 1, 2, ... times; only the first counts if the design has no clicks.
    """

    design: Design = field(default_factory=Design)
    size: int = 48
    beta: float = 1.0
    lr: float = 2e-3
    decay: float = 1e-5
    rounds: tuple[float, ...] = (0.55, 0.15, 0.15, 0.15)

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        if not self.lr > 0 or not self.beta >= 0:
            raise ProtocolError(f"learning rate is {self.lr}, beta {self.beta}; expected above 0, and 0 or more")
        if self.size < self.design.reduction or self.size % self.design.reduction:
            raise ProtocolError(
                f"the side of the crops is {self.size}; expected a multiple of {self.design.reduction}, which the "
                "network's stages reduce it by"
            )
        if not self.rounds or min(self.rounds) < 0 or not sum(self.rounds) > 0:
            raise ProtocolError(f"shares of clicks are {self.rounds}; expected some above 0, none below")

    @property
    def shares(self) -> NDArray[np.float64]:
        """How often a rater clicks 0, 1, 2, ... times; sums to 1."""
        rounds = np.asarray(self.rounds if self.design.clicks else (1.0,))
        return rounds / rounds.sum()


@dataclass(eq=False)
class Play:
    """One rater's session on one crop: clicks and answer so far.

    Attributes
    ----------
    image : (3, s, s) float32 array
    truth, counted : (s, s) bool array
        The rater's mask, without pixels that do not count, and those that do.
    rng : numpy Generator
    rounds : int
        How often the rater shall look at an answer.
    """

    image: NDArray[np.float32]
    truth: Mask
    counted: Mask
    rng: np.random.Generator
    rounds: int = 0
    clicks: list[Click] = field(default_factory=list)
    answer: Mask | None = None

    def __post_init__(self) -> None:
        """Leave out what does not count."""
        self.truth = self.truth & self.counted

    def follow(self, answer: Mask) -> None:
        """Add the rater's next click on an answer, if anything is wrong; the first click is made on no answer."""
        seen = answer if self.clicks else np.zeros_like(self.truth)
        facts = TargetReference(self.truth, ~self.counted)
        new = next_click(facts, seen, [click.point for click in self.clicks])
        if new is not None:
            self.answer = answer if self.clicks else None
            self.clicks.append(new)


class ProbUNetTask(TrainingTask):
    """The training as the loop sees it.

    Parameters
    ----------
    examples, held_out : sequence of Example
    recipe : Recipe
    settings : Settings
    steps : int
        An epoch.
    """

    def __init__(
        self, examples: Sequence[Example], held_out: Sequence[Example], recipe: Recipe, settings: Settings, steps: int
    ) -> None:
        import torch

        self.examples, self.held_out, self.recipe, self.device = examples, held_out, recipe, settings.device
        self.size = steps * settings.batch_size  # an epoch is a number of steps, not of images
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.network = build(recipe.design).to(settings.device, memory_format=torch.channels_last)  # the fastest
        self.network.expect(foreground(examples, recipe.size))
        weights = self.network.parameters()
        self.optimizer = torch.optim.AdamW(weights, recipe.lr, weight_decay=recipe.decay, fused=True)

    def lr(self, step: int, total: int) -> float:
        """Return the learning rate; see `warm_cosine`."""
        return warm_cosine(step, total, self.recipe.lr)

    def item(self, index: int, rng: np.random.Generator) -> list[Play]:
        """Return the sessions, yet without clicks, of two random raters (of one, if there is one) on a random crop."""
        example = self.examples[int(rng.integers(len(self.examples)))]
        raters = rng.choice(len(example.masks), min(TOGETHER, len(example.masks)), replace=False)
        crop = random_crop(example, self.recipe.size, rng)
        light = rng.uniform(1 - GAIN, 1 + GAIN) * grey_values(crop.image) + rng.uniform(-OFFSET, OFFSET)
        image = np.where(crop.inside, light, 0).astype(np.float32)
        rounds = int(rng.choice(len(self.recipe.shares), p=self.recipe.shares))
        return [
            Play(image, crop.masks[rater], crop.counted, own, rounds)
            for rater, own in zip(raters, rng.spawn(TOGETHER), strict=False)
        ]

    def loss(self, items: Sequence[list[Play]]) -> torch.Tensor:
        """Let each item's raters click and return the mean negated lower bound a pixel, in nats."""
        import torch
        from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

        from .network import divergence

        plays = [play for item in items for play in item]
        with torch.no_grad():
            for number in range(max(play.rounds for play in plays)):
                self._round([play for play in plays if play.rounds > number])
        torch.clear_autocast_cache()  # torch 2.4 would take weights that were cast there, without gradients
        given = self._views(plays)
        truth = self._stack([play.truth for play in plays])
        counted = self._stack([play.counted for play in plays])
        noise = self._stack([play.rng.standard_normal(self.recipe.design.latent) for play in plays])
        posterior = self.network.posterior(given, truth)
        logits = self.network.decode(self.network.features(given), posterior[0] + posterior[1].exp() * noise)
        wrong = (cross_entropy(logits, truth, reduction="none") * counted).sum((1, 2))
        bound = wrong + self.recipe.beta * divergence(posterior, self.network.prior(given))
        weight = self._stack([np.float32(not play.rounds or bool(play.clicks)) for play in plays])
        return (weight * bound / counted.sum((1, 2)).clamp_min(1)).sum() / weight.sum().clamp_min(1)

    def _stack(self, arrays: Sequence[Any]) -> torch.Tensor:
        import torch

        return torch.from_numpy(np.stack(arrays).astype(np.float32)).clone().to(self.device)

    def _views(self, plays: Sequence[Play]) -> torch.Tensor:
        import torch

        design = self.recipe.design
        made = torch.stack([network_input(design, p.image, p.clicks, p.answer) for p in plays])
        return made.to(self.device, memory_format=torch.channels_last)

    def _round(self, plays: Sequence[Play]) -> None:
        """Answer with the prior's mean, then let the raters click."""
        for play, answer in zip(plays, self._centre(plays), strict=True):
            play.follow(answer)

    def _centre(self, plays: Sequence[Play]) -> Mask:
        """Return the (B, s, s) masks of the prior's mean."""
        given = self._views(plays)
        return self._masks(given, self.network.prior(given)[0])

    def _masks(self, given: torch.Tensor, latents: torch.Tensor) -> Mask:
        found: Mask = (self.network.decode(self.network.features(given), latents) > 0).cpu().numpy()
        return found

    def validate(self) -> tuple[float, dict[str, float]]:
        """Return how good the network is on the held-out examples, and what to log.

        Logged are means over images: the squared energy distance (IoU) of the prior's samples before any click
        (``ged``), the samples' mean distance among themselves (``samples``) beside the raters' (``raters``); and,
        over raters who drew something, the Dice with a rater of the mask rebuilt from that rater's own posterior
        (``rebuilt``) and of the answer of the prior's mean after three clicks of that rater (``own_3``), and this
        answer's Dice with the other ones (``others_3``). The score is ``own_3 - ged``, or ``-ged`` without clicks.
        """
        import torch

        with torch.inference_mode():
            rows = [self._measure(number, example) for number, example in enumerate(self.held_out)]
        logged = {name: mean_of([row[name] for row in rows]) for name in rows[0]}
        own = np.nan_to_num(logged[f"own_{CLICKS}"]) if self.recipe.design.clicks else 0.0
        return float(own) - logged["ged"], logged

    def _measure(self, number: int, example: Example) -> dict[str, float]:
        crop = central_crop(example, self.recipe.size)
        image = np.where(crop.inside, grey_values(crop.image), 0).astype(np.float32)
        plays = [Play(image, mask, crop.counted, np.random.default_rng(0)) for mask in crop.masks]
        truth = np.stack([play.truth for play in plays])
        energy = squared_ged(Overlaps.of(self._samples(plays[0], number) & crop.counted, truth).similarity("iou"))
        found = {"ged": energy.value, "samples": energy.samples, "raters": energy.raters}
        plays = [play for play in plays if play.truth.any()]
        if not plays:
            nothing = dict.fromkeys(("rebuilt", f"own_{CLICKS}", f"others_{CLICKS}"), float("nan"))
            return found | nothing
        given = self._views(plays)
        rebuilt = self._masks(given, self.network.posterior(given, self._stack([p.truth for p in plays]))[0])
        for _ in range(CLICKS):
            self._round(plays)
        truth = np.stack([play.truth for play in plays])
        own, others = _own_and_others(self._centre(plays) & crop.counted, truth)
        return found | {
            "rebuilt": _own_and_others(rebuilt & crop.counted, truth)[0],
            f"own_{CLICKS}": own,
            f"others_{CLICKS}": others,
        }

    def _samples(self, play: Play, number: int) -> Mask:
        given = self._views([play])
        mean, log = self.network.prior(given)
        rng = np.random.default_rng(number)
        noise = self._stack([rng.standard_normal(self.recipe.design.latent) for _ in range(SAMPLES)])
        features = self.network.features(given).expand(SAMPLES, -1, -1, -1)
        found: Mask = (self.network.decode(features, mean + log.exp() * noise) > 0).cpu().numpy()
        return found

    def weights(self) -> dict[str, Any]:
        """Return a checkpoint of `rclicks.adapters.probunet.checkpoint`."""
        return checkpoint_of(self.network, self.recipe.design)


def foreground(examples: Sequence[Example], size: int) -> float:
    """Return the share of pixels that a rater draws in a crop around an example's middle, strictly within 0 and 1."""
    crops = [central_crop(example, size) for example in examples]
    drawn = sum(float((c.masks & c.counted).sum()) / len(c.masks) for c in crops)
    return (drawn + 1) / (sum(float(c.counted.sum()) for c in crops) + 2)


def _own_and_others(answers: Mask, truth: Mask) -> tuple[float, float]:
    """Return the mean Dice of each of (R, H, W) answers with its own rater, and with the other ones (NaN for none)."""
    dice = Overlaps.of(answers, truth).similarity("dice").across
    same = np.eye(len(truth), dtype=bool)
    return mean_of(dice[same]), mean_of(dice[~same])


def train_probunet(
    examples: Sequence[Example],
    held_out: Sequence[Example],
    recipe: Recipe,
    settings: Settings,
    folder: Path,
    *,
    steps: int,
    resume: bool = False,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Result:
    """Train a network; its ``best.pth`` is the checkpoint of the model `probunet`.

    Parameters
    ----------
    examples, held_out : sequence of Example
        To learn from, and to choose the best epoch by; of the latter twelve are used.
    recipe : Recipe
    settings : Settings
        `settings.epochs` epochs of `steps` steps each.
    folder : Path
        See `rclicks.training.loop`.
    steps : int
        An epoch, after which the training can be resumed.
    resume : bool
    report : callable

    Raises
    ------
    DataError, ProtocolError, WeightsError
    """
    if not examples or not held_out:
        raise DataError(
            f"training needs objects to learn from and to validate with; found {len(examples)}, {len(held_out)}"
        )
    if steps < 1:
        raise ProtocolError(f"an epoch has {steps} steps; expected at least 1")
    some = evenly(held_out, VALIDATED)
    task = ProbUNetTask(examples, some, recipe, settings, steps)
    identity: Mapping[str, Any] = {
        "recipe": asdict(recipe),
        "steps": steps,
        "objects": fingerprint(examples),
        "held_out": fingerprint(some),
    }
    return train(task, settings, folder, identity=identity, resume=resume, report=report)
