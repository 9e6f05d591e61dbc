"""Train a probabilistic U-Net on images with masks of several raters; every training session follows one rater.

A step uses crops of random images, and two sessions on each crop, which follow two random raters. A session has up to a
few clicks at the centre of the largest error of the network's own prediction (from the mean of the prior). Two raters
who differ on the same crop in the same step teach the use of the latent much faster than raters of different crops.

The loss is the negative evidence lower bound of the mask of the followed rater, divided by the number of pixels:
cross-entropy under a latent of the posterior, summed over the pixels, plus beta times the divergence of the posterior
from the prior (Kohl et al., NeurIPS 2018). Some sessions have no clicks, so that the prior's samples before the first
click are those of the published model.

A session that follows a rater with an empty mask never has a click, because it starts with an empty prediction. Such a
session counts in the loss only if it was drawn to have no clicks. Otherwise the network would see empty masks without
clicks more often than raters draw them.
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

GAIN, OFFSET = 0.1, 0.1  # largest changes of the grey values of a crop, which range from -1 to 1
TOGETHER = 2  # raters of a crop in one step
VALIDATED = 12  # number of images for validation
SAMPLES = 16  # samples of each image in validation
CLICKS = 3  # clicks after which validation measures Dice


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings of a training.

    Attributes
    ----------
    design : Design
        Sizes of the network. A network without clicks is trained as published.
    size : int
        Side of the crops in pixels. Smaller images are padded with the grey value 0 (medium grey).
    beta : float
        Weight of the divergence. With larger values the samples of the prior are more similar to each other.
    lr : float
        Highest learning rate; the schedule is a short rise and then a cosine to 0.
    decay : float
        Weight decay.
    rounds : tuple of float
        Relative frequencies of sessions with 0, 1, 2, ... clicks. If the design has no clicks, all sessions have 0.
    """

    design: Design = field(default_factory=Design)
    size: int = 48
    beta: float = 1.0
    lr: float = 2e-3
    decay: float = 1e-5
    rounds: tuple[float, ...] = (0.55, 0.15, 0.15, 0.15)

    def __post_init__(self) -> None:
        """Refuse settings that cannot be trained with a `ProtocolError`."""
        if not self.lr > 0 or not self.beta >= 0:
            raise ProtocolError(
                f"the learning rate is {self.lr} and beta is {self.beta}; expected a learning rate above 0 and a "
                "beta of at least 0"
            )
        if self.size < self.design.reduction or self.size % self.design.reduction:
            raise ProtocolError(
                f"the side of the crops is {self.size}; expected a multiple of {self.design.reduction}, by which the "
                "stages of the network reduce it"
            )
        if not self.rounds or min(self.rounds) < 0 or not sum(self.rounds) > 0:
            raise ProtocolError(
                f"the frequencies of clicks are {self.rounds}; expected no negative one and at least one above 0"
            )

    @property
    def shares(self) -> NDArray[np.float64]:
        """Probabilities of 0, 1, 2, ... clicks in a session; they sum to 1."""
        rounds = np.asarray(self.rounds if self.design.clicks else (1.0,))
        return rounds / rounds.sum()


@dataclass(eq=False)
class Play:
    """Session on one crop that follows one rater.

    Attributes
    ----------
    image : (3, s, s) float32 array
        Grey values from -1 to 1.
    truth : (s, s) bool array
        Mask of the followed rater, without ignored pixels.
    counted : (s, s) bool array
        True where pixels are not ignored.
    rng : numpy Generator
        Random generator of the session.
    rounds : int
        Number of clicks that the session should have.
    clicks : list of Click
        Clicks so far.
    answer : (s, s) bool array or None
        Prediction before the newest click; None for an empty one.
    """

    image: NDArray[np.float32]
    truth: Mask
    counted: Mask
    rng: np.random.Generator
    rounds: int = 0
    clicks: list[Click] = field(default_factory=list)
    answer: Mask | None = None

    def __post_init__(self) -> None:
        """Remove ignored pixels from the mask."""
        self.truth = self.truth & self.counted

    def follow(self, answer: Mask) -> None:
        """Add the next click of the base rule, if the prediction `answer` has an error.

        The first click is placed on an empty prediction.
        """
        seen = answer if self.clicks else np.zeros_like(self.truth)
        reference = TargetReference(self.truth, ~self.counted)
        new = next_click(reference, seen, [click.point for click in self.clicks])
        if new is not None:
            self.answer = answer if self.clicks else None
            self.clicks.append(new)


class ProbUNetTask(TrainingTask):
    """Training of a network, as `rclicks.training.loop` needs it.

    Parameters
    ----------
    examples : sequence of Example
        Examples for training.
    held_out : sequence of Example
        Examples for validation.
    recipe : Recipe
        Settings of the network and the training.
    settings : Settings
        Settings of the loop; the seed, the device and the batch size are used here.
    steps : int
        Number of steps of an epoch.
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
        """Return the learning rate, see `warm_cosine`."""
        return warm_cosine(step, total, self.recipe.lr)

    def item(self, index: int, rng: np.random.Generator) -> list[Play]:
        """Return new sessions on a random crop that follow two random raters, or one if the example has only one."""
        example = self.examples[int(rng.integers(len(self.examples)))]
        raters = rng.choice(len(example.masks), min(TOGETHER, len(example.masks)), replace=False)
        crop = random_crop(example, self.recipe.size, rng)
        light = rng.uniform(1 - GAIN, 1 + GAIN) * grey_values(crop.image) + rng.uniform(-OFFSET, OFFSET)
        image = np.where(crop.inside, light, 0).astype(np.float32)
        rounds = int(rng.choice(len(self.recipe.shares), p=self.recipe.shares))
        return [
            Play(image, crop.masks[rater], crop.counted, generator, rounds)
            for rater, generator in zip(raters, rng.spawn(TOGETHER), strict=False)
        ]

    def loss(self, items: Sequence[list[Play]]) -> torch.Tensor:
        """Run the sessions of all items and return the mean negative lower bound for each pixel, in nats."""
        import torch
        from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

        from .network import divergence

        plays = [play for item in items for play in item]
        with torch.no_grad():
            for number in range(max(play.rounds for play in plays)):
                self._round([play for play in plays if play.rounds > number])
        torch.clear_autocast_cache()  # torch 2.4 would reuse weights that were cast above without gradients
        given = self._views(plays)
        truth = self._stack([play.truth for play in plays])
        counted = self._stack([play.counted for play in plays])
        noise = self._stack([play.rng.standard_normal(self.recipe.design.latent) for play in plays])
        posterior = self.network.posterior(given, truth)
        logits = self.network.decode(self.network.features(given), posterior[0] + posterior[1].exp() * noise)
        entropy = (cross_entropy(logits, truth, reduction="none") * counted).sum((1, 2))
        bound = entropy + self.recipe.beta * divergence(posterior, self.network.prior(given))
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
        """Predict with the mean of the prior, then add a click to every session."""
        for play, answer in zip(plays, self._centre(plays), strict=True):
            play.follow(answer)

    def _centre(self, plays: Sequence[Play]) -> Mask:
        """Return the (B, s, s) masks predicted with the mean of the prior."""
        given = self._views(plays)
        return self._masks(given, self.network.prior(given)[0])

    def _masks(self, given: torch.Tensor, latents: torch.Tensor) -> Mask:
        found: Mask = (self.network.decode(self.network.features(given), latents) > 0).cpu().numpy()
        return found

    def validate(self) -> tuple[float, dict[str, float]]:
        """Return the score on the held-out examples and the values of the log.

        The values are means over the images:

        * ``ged``: squared generalised energy distance (IoU) of the prior's samples before the first click.
        * ``samples``: mean distance between the samples; ``raters``: mean distance between the raters.
        * ``rebuilt``: Dice of the mask decoded from the posterior of a rater with the mask of this rater.
        * ``own_3``: Dice of the prediction after three clicks with the followed rater; ``others_3``: with the others.

        The last three are means over the raters who drew an object. The score is ``own_3 - ged``, or ``-ged`` for a
        network without clicks.
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
            undefined = dict.fromkeys(("rebuilt", f"own_{CLICKS}", f"others_{CLICKS}"), float("nan"))
            return found | undefined
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
        """Return the content of a checkpoint, see `rclicks.adapters.probunet.checkpoint`."""
        return checkpoint_of(self.network, self.recipe.design)


def foreground(examples: Sequence[Example], size: int) -> float:
    """Return the mean share of object pixels in the central crops of the examples, strictly between 0 and 1."""
    crops = [central_crop(example, size) for example in examples]
    drawn = sum(float((c.masks & c.counted).sum()) / len(c.masks) for c in crops)
    return (drawn + 1) / (sum(float(c.counted.sum()) for c in crops) + 2)


def _own_and_others(answers: Mask, truth: Mask) -> tuple[float, float]:
    """Return the mean Dice of (R, H, W) predictions with the followed rater and with the others (NaN if none)."""
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
    """Train a network; the model `probunet` loads the resulting ``best.pth``.

    Parameters
    ----------
    examples : sequence of Example
        Examples for training.
    held_out : sequence of Example
        Examples for the choice of the best epoch; at most twelve are used, spread evenly.
    recipe : Recipe
        Settings of the network and the training.
    settings : Settings
        Settings of the loop; there are `settings.epochs` epochs of `steps` steps each.
    folder : Path
        Output folder, see `rclicks.training.loop`.
    steps : int
        Number of steps of an epoch. A training can be resumed after each epoch.
    resume : bool
        True continues an interrupted training in `folder`.
    report : callable
        Function that is called with the progress, see `rclicks.training.loop.train`.

    Raises
    ------
    DataError
        If there is no example for training or validation.
    ProtocolError
        If `steps` is below 1 or the folder contains another training.
    WeightsError
        If saved weights cannot be read.
    """
    if not examples or not held_out:
        raise DataError(
            f"training needs at least one object for training and one for validation; found {len(examples)} and "
            f"{len(held_out)}"
        )
    if steps < 1:
        raise ProtocolError(f"an epoch has {steps} steps; expected at least 1")
    used = evenly(held_out, VALIDATED)
    task = ProbUNetTask(examples, used, recipe, settings, steps)
    identity: Mapping[str, Any] = {
        "recipe": asdict(recipe),
        "steps": steps,
        "objects": fingerprint(examples),
        "held_out": fingerprint(used),
    }
    return train(task, settings, folder, identity=identity, resume=resume, report=report)
