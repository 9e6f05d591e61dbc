"""Train a small network that the official nnInteractive session can load, on volumes with masks, in minutes on a CPU.

A training step runs a short session: one prompt of any kind, then up to five corrections of the network's own
prediction. The network gets a patch around the newest prompt, as in the official session, see
`rclicks.adapters.nninteractive.channels`. The loss is cross-entropy plus soft Dice of the last prediction.

Three quarters of the steps, and all predictions before the last one, use a smaller patch. This is three times faster,
and the instance norms learn to work with patches that are partly empty.
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
SMALLEST_OBJECT = 20  # in voxels
SMALL_SHARE = 0.75  # probability of the smaller patch
VALIDATED = 8  # number of objects for validation
VALIDATION_CLICKS = 3  # prompts for each of them
FLIP = 0.5  # probability of mirroring each axis


@dataclass(frozen=True, eq=False)
class Example:
    """One object for training or validation.

    Attributes
    ----------
    name : str
        Id of the sample and id of the object, joined by "/".
    image : (Z, Y, X) float32 array
        Normalised volume.
    mask : (Z, Y, X) bool array
        Reference mask.
    """

    name: str
    image: NDArray[np.float32]
    mask: Mask


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings of a training.

    Attributes
    ----------
    design : Design
        Design of the network; its patch is the patch of the session.
    small : int
        Edge of the smaller patch in voxels, which three quarters of the steps use.
    lr : float
        Highest learning rate; the schedule is a short rise and then a cosine to 0.
    decay : float
        Weight decay.
    rounds : tuple of float
        Relative frequencies of steps with 0, 1, 2, ... corrections.
    """

    design: Design = field(default_factory=Design)
    small: int = 48
    lr: float = 4e-3
    decay: float = 1e-3
    rounds: tuple[float, ...] = (0.30, 0.22, 0.16, 0.12, 0.10, 0.10)

    def __post_init__(self) -> None:
        """Refuse settings that cannot be trained with a `ProtocolError`."""
        if not self.lr > 0:
            raise ProtocolError(f"learning rate is {self.lr}; expected above 0")
        if self.small < self.design.reduction or self.small % self.design.reduction:
            raise ProtocolError(
                f"the edge of the smaller patch is {self.small}; expected a multiple of {self.design.reduction}, the "
                "product of the network's strides"
            )
        if not self.rounds or min(self.rounds) < 0 or not sum(self.rounds) > 0:
            raise ProtocolError(
                f"the frequencies of corrections are {self.rounds}; expected no negative one and at least one above 0"
            )


def read_objects(samples: Iterable[Sample]) -> list[Example]:
    """Return the objects of the volumes that have at least 20 voxels.

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
    """Return 12 hex digits of a hash of the objects and their volumes."""
    digest = hashlib.sha256()
    for target in targets:
        digest.update(target.name.encode())
        digest.update(np.packbits(target.mask).tobytes())
        digest.update(target.image.tobytes())
    return digest.hexdigest()[:12]


@dataclass(eq=False)
class Play:
    """Session on one object.

    Attributes
    ----------
    image : (Z, Y, X) float32 array
        Normalised volume.
    truth : (Z, Y, X) bool array
        Reference mask.
    rng : numpy Generator
        Random generator of the prompts.
    interactions : list of Interaction
        Prompts so far, the newest last.
    answer : (Z, Y, X) bool array
        Present prediction.
    """

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
        """Centre (z, y, x) of the session's patch: the middle of the newest prompt."""
        newest = self.interactions[-1]
        if isinstance(newest, Click):
            return newest.point
        return tuple(round((a + b + 1) / 2) for a, b in zip(*corners_of(newest), strict=True))

    def view(self, size: tuple[int, int, int]) -> NDArray[np.float32]:
        """Return the input of the network, (8, *size) float32."""
        channels = draw_channels(self.interactions, self.truth.shape, previous=self.answer)
        return np.asarray(crop_padded(np.concatenate([self.image[None], channels]), self.centre, size), np.float32)

    def wanted(self, size: tuple[int, int, int]) -> NDArray[np.int64]:
        """Return the reference mask in the patch, (*size) int64, 0 or 1."""
        return crop_padded(self.truth, self.centre, size).astype(np.int64)

    def take(self, patch: Mask) -> None:
        """Write the prediction of a patch into `answer`, as the session does."""
        in_volume, in_patch = patch_windows(self.truth.shape, self.centre, patch.shape)
        self.answer[in_volume] = patch[in_patch]


class VolumeTask(TrainingTask):
    """Training of a network, as `rclicks.training.loop` needs it.

    Parameters
    ----------
    targets : sequence of Example
        Objects for training.
    held_out : sequence of Example
        Objects for validation.
    recipe : Recipe
        Settings of the network and the training.
    settings : Settings
        Settings of the loop; the seed, the device and the batch size are used here.
    steps : int
        Number of steps of an epoch.
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
        """Return the learning rate, see `warm_cosine`."""
        return warm_cosine(step, total, self.recipe.lr)

    def item(self, index: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], Mask, int]:
        """Return volume and mask, (Z, Y, X), of a random object with random changes, and the seed of its prompts."""
        target = self.targets[int(rng.integers(len(self.targets)))]
        image, mask = target.image, target.mask
        axes = tuple(axis for axis in range(3) if rng.random() < FLIP)
        image, mask = np.flip(image, axes), np.flip(mask, axes)
        changed = (
            image * rng.uniform(0.8, 1.25) + rng.uniform(-0.2, 0.2) + rng.normal(0, rng.uniform(0, 0.15), image.shape)
        )
        return changed.astype(np.float32), np.ascontiguousarray(mask), int(rng.integers(2**63))

    def loss(self, items: Sequence[Any]) -> torch.Tensor:
        """Run a session on every item and return the mean loss of the last predictions."""
        import torch

        plays = [Play(image, mask, np.random.default_rng(seed)) for image, mask, seed in items]
        rng = plays[0].rng  # all items of a batch have the same patch size and number of rounds
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

        # Copy the array into memory of torch. With memory of NumPy the last bits of sums depend on its alignment.
        views = torch.from_numpy(np.stack([play.view(size) for play in plays])).clone().to(self.device)
        made: torch.Tensor = self.network(views)
        return made

    def _round(self, plays: Sequence[Play], size: tuple[int, int, int]) -> None:
        """Add a prompt to every session, predict, and write the predictions into the sessions."""
        for play in plays:
            play.prompt()
        for play, scores in zip(plays, self._scores(plays, size), strict=True):
            play.take(scores.argmax(0).cpu().numpy().astype(bool))

    def validate(self) -> tuple[float, dict[str, float]]:
        """Return the mean Dice on held-out objects after the third prompt, and the values of the log."""
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
        """Return the state_dict."""
        return dict(self.network.state_dict())


def _dice(a: Mask, b: Mask) -> float:
    return 2 * float((a & b).sum()) / max(1, int(a.sum()) + int(b.sum()))


def segmentation_loss(scores: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Return cross-entropy plus 1 - soft Dice of the object; the Dice is averaged over the batch.

    Parameters
    ----------
    scores : (B, 2, Z, Y, X) tensor
        Scores of background and object.
    wanted : (B, Z, Y, X) int64 tensor
        Reference masks, 0 or 1.
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
    """Train a network and write it as a model folder of nnInteractive.

    Parameters
    ----------
    targets : sequence of Example
        Objects for training.
    held_out : sequence of Example
        Objects for the choice of the best epoch; at most eight are used, spread evenly.
    recipe : Recipe
        Settings of the network and the training.
    settings : Settings
        Settings of the loop; there are `settings.epochs` epochs of `steps` steps each.
    folder : Path
        Model folder; its sub-folder ``training`` contains the files of the training.
    steps : int
        Number of steps of an epoch. A training can be resumed after each epoch.
    licence : str
        Licence of the weights; the folder gets no licence file if it is empty.
    resume : bool
        True continues an interrupted training in `folder`.
    report : callable
        Function that is called with the progress, see `rclicks.training.loop.train`.

    Raises
    ------
    DataError
        If there is no object for training or validation.
    ProtocolError
        If `steps` is below 1 or the folder contains another training.
    WeightsError
        If the package of the network is not installed or saved weights cannot be read.
    """
    if not targets or not held_out:
        raise DataError(
            f"training needs at least one object for training and one for validation; found {len(targets)} and "
            f"{len(held_out)}"
        )
    if steps < 1:
        raise ProtocolError(f"an epoch has {steps} steps; expected at least 1")
    used = [held_out[i] for i in np.linspace(0, len(held_out) - 1, min(VALIDATED, len(held_out))).round().astype(int)]
    task = VolumeTask(targets, used, recipe, settings, steps)
    identity: Mapping[str, Any] = {
        "recipe": asdict(recipe),
        "steps": steps,
        "objects": fingerprint(targets),
        "held_out": fingerprint(used),
    }
    result = train(task, settings, folder / TRAINING, identity=identity, resume=resume, report=report)
    write_folder(folder, read_checkpoint(result.best), recipe.design, name="Dataset997_VolumeDemo", licence=licence)
    return result
