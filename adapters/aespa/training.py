"""Train SPA and AESPA on images of several raters, as published (`compat`) or with a corrected recipe (`default`).

The published recipes are described in `rclicks.adapters.aespa.published`. The corrected recipe runs the same sessions
in training as the models of `rclicks.adapters.aespa` run in a benchmark:

* A session follows one rater of the image. The clicks go to the centre of the largest error. The loss of a round is
  cross-entropy plus soft Dice with the mask of the followed rater. Before AESPA's first click the target is the mean of
  all masks.
* All parts of the network learn, also the mixture and the encoding of previous logits. No image depends on another one.
* For SPA, the loss also contains the sample that is closest to each rater, so that the samples spread over the raters.
* Logits are interpolated. Examples are mirrored and transposed. The learning rate rises and then falls. All weights of
  MedSAM are loaded.

There is one optimiser step for each batch, not for each round. So the encoder, which is nearly the whole work, runs
once for all rounds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rclicks.errors import DataError, ProtocolError, WeightsError
from rclicks.metrics.raters.overlap import Overlaps
from rclicks.models.weights import read_checkpoint
from rclicks.sample import Mask
from rclicks.training.examples import Crop, Example, evenly, fingerprint, random_crop
from rclicks.training.loop import Progress, Result, Settings, TrainingTask, train
from rclicks.training.schedules import warm_cosine

from .design import VIT_B
from .recipe import Recipe

if TYPE_CHECKING:
    import torch

    from .network import MixtureSam

__all__ = ["View", "measured", "play_raters", "train_aespa", "views_of"]

Floats = NDArray[np.float64]

VALIDATED = 12  # number of examples for validation, spread evenly over the held-out ones
VIEWS = 4  # patches of each of these examples
PATCHES = 16  # largest number of patches of one image in an epoch
REPORTED = (0, 1, 3, 5)  # numbers of clicks after which Dice is logged; the last click is logged too


@dataclass(frozen=True, eq=False)
class View:
    """An image, or a part of it, at the size of the network's input.

    Attributes
    ----------
    image : (3, S, S) float32 array
        RGB values in [0, 1].
    masks : (R, S, S) bool array
        Masks of the raters.
    counted : (S, S) bool array
        True where pixels are not ignored.
    """

    image: NDArray[np.float32]
    masks: Mask
    counted: Mask


def view_of(crop: Crop | Example, size: int) -> View:
    """Return a crop resized to (size, size), bilinear and antialiased; masks are cut at 0.5. This is as published."""

    def resize(plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.asarray(Image.fromarray(plane).resize((size, size), Image.Resampling.BILINEAR))

    def masked(plane: Mask) -> Mask:
        return resize(plane.astype(np.uint8) * 255) >= 255 / 2

    image = np.ascontiguousarray(np.moveaxis(resize(crop.image), 2, 0)).astype(np.float32) / np.float32(255)
    return View(image, np.stack([masked(m) for m in crop.masks]), masked(crop.counted))


def views_of(example: Example, recipe: Recipe) -> list[View]:
    """Return the views of an example for validation: the whole image, or patches whose positions depend on its name."""
    if recipe.patch is None:
        return [view_of(example, recipe.size)]
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(example.name.encode()).digest()[:8], "big"))
    return [view_of(random_crop(example, recipe.patch, rng), recipe.size) for _ in range(VIEWS)]


def play_raters(network: MixtureSam, view: View, recipe: Recipe) -> Floats:
    """Run one session for each rater who drew an object, and compare all predictions with all of these raters.

    Parameters
    ----------
    network : MixtureSam
        Network that predicts.
    view : View
        Image and masks.
    recipe : Recipe
        Settings; a session has `recipe.clicks` clicks, placed by the base rule.

    Returns
    -------
    (Q, clicks + 1, Q) float64 array
        Dice of the prediction after n clicks (second axis) that follow one rater (first axis), with the mask of another
        rater (last axis). Q is the number of raters who drew an object. SPA has no prediction without clicks; its
        values there are NaN. If no error is left, the last prediction counts for the remaining clicks.
    """
    import torch

    from .session import Session, Slot, on_device

    raters = view.masks & view.counted
    raters = raters[raters.any((1, 2))]
    found = np.full((len(raters), recipe.clicks + 1, len(raters)), np.nan)
    if not len(raters):
        return found
    slots = [Slot(mask, view.counted, np.random.default_rng(i)) for i, mask in enumerate(raters)]
    with torch.inference_mode():
        features = network.encode(on_device(view.image[None], next(network.parameters())))
        session = Session(network, features.expand(len(slots), -1, -1, -1), slots, recipe)
        active = list(range(len(slots)))
        for n in range(recipe.clicks + 1):
            if n:
                active = [i for i in active if slots[i].click()]
            if active and (n or recipe.model == "aespa"):
                session.advance(active)
            answers = [slot.answer & view.counted for slot in slots if slot.answer is not None]
            if answers:
                found[:, n] = Overlaps.of(answers, raters).similarity("dice").across
    return found


def measured(tables: Sequence[Floats]) -> dict[str, float]:
    """Return mean Dice with the followed rater (``own``), with the other raters (``other``) and their difference.

    Parameters
    ----------
    tables : sequence of (Q, clicks + 1, Q) float64 arrays
        Results of `play_raters`, one for each view, all with the same number of clicks.

    Returns
    -------
    dict of str -> float
        Values ``own_n``, ``other_n`` and ``gap_n`` (the difference) after n = 0, 1, 3 and 5 clicks, as far as there are
        so many, and after the last click. They are means over the raters of a view and then over the views. Views in
        which fewer than two raters drew an object count for ``own`` only. Every rater of a view is followed once, so
        predictions that follow no rater have a gap of 0.
    """
    own = [np.einsum("qnq->nq", t).mean(1) for t in tables if len(t)]
    several = [t for t in tables if len(t) > 1]
    gaps = [gap_of(t) for t in several]
    others = [np.einsum("qnq->nq", t).mean(1) - gap for t, gap in zip(several, gaps, strict=True)]
    found = {}
    clicks = tables[0].shape[1] - 1 if tables else 0
    for n in sorted({*REPORTED, clicks} & {*range(clicks + 1)}):
        for name, curves in (("own", own), ("other", others), ("gap", gaps)):
            values = [float(curve[n]) for curve in curves]
            if values and not np.isnan(values).any():
                found[f"{name}_{n}"] = float(np.mean(values))
    return found


def gap_of(table: Floats) -> Floats:
    """Return the mean Dice with the followed rater minus that with the others for each number of clicks, (clicks + 1,).

    Parameters
    ----------
    table : (Q, clicks + 1, Q) float64 array
        Result of `play_raters` with at least two raters.
    """
    raters = len(table)
    own = np.einsum("qnq->nq", table).sum(1)
    everyone = table.sum((0, 2))
    difference: Floats = own / raters - (everyone - own) / (raters * (raters - 1))
    return difference


class AespaTask(TrainingTask):
    """Base class of both recipes: data, network, validation.

    Parameters
    ----------
    examples : sequence of Example
        Examples for training.
    held_out : sequence of Example
        Examples for validation.
    recipe : Recipe
        Settings of the model and the training.
    settings : Settings
        Settings of the loop; the seed and the device are used here.
    start : mapping of str -> tensor, or None
        Weights of SAM or MedSAM; None starts from random weights.
    """

    network: MixtureSam

    def __init__(
        self,
        examples: Sequence[Example],
        held_out: Sequence[Example],
        recipe: Recipe,
        settings: Settings,
        start: Mapping[str, Any] | None,
    ) -> None:
        import torch

        from .network import MixtureSam
        from .weights import initialise

        self.recipe = recipe
        self.examples = list(examples) if recipe.patch else [squashed(e, recipe.size) for e in examples]
        patches = [_patches(example, recipe.patch) for example in examples]
        self.owners = np.repeat(np.arange(len(examples)), patches)
        self.size = len(self.owners)
        self.views = [view for example in held_out for view in views_of(example, recipe)]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            network = MixtureSam(recipe.size, recipe.components, encoder=recipe.encoder)
        if start is not None:
            initialise(network, start, decoder_mlps=recipe.protocol == "default")
        self.network = network.to(settings.device)
        # There is no weight decay, so that the unused parts of SAM do not change.
        self.optimizer = torch.optim.Adam(self.network.parameters(), recipe.lr)

    def validate(self) -> tuple[float, dict[str, float]]:
        """Return the Dice with the followed rater after the last click, and all values of `measured`."""
        found = measured([play_raters(self.network, view, self.recipe) for view in self.views])
        return found[f"own_{self.recipe.clicks}"], found

    def weights(self) -> dict[str, Any]:
        """Return a checkpoint with the keys of the published ones; its means and variances are never used."""
        state = {name: tensor.cpu() for name, tensor in self.network.state_dict().items()}
        components = self.network.components
        return {
            "model": "sam",
            "state_dict": state,
            "EM_weights": self.network.start,
            "EM_means": np.zeros(components),
            "EM_variances": np.ones(components),
        }


class PublishedTask(AespaTask):
    """The published recipe with seeds: a constant learning rate, several steps for each batch, no augmentation."""

    def lr(self, step: int, total: int) -> float:
        """Return the constant learning rate; the published code creates a schedule but never advances it."""
        return self.recipe.lr

    def item(self, index: int, rng: np.random.Generator) -> tuple[View, int]:
        """Return an image with all masks, and the seed of its random numbers."""
        example = self.examples[index]
        return view_of(example, self.recipe.size), int(rng.integers(2**63))

    def update(self, items: Sequence[Any]) -> float:
        """Run the rounds of a batch, each with an optimiser step for every part; return the sum of the losses."""
        from .published import aespa_batch, spa_batch

        views, seeds = zip(*items, strict=True)
        rngs = [np.random.default_rng(seed) for seed in seeds]
        batch = aespa_batch if self.recipe.model == "aespa" else spa_batch
        return batch(self.network, self.optimizer, views, rngs, self.recipe)


class FollowTask(AespaTask):
    """The corrected recipe, see the docstring of this module."""

    def lr(self, step: int, total: int) -> float:
        """Return the learning rate, see `warm_cosine`."""
        return warm_cosine(step, total, self.recipe.lr)

    def item(self, index: int, rng: np.random.Generator) -> tuple[View, int]:
        """Return an image or a patch of it, mirrored and transposed at random, and the seed of the session."""
        example = self.examples[self.owners[index]]
        crop = random_crop(example, self.recipe.patch or self.recipe.size, rng)
        return view_of(crop, self.recipe.size), int(rng.integers(2**63))

    def loss(self, items: Sequence[Any]) -> torch.Tensor:
        """Run one session on each image; return the mean loss over all rounds.

        The session follows a random rater of the image who drew an object. Images without such a rater have no clicks.
        """
        import torch

        from .session import Session, Slot, closest_loss, on_device, overlap_loss

        views, seeds = zip(*items, strict=True)
        images = on_device(np.stack([v.image for v in views]), next(self.network.parameters()))
        counted = on_device(np.stack([v.counted for v in views]), images)
        masks = [on_device(v.masks, images) for v in views]
        slots, active = [], []
        for i, (view, seed) in enumerate(zip(views, seeds, strict=True)):
            rng = np.random.default_rng(seed)
            drew = np.flatnonzero((view.masks & view.counted).any((1, 2)))
            active += [i] if len(drew) else []
            followed = int(rng.choice(drew)) if len(drew) else 0
            slots.append(Slot(view.masks[followed] & view.counted, view.counted, rng))
        truth = on_device(np.stack([slot.truth for slot in slots]), images)
        session = Session(self.network, self.network.encode(images), slots, self.recipe)
        losses = []
        if self.recipe.model == "aespa":
            soft = torch.stack([drawn.mean(0) for drawn in masks])
            losses.append(overlap_loss(session.advance(range(len(slots)))[0], soft, counted))
        for _ in range(self.recipe.clicks):
            active = [i for i in active if slots[i].click()]
            if not active:
                break
            logits = session.advance(active)
            losses.append(overlap_loss(logits.mean(0), truth[active], counted[active]))
            if self.recipe.model == "spa":
                losses.append(closest_loss(logits, [masks[i] for i in active], counted[active]))
        # Without an object in any image there is no session to learn from: return a loss of 0 that has a gradient.
        return torch.cat(losses).mean() if losses else session.features.sum() * 0


def squashed(example: Example, size: int) -> Example:
    """Return an example resized to the network's input; the image is uint8 again."""
    view = view_of(example, size)
    image = (np.moveaxis(view.image, 0, 2) * 255).round().astype(np.uint8)
    return Example(example.name, image, view.masks, view.counted, example.raters)


def _patches(example: Example, patch: int | None) -> int:
    """Return the number of patches of an example in an epoch: enough to cover it about once, but at most 16."""
    return 1 if patch is None else min(PATCHES, -(-example.counted.size // patch**2))


def train_aespa(
    examples: Sequence[Example],
    held_out: Sequence[Example],
    recipe: Recipe,
    settings: Settings,
    folder: Path,
    *,
    start: Path | None = None,
    resume: bool = False,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Result:
    """Train a network; the models `aespa` and `spa` load the resulting ``best.pth``.

    Parameters
    ----------
    examples : sequence of Example
        Examples for training.
    held_out : sequence of Example
        Examples for the choice of the best epoch; at most 12 are used, spread evenly.
    recipe : Recipe
        Settings of the model and the training.
    settings : Settings
        Settings of the loop. An epoch uses every image once, or up to 16 patches of each.
    folder : Path
        Output folder, see `rclicks.training.loop`.
    start : Path or None
        File with weights of SAM or MedSAM ViT-B; None starts from random weights.
    resume : bool
        True continues an interrupted training in `folder`.
    report : callable
        Function that is called with the progress, see `rclicks.training.loop.train`.

    Raises
    ------
    DataError
        If there is no example for training or validation, or if no rater drew an object in the held-out examples.
    ProtocolError
        If the folder contains another training, or if `start` is given for an encoder of another size than ViT-B.
    WeightsError
        If the weights cannot be read or are not those of SAM ViT-B.
    """
    if start is not None and recipe.encoder != VIT_B:
        raise ProtocolError(
            f"the weights {start} are for the encoder vit_b, but this training uses another encoder; leave out "
            "--init-weights, or set encoder=vit_b"
        )
    used = evenly(held_out, VALIDATED)
    if not examples or not held_out:
        raise DataError(
            f"training needs at least one object for training and one for validation; found {len(examples)} and "
            f"{len(held_out)}"
        )
    identity: dict[str, Any] = {
        "recipe": asdict(recipe),
        "objects": fingerprint(examples),
        "held_out": fingerprint(used),
        "start": None if start is None else _digest(start),
    }
    task: AespaTask = (FollowTask if recipe.protocol == "default" else PublishedTask)(
        examples, used, recipe, settings, None if start is None else _weights(start)
    )
    if not any((view.masks & view.counted).any() for view in task.views):
        raise DataError(
            f"all masks of the {len(used)} held-out objects are empty at an input size of {recipe.size} pixels; hold "
            "out other objects, or set a larger size"
        )
    return train(task, settings, folder, identity=identity, resume=resume, report=report)


def _digest(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()[:12]
    except OSError as error:
        raise WeightsError(f"the start weights {file} cannot be read: {error}") from error


def _weights(file: Path) -> Mapping[str, Any]:
    """Return the tensors of SAM or MedSAM."""
    state = read_checkpoint(file)
    if not isinstance(state, Mapping):
        raise WeightsError(f"{file} contains a {type(state).__name__}; expected the tensors of SAM or MedSAM ViT-B")
    return state
