"""Train a small network that the official nnInteractive session can load, on volumes with masks, in minutes on a CPU.

A training step plays a short session: a prompt of any kind, then up to five corrections of the network's own answer,
each seen through a patch around the newest prompt, just as the session shows it; see
`rclicks.adapters.nninteractive.channels`. The loss, cross-entropy plus soft Dice, is that of the last answer.

Three quarters of the steps, and all answers on the way, see a smaller patch: that is three times quicker, and the
instance norms learn not to mind how much of a patch is empty.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rclicks.errors import DataError, ProtocolError
from rclicks.interaction import Click, Interaction, corners_of
from rclicks.models.weights import read_checkpoint
from rclicks.sample import Mask, Sample
from rclicks.training.loop import Progress, Result, Settings, TrainingTask, train
from rclicks.training.schedules import warm_cosine

from .channels import crop_padded, draw_channels, normalise, patch_windows
from .folder import Design, build_network, write_folder
from .prompts import first_prompt, later_prompt

if TYPE_CHECKING:
    import torch

__all__ = ["Example", "Recipe", "VolumeTask", "read_objects", "train_volume"]

TRAINING = "training"
SMALLEST_OBJECT = 20  # voxels
SMALL_SHARE = 0.75
VALIDATED = 8  # objects
VALIDATION_CLICKS = 3
FLIP = 0.5


@dataclass(frozen=True, eq=False)
class Example:
    """One object to learn from.

    Attributes
    ----------
    name : str
        Of the case, and the label's value.
    image : (Z, Y, X) float32 array
        Normalised.
    mask : (Z, Y, X) bool array
    """

    name: str
    image: NDArray[np.float32]
    mask: Mask


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is learnt and how.

    Attributes
    ----------
    design : Design
        The network; its patch is that of the session.
    small : int
        Edge of the smaller patch of three quarters of the steps.
    lr : float
        Peak learning rate; a short rise, then a cosine to 0.
    decay : float
        Weight decay.
    rounds : tuple of float
        How often (relative) a step has 0, 1, 2, ... corrections.
    """

    design: Design = field(default_factory=Design)
    small: int = 48
    lr: float = 4e-3
    decay: float = 1e-3
    rounds: tuple[float, ...] = (0.30, 0.22, 0.16, 0.12, 0.10, 0.10)

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        if not self.lr > 0:
            raise ProtocolError(f"learning rate is {self.lr}; expected above 0")
        if self.small < self.design.reduction or self.small % self.design.reduction:
            raise ProtocolError(
                f"the smaller patch is {self.small}; expected a multiple of {self.design.reduction}, the network's "
                "reduction"
            )
        if not self.rounds or min(self.rounds) < 0 or not sum(self.rounds) > 0:
            raise ProtocolError(f"shares of corrections are {self.rounds}; expected some above 0, none below")


def read_objects(samples: Iterable[Sample]) -> list[Example]:
    """Return the objects of volumes that have 20 voxels or more.

    Raises
    ------
    DataError
        If a volume cannot be normalised, or no object is found.
    """
    found = []
    for sample in samples:
        try:
            image = normalise(sample.image)
        except DataError as error:
            raise DataError(f"{sample.dataset}/{sample.id}: {error}") from error
        for target in sample.targets:
            mask = np.ascontiguousarray(target.masks[0])
            if np.count_nonzero(mask) >= SMALLEST_OBJECT:
                found.append(Example(f"{sample.id}/{target.id}", image, mask))
    if not found:
        raise DataError(f"the data set has no object of {SMALLEST_OBJECT} voxels or more")
    return found


def fingerprint(targets: Sequence[Example]) -> str:
    """Return 12 hex digits that change with the objects and their volumes."""
    digest = hashlib.sha256()
    for target in targets:
        digest.update(target.name.encode())
        digest.update(np.packbits(target.mask).tobytes())
        digest.update(target.image.tobytes())
    return digest.hexdigest()[:12]


@dataclass(eq=False)
class Play:
    """One object's session: what was prompted and answered so far."""

    image: NDArray[np.float32]
    truth: Mask
    rng: np.random.Generator
    interactions: list[Interaction] = field(default_factory=list)
    answer: Mask = field(init=False)

    def __post_init__(self) -> None:
        self.answer = np.zeros(self.truth.shape, bool)

    def prompt(self) -> None:
        """Add the next random prompt."""
        new = first_prompt(self.truth, self.rng) if not self.interactions else None
        self.interactions.append(new or later_prompt(self.truth, self.answer, self.rng))

    @property
    def centre(self) -> tuple[int, ...]:
        """Where the session puts its patch: the middle of the newest prompt."""
        newest = self.interactions[-1]
        if isinstance(newest, Click):
            return newest.point
        return tuple(round((a + b + 1) / 2) for a, b in zip(*corners_of(newest), strict=True))

    def view(self, size: tuple[int, int, int]) -> NDArray[np.float32]:
        """Return the network's input, (8, *size)."""
        channels = draw_channels(self.interactions, self.truth.shape, previous=self.answer)
        return np.asarray(crop_padded(np.concatenate([self.image[None], channels]), self.centre, size), np.float32)

    def wanted(self, size: tuple[int, int, int]) -> NDArray[np.int64]:
        """Return the truth in the patch."""
        return crop_padded(self.truth, self.centre, size).astype(np.int64)

    def take(self, patch: Mask) -> None:
        """Write an answer back, as the session does."""
        here, there = patch_windows(self.truth.shape, self.centre, patch.shape)
        self.answer[here] = patch[there]


class VolumeTask(TrainingTask):
    """The training as the loop sees it.

    Parameters
    ----------
    targets, held_out : sequence of Example
    recipe : Recipe
    settings : Settings
    steps : int
        An epoch.
    """

    def __init__(
        self, targets: Sequence[Example], held_out: Sequence[Example], recipe: Recipe, settings: Settings, steps: int
    ) -> None:
        import torch

        self.targets, self.held_out, self.recipe, self.device = targets, held_out, recipe, settings.device
        self.size = steps * settings.batch_size  # an epoch is a number of steps, not of objects
        self.network = build_network(recipe.design, settings.seed).to(settings.device)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), recipe.lr, weight_decay=recipe.decay)

    def lr(self, step: int, total: int) -> float:
        """Return the learning rate; see `warm_cosine`."""
        return warm_cosine(step, total, self.recipe.lr)

    def item(self, index: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], Mask, int]:
        """Return a random object's volume (Z, Y, X) and mask, changed at random, and the seed of its prompts."""
        target = self.targets[int(rng.integers(len(self.targets)))]
        image, mask = target.image, target.mask
        axes = tuple(axis for axis in range(3) if rng.random() < FLIP)
        image, mask = np.flip(image, axes), np.flip(mask, axes)
        changed = (
            image * rng.uniform(0.8, 1.25) + rng.uniform(-0.2, 0.2) + rng.normal(0, rng.uniform(0, 0.15), image.shape)
        )
        return changed.astype(np.float32), np.ascontiguousarray(mask), int(rng.integers(2**63))

    def loss(self, items: Sequence[Any]) -> torch.Tensor:
        """Play a session on every item and return the mean loss of the last answers."""
        import torch

        plays = [Play(image, mask, np.random.default_rng(seed)) for image, mask, seed in items]
        rng = plays[0].rng  # a batch is one array, so all of it has one patch size and one number of rounds
        shares = np.asarray(self.recipe.rounds) / sum(self.recipe.rounds)
        rounds = int(rng.choice(len(shares), p=shares))
        small = (self.recipe.small,) * 3
        size = small if rng.random() < SMALL_SHARE else self.recipe.design.patch
        for _ in range(rounds):
            with torch.no_grad():
                self._round(plays, small)
        for play in plays:
            play.prompt()
        wanted = torch.from_numpy(np.stack([play.wanted(size) for play in plays])).clone().to(self.device)
        return segmentation_loss(self._scores(plays, size), wanted)

    def _scores(self, plays: Sequence[Play], size: tuple[int, int, int]) -> torch.Tensor:
        import torch

        # A copy in memory of torch's own: sums over NumPy's differ in the last bits with where it happens to lie.
        views = torch.from_numpy(np.stack([play.view(size) for play in plays])).clone().to(self.device)
        made: torch.Tensor = self.network(views)
        return made

    def _round(self, plays: Sequence[Play], size: tuple[int, int, int]) -> None:
        """Prompt, answer, write back."""
        for play in plays:
            play.prompt()
        for play, scores in zip(plays, self._scores(plays, size), strict=True):
            play.take(scores.argmax(0).cpu().numpy().astype(bool))

    def validate(self) -> tuple[float, dict[str, float]]:
        """Return the mean Dice after the last of three prompts on held-out objects, and Dice after the first one."""
        import torch

        dice: list[list[float]] = []
        with torch.inference_mode():
            for number, target in enumerate(self.held_out):
                play = Play(target.image, target.mask, np.random.default_rng(number))
                dice.append([])
                for _ in range(VALIDATION_CLICKS):
                    self._round([play], self.recipe.design.patch)
                    dice[-1].append(_dice(play.answer, play.truth))
        first, *_, last = np.mean(dice, axis=0).tolist()
        return last, {"dice_1": first, f"dice_{VALIDATION_CLICKS}": last}

    def weights(self) -> dict[str, Any]:
        """Return the plain state_dict."""
        return dict(self.network.state_dict())


def _dice(a: Mask, b: Mask) -> float:
    return 2 * float((a & b).sum()) / max(1, int(a.sum()) + int(b.sum()))


def segmentation_loss(scores: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Return cross-entropy plus 1 - soft Dice of the object, the latter averaged over the batch.

    Parameters
    ----------
    scores : (B, 2, Z, Y, X) tensor
    wanted : (B, Z, Y, X) int64 tensor
        0 or 1.
    """
    import torch

    found = scores.softmax(1)[:, 1].flatten(1)
    truth = wanted.flatten(1).to(found.dtype)
    dice = (2 * (found * truth).sum(1) + 1) / (found.sum(1) + truth.sum(1) + 1)
    return torch.nn.functional.cross_entropy(scores, wanted) + (1 - dice).mean()


def train_volume(
    targets: Sequence[Example],
    held_out: Sequence[Example],
    recipe: Recipe,
    settings: Settings,
    folder: Path,
    *,
    steps: int,
    licence: str = "",
    resume: bool = False,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Result:
    """Train a network and write it as an official model folder.

    Parameters
    ----------
    targets, held_out : sequence of Example
        To learn from, and to choose the best epoch by; of the latter eight are used.
    recipe : Recipe
    settings : Settings
        `settings.epochs` epochs of `steps` steps each.
    folder : Path
        The model folder; the training's own files lie in its ``training``.
    steps : int
        An epoch, after which the training can be resumed.
    licence : str
        Of the weights.
    resume : bool
    report : callable

    Raises
    ------
    DataError, ProtocolError, WeightsError
    """
    if not targets or not held_out:
        raise DataError(
            f"training needs objects to learn from and to validate with; found {len(targets)}, {len(held_out)}"
        )
    if steps < 1:
        raise ProtocolError(f"an epoch has {steps} steps; expected at least 1")
    some = [held_out[i] for i in np.linspace(0, len(held_out) - 1, min(VALIDATED, len(held_out))).round().astype(int)]
    task = VolumeTask(targets, some, recipe, settings, steps)
    identity: Mapping[str, Any] = {
        "recipe": asdict(recipe),
        "steps": steps,
        "objects": fingerprint(targets),
        "held_out": fingerprint(some),
    }
    result = train(task, settings, folder / TRAINING, identity=identity, resume=resume, report=report)
    write_folder(folder, read_checkpoint(result.best), recipe.design, name="Dataset997_VolumeDemo", licence=licence)
    return result
