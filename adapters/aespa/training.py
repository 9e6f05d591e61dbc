"""Train SPA and AESPA on images of several raters, as published (`compat`) or in a mended way (`default`).

The published recipes are described in `rclicks.adapters.aespa.published`. The mended one plays sessions as the models
of `rclicks.adapters.aespa` play them, so that what is learnt is what is used:

* one rater of an image is followed, who clicks at the centre of the largest error; the loss of a round is
  cross-entropy plus soft Dice with the mask of that rater alone, before AESPA's first click with the mean of all;
* all parts of the network learn, the mixture and the encoding of previous logits too, and no image sees another one;
* of SPA's samples also that one learns which lies closest to each rater, so that they spread over the raters;
* logits are interpolated, examples are mirrored and transposed, the rate rises and falls, and MedSAM's weights are all
  loaded.

A batch takes one step, not one a round: the encoder, nearly all of the work, then runs once for all rounds.
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

VALIDATED = 12  # examples, spread evenly over those held out
VIEWS = 4  # patches of each of them
PATCHES = 16  # the most that an epoch takes of an image
REPORTED = (0, 1, 3, 5)  # clicks after which Dice is logged, and the last


@dataclass(frozen=True, eq=False)
class View:
    """An image, or a part of it, as the network sees it.

    Attributes
    ----------
    image : (3, S, S) float32 array
        RGB in [0, 1].
    masks : (R, S, S) bool array
    counted : (S, S) bool array
    """

    image: NDArray[np.float32]
    masks: Mask
    counted: Mask


def view_of(crop: Crop | Example, size: int) -> View:
    """Return a crop squashed to the network's input: bilinear and smoothed, masks from a half on, as published."""

    def resize(plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.asarray(Image.fromarray(plane).resize((size, size), Image.Resampling.BILINEAR))

    def masked(plane: Mask) -> Mask:
        return resize(plane.astype(np.uint8) * 255) >= 255 / 2

    image = np.ascontiguousarray(np.moveaxis(resize(crop.image), 2, 0)).astype(np.float32) / np.float32(255)
    return View(image, np.stack([masked(m) for m in crop.masks]), masked(crop.counted))


def views_of(example: Example, recipe: Recipe) -> list[View]:
    """Return the views that validation takes of an example: the whole, or patches at places that its name decides."""
    if recipe.patch is None:
        return [view_of(example, recipe.size)]
    places = np.random.default_rng(int.from_bytes(hashlib.sha256(example.name.encode()).digest()[:8], "big"))
    return [view_of(random_crop(example, recipe.patch, places), recipe.size) for _ in range(VIEWS)]


def play_raters(network: MixtureSam, view: View, recipe: Recipe) -> Floats:
    """Let each rater who drew something click at the centres of errors, and compare all answers with all such raters.

    Returns
    -------
    (Q, clicks + 1, Q) float64 array
        Dice of the answer after n clicks of one rater (first axis) with another's mask (last axis), in the order of the
        raters who drew something; NaN for SPA without clicks. Where nothing is left to click, the last answer stays.
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
        playing = list(range(len(slots)))
        for n in range(recipe.clicks + 1):
            if n:
                playing = [i for i in playing if slots[i].click()]
            if playing and (n or recipe.model == "aespa"):
                session.advance(playing)
            answers = [slot.answer & view.counted for slot in slots if slot.answer is not None]
            if answers:
                found[:, n] = Overlaps.of(answers, raters).similarity("dice").across
    return found


def measured(tables: Sequence[Floats]) -> dict[str, float]:
    """Return mean Dice with the rater who clicks (``own``), with the others (``other``), and the difference (``gap``).

    Parameters
    ----------
    tables : sequence of arrays of `play_raters`
        One a view, all of as many clicks.

    Returns
    -------
    dict of str -> float
        ``own_0``, ``own_1``, ``own_3``, ``own_5``, as far as so many clicks were made, and the last; likewise the
        others. Means over the raters of a view, then over views. Views in which fewer than two raters drew anything
        count for ``own`` alone. All raters of a view click in turn, so that answers that follow nobody have a gap of 0.
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
    """Return, for each number of clicks, by how much Dice with the rater who clicks exceeds that with the others."""
    raters = len(table)
    own = np.einsum("qnq->nq", table).sum(1)
    everyone = table.sum((0, 2))
    difference: Floats = own / raters - (everyone - own) / (raters * (raters - 1))
    return difference


class AespaTask(TrainingTask):
    """What both recipes share: data, network, validation.

    Parameters
    ----------
    examples, held_out : sequence of Example
    recipe : Recipe
    settings : Settings
    start : mapping of str -> tensor, or None
        Weights of SAM or MedSAM; None starts from random ones.
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
        # Without weight decay, so that parts of SAM that are never used stay as they are.
        self.optimizer = torch.optim.Adam(self.network.parameters(), recipe.lr)

    def validate(self) -> tuple[float, dict[str, float]]:
        """Return Dice with the rater who clicks after the last click, and all of `measured`."""
        found = measured([play_raters(self.network, view, self.recipe) for view in self.views])
        return found[f"own_{self.recipe.clicks}"], found

    def weights(self) -> dict[str, Any]:
        """Return a checkpoint with the names of published ones; its means and variances are never used."""
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
    """The published recipe, with seeds: a constant rate, several steps a batch, no augmentation."""

    def lr(self, step: int, total: int) -> float:
        """Return the constant learning rate; published code makes a schedule but never steps it."""
        return self.recipe.lr

    def item(self, index: int, rng: np.random.Generator) -> tuple[View, int]:
        """Return an image with all masks, and the seed of what is drawn for it."""
        example = self.examples[index]
        return view_of(example, self.recipe.size), int(rng.integers(2**63))

    def update(self, items: Sequence[Any]) -> float:
        """Play the runs of a batch, each with a step for every part that learns, and return the sum of their losses."""
        from .published import aespa_batch, spa_batch

        views, seeds = zip(*items, strict=True)
        rngs = [np.random.default_rng(seed) for seed in seeds]
        batch = aespa_batch if self.recipe.model == "aespa" else spa_batch
        return batch(self.network, self.optimizer, views, rngs, self.recipe)


class FollowTask(AespaTask):
    """The mended recipe; see the top of this module."""

    def lr(self, step: int, total: int) -> float:
        """Return the learning rate; see `warm_cosine`."""
        return warm_cosine(step, total, self.recipe.lr)

    def item(self, index: int, rng: np.random.Generator) -> tuple[View, int]:
        """Return an image or a patch of it, mirrored and transposed at random, and the seed of the session."""
        example = self.examples[self.owners[index]]
        crop = random_crop(example, self.recipe.patch or self.recipe.size, rng)
        return view_of(crop, self.recipe.size), int(rng.integers(2**63))

    def loss(self, items: Sequence[Any]) -> torch.Tensor:
        """Play a session on each image, following one of those who drew something; return the mean over all rounds."""
        import torch

        from .session import Session, Slot, closest_loss, on_device, overlap_loss

        views, seeds = zip(*items, strict=True)
        images = on_device(np.stack([v.image for v in views]), next(self.network.parameters()))
        counted = on_device(np.stack([v.counted for v in views]), images)
        masks = [on_device(v.masks, images) for v in views]
        slots, able = [], []
        for i, (view, seed) in enumerate(zip(views, seeds, strict=True)):
            rng = np.random.default_rng(seed)
            drew = np.flatnonzero((view.masks & view.counted).any((1, 2)))
            able += [i] if len(drew) else []
            followed = int(rng.choice(drew)) if len(drew) else 0
            slots.append(Slot(view.masks[followed] & view.counted, view.counted, rng))
        truth = on_device(np.stack([slot.truth for slot in slots]), images)
        session = Session(self.network, self.network.encode(images), slots, self.recipe)
        losses = []
        if self.recipe.model == "aespa":
            soft = torch.stack([own.mean(0) for own in masks])
            losses.append(overlap_loss(session.advance(range(len(slots)))[0], soft, counted))
        playing = able
        for _ in range(self.recipe.clicks):
            playing = [i for i in playing if slots[i].click()]
            if not playing:
                break
            logits = session.advance(playing)
            losses.append(overlap_loss(logits.mean(0), truth[playing], counted[playing]))
            if self.recipe.model == "spa":
                losses.append(closest_loss(logits, [masks[i] for i in playing], counted[playing]))
        # Nobody drew anything in any image, so there is no session to learn from: a loss of 0 that has a gradient.
        return torch.cat(losses).mean() if losses else session.features.sum() * 0


def squashed(example: Example, size: int) -> Example:
    """Return an example as the network sees it."""
    view = view_of(example, size)
    image = (np.moveaxis(view.image, 0, 2) * 255).round().astype(np.uint8)
    return Example(example.name, image, view.masks, view.counted, example.raters)


def _patches(example: Example, patch: int | None) -> int:
    """Return how many patches an epoch takes of an example: what covers it about once, but at most 16."""
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
    """Train a network; its ``best.pth`` is a checkpoint of the models `aespa` and `spa`.

    Parameters
    ----------
    examples, held_out : sequence of Example
        To learn from, and to choose the best epoch by; of the latter at most 12 are used.
    recipe : Recipe
    settings : Settings
        An epoch passes once over all images, or takes up to 16 patches of each.
    folder : Path
        See `rclicks.training.loop`.
    start : Path or None
        Weights of SAM or MedSAM ViT-B; None starts from random ones.
    resume : bool
    report : callable

    Raises
    ------
    DataError
        If there is nothing to learn from, or nobody drew anything in what is held out.
    ProtocolError
        If the folder holds another training, or weights of SAM are to start an encoder of another size.
    WeightsError
        If the weights cannot be read or are not those of SAM ViT-B.
    """
    if start is not None and recipe.encoder != VIT_B:
        raise ProtocolError(f"{start} cannot start an encoder other than ViT-B; leave out one of the two")
    some = evenly(held_out, VALIDATED)
    if not examples or not held_out:
        raise DataError(
            f"training needs objects to learn from and to validate with; found {len(examples)}, {len(held_out)}"
        )
    identity: dict[str, Any] = {
        "recipe": asdict(recipe),
        "objects": fingerprint(examples),
        "held_out": fingerprint(some),
        "start": None if start is None else _digest(start),
    }
    task: AespaTask = (FollowTask if recipe.protocol == "default" else PublishedTask)(
        examples, some, recipe, settings, None if start is None else _weights(start)
    )
    if not any((view.masks & view.counted).any() for view in task.views):
        raise DataError(
            f"nobody drew anything in the {len(some)} objects held out, at least not at {recipe.size} pixels; hold out "
            "others, or ask for a larger size"
        )
    return train(task, settings, folder, identity=identity, resume=resume, report=report)


def _digest(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()[:12]
    except OSError as error:
        raise WeightsError(f"weights {file} to start from cannot be read: {error}") from error


def _weights(file: Path) -> Mapping[str, Any]:
    """Return the tensors of SAM or MedSAM."""
    state = read_checkpoint(file)
    if not isinstance(state, Mapping):
        raise WeightsError(f"{file} holds {type(state).__name__}; expected the tensors of SAM or MedSAM ViT-B")
    return state
