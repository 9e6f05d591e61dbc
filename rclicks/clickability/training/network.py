"""Train click models on clicks of people, with the published recipe or with a corrected one.

Published recipe (protocol ``compat``, Antonov et al. 2024): the output of the network is scaled to [0, 1] over the box
and compared with `rclicks.clickability.groundtruth.click_map`; both are divided by their sums. The optimiser is Adam
with a learning rate of 0.01 for all weights. There are 20 epochs with a batch size of 16, mirrored images, and the
schedule `rclicks.training.schedules.published`. Flaws that change results are kept: the backbone has the same learning
rate as the rest and no pretrained weights, and the learning rate does not reach 0.

Corrected recipe (protocol ``default``): the output is added to the scores of the cues
(`rclicks.clickability.embedded`). A softmax over the pixels of the error gives a density, and the loss is its
divergence from `click_density`. The optimiser is AdamW with a tenth of the learning rate for a pretrained backbone.
There is more augmentation, the learning rate ends at 0, and the likelihood of held-out clicks decides about early
stopping.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from rclicks.clickability.embedded import CUES, WEIGHTS, cues, read_weights
from rclicks.clickability.embedded import FORMAT as CUE_FORMAT
from rclicks.clickability.groundtruth import click_density, click_map
from rclicks.clickability.letterbox import Letterbox
from rclicks.clickability.segnext import network_image
from rclicks.clickability.trained import ARCHITECTURES, FORMAT, build_network, prior_map, scores
from rclicks.clickability.training import augment
from rclicks.clickability.training import cues as cue_fit
from rclicks.errors import DataError, ProtocolError
from rclicks.human_clicks.items import ClickItem, Scene
from rclicks.training.loop import Progress, Result, Settings, TrainingTask, train
from rclicks.training.schedules import published, warm_cosine

if TYPE_CHECKING:
    import torch

__all__ = ["Recipe", "fingerprint", "train_cues", "train_network"]

EPSILON = 1e-9
FLIP = 0.5  # probability of mirroring
BACKBONE_SHARE = 0.1  # learning rate of a pretrained backbone relative to the other layers


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings of a training.

    Attributes
    ----------
    architecture : str
        Name of the network, a key of `rclicks.clickability.trained.ARCHITECTURES`.
    protocol : {"default", "compat"}
        Corrected recipe ("default") or published recipe ("compat").
    sigma : float
        Standard deviation of the blur of the clicks in pixels of a 1920 x 1080 image.
    lr : float
        Highest learning rate of the schedule.
    decay : float
        Weight decay; used by the corrected recipe only.
    """

    architecture: str
    protocol: Literal["default", "compat"] = "default"
    sigma: float = 5.0
    lr: float = 5e-4
    decay: float = 0.05

    def __post_init__(self) -> None:
        """Refuse settings that cannot be trained with a `ProtocolError`."""
        if self.architecture not in ARCHITECTURES:
            raise ProtocolError(f"architecture is {self.architecture!r}; allowed: {', '.join(ARCHITECTURES)}")
        if self.protocol not in ("default", "compat"):
            raise ProtocolError(f"protocol is {self.protocol!r}; allowed: default, compat")
        if self.protocol == "compat" and not self.architecture.startswith("segnext"):
            raise ProtocolError(
                f"the published recipe (protocol compat) does not train {self.architecture}; choose segnext-t, "
                "segnext-s or segnext-b"
            )
        if not self.lr > 0:
            raise ProtocolError(f"learning rate is {self.lr}; expected above 0")


def fingerprint(items: Sequence[ClickItem]) -> str:
    """Return 12 hex digits of a hash of the items and their clicks."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(f"{item.dataset}|{item.key}|{item.kind}|{item.points.tolist()}".encode())
    return digest.hexdigest()[:12]


class _NetworkTask(TrainingTask):
    """Base class of both recipes: network, items, box."""

    def __init__(self, items: Sequence[ClickItem], held_out: Sequence[ClickItem], recipe: Recipe, device: str) -> None:
        self.items, self.held_out, self.recipe, self.device = items, held_out, recipe, device
        self.size, self.box = len(items), ARCHITECTURES[recipe.architecture]
        self.network = build_network(recipe.architecture).to(device)

    def _tensors(self, items: Sequence[Any]) -> list[torch.Tensor]:
        """Stack the arrays of items along a new first axis, on the device."""
        import torch

        # Copy the arrays into memory of torch. With memory of NumPy the last bits of sums depend on its alignment.
        return [torch.from_numpy(np.stack(arrays)).clone().to(self.device) for arrays in zip(*items, strict=True)]


class PublishedTask(_NetworkTask):
    """The published recipe."""

    def __init__(self, items: Sequence[ClickItem], held_out: Sequence[ClickItem], recipe: Recipe, device: str) -> None:
        import torch

        super().__init__(items, held_out, recipe, device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), recipe.lr)

    def lr(self, step: int, total: int) -> float:
        """Return the learning rate, see `rclicks.training.schedules.published`."""
        return published(step, total, self.recipe.lr)

    def item(self, index: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], ...]:
        """Return image (3, h, w), object and error (2, h, w) and click map (h, w) in the box, mirrored at random."""
        item = self.items[index]
        scene, points = item.load(), item.points
        if rng.random() < FLIP:
            scene, points = augment.flip(scene, points)
        return self._boxed(scene, points)

    def _boxed(self, scene: Scene, points: NDArray[np.int64]) -> tuple[NDArray[np.float32], ...]:
        letterbox = Letterbox.of((scene.error.shape[0], scene.error.shape[1]), self.box)
        masks = np.stack([letterbox.put(np.asarray(m, np.float32)) for m in (scene.mask, scene.error)])
        target = letterbox.put(click_map(points, scene.error, self.recipe.sigma))
        return network_image(scene.image, letterbox), masks, target

    def loss(self, items: Sequence[Any]) -> torch.Tensor:
        """Return the mean divergence of the maps, which are divided by their sums."""
        image, masks, target = self._tensors(items)
        return divergence(self._scaled(self.network(image, masks)), target).mean()

    def _scaled(self, maps: torch.Tensor) -> torch.Tensor:
        from rclicks.clickability.networks.segnext import min_max

        return min_max(maps, EPSILON)[:, 0]

    def validate(self) -> tuple[float, dict[str, float]]:
        """Return the similarity (SIM), and divergence (KL), correlation (CC) and SIM for the log."""
        import torch

        found = []
        with torch.inference_mode():
            for item in self.held_out:
                image, masks, target = self._tensors([self._boxed(item.load(), item.points)])
                made = self._scaled(self.network(image, masks))
                found.append([float(divergence(made, target)[0]), *similarity(made[0], target[0])])
        kl, cc, sim = np.mean(found, axis=0).tolist()
        return sim, {"kl": kl, "cc": cc, "sim": sim}

    def weights(self) -> dict[str, Any]:
        """Return the state_dict; published checkpoints have the same form."""
        return dict(self.network.state_dict())


def divergence(made: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the published divergence of (B, h, w) maps, each divided by its sum, as a (B,) tensor."""
    p = made / (made.sum((1, 2), keepdim=True) + EPSILON)
    t = target / (target.sum((1, 2), keepdim=True) + EPSILON)
    return (t * (EPSILON + t / (EPSILON + p)).log()).sum((1, 2))


def similarity(made: torch.Tensor, target: torch.Tensor) -> tuple[float, float]:
    """Return CC and SIM of two (h, w) maps, which are first scaled to [0, 1].

    CC is Pearson's correlation. SIM is the sum of the pixel-wise minima of the maps, each divided by its sum.
    """
    import torch

    pair = torch.stack([made, target]).double().flatten(1)
    low, high = pair.amin(1, keepdim=True), pair.amax(1, keepdim=True)
    pair = (pair - low) / (high - low + EPSILON)
    centred = pair - pair.mean(1, keepdim=True)
    cc = (centred[0] * centred[1]).sum() / (centred[0].norm() * centred[1].norm() + EPSILON)
    shares = pair / (pair.sum(1, keepdim=True) + EPSILON)
    return float(cc), float(shares.amin(0).sum())


class DensityTask(_NetworkTask):
    """The corrected recipe.

    Parameters
    ----------
    items : sequence of ClickItem
        Items for training.
    held_out : sequence of ClickItem
        Items for validation.
    recipe : Recipe
        Settings of the training.
    device : str
        Name of the torch device.
    weights : (5,) float64 array
        Weights of the cues.
    backbone : Path or None
        File with pretrained weights of the backbone. The encoder of the small network is then frozen; the backbone of a
        SegNeXt learns with a tenth of the learning rate.
    """

    def __init__(
        self,
        items: Sequence[ClickItem],
        held_out: Sequence[ClickItem],
        recipe: Recipe,
        device: str,
        *,
        weights: NDArray[np.float64],
        backbone: Path | None,
    ) -> None:
        import torch

        from rclicks.clickability.training.backbones import backbone_of, fill_backbone

        super().__init__(items, held_out, recipe, device)
        self.cue_weights = weights
        if backbone is not None:
            fill_backbone(self.network, backbone)
        first = backbone_of(self.network)
        if backbone is not None and recipe.architecture == "mini-cnn":
            first.requires_grad_(False)
        share = 1.0 if backbone is None else BACKBONE_SHARE
        of_backbone = {id(p) for p in first.parameters()}
        groups: dict[tuple[float, float], list[Any]] = {}
        for parameter in self.network.parameters():
            if parameter.requires_grad:
                key = (share if id(parameter) in of_backbone else 1.0, recipe.decay if parameter.ndim > 1 else 0.0)
                groups.setdefault(key, []).append(parameter)
        self.optimizer = torch.optim.AdamW(
            [{"params": p, "share": s, "weight_decay": d} for (s, d), p in groups.items()], recipe.lr
        )

    def lr(self, step: int, total: int) -> float:
        """Return the learning rate, see `warm_cosine`."""
        return warm_cosine(step, total, self.recipe.lr)

    def item(self, index: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], ...]:
        """Return image, masks, prior and target in the box for a scene with random augmentations."""
        item = self.items[index]
        scene, points = item.load(), item.points
        if rng.random() < FLIP:
            scene, points = augment.flip(scene, points)
        scene = augment.outline(scene, rng)
        # The cues are computed before the crop, because people saw the whole image.
        prior = prior_map(cues(scene.error), self.cue_weights, scene.error.shape)
        planes = augment.colours(scene.image, rng), scene.mask, scene.error, prior
        (image, mask, error, prior), points = augment.crop(planes, scene.error, points, rng)
        return self._boxed(Scene(image, mask, error), prior, points)

    def _boxed(
        self, scene: Scene, prior: NDArray[np.float32], points: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], ...]:
        shape = (scene.error.shape[0], scene.error.shape[1])
        letterbox = Letterbox.of(shape, self.box)
        masks = np.stack([letterbox.put(np.asarray(m, np.float32)) for m in (scene.mask, scene.error)])
        corner = np.array([letterbox.rows[0], letterbox.columns[0]])
        size = np.array([letterbox.rows[1], letterbox.columns[1]]) - corner
        placed = corner + ((points + 0.5) * size / shape).astype(np.int64)
        target = click_density(placed, masks[1], self.recipe.sigma).astype(np.float32)
        return network_image(scene.image, letterbox), masks, letterbox.put(prior)[None], target

    def _log_density(self, image: torch.Tensor, masks: torch.Tensor, prior: torch.Tensor) -> torch.Tensor:
        """Return the (B, h * w) log-probabilities of the pixels."""
        from rclicks.clickability.networks.embedded import log_density

        return log_density((scores(self.network, image, masks, prior) + prior)[:, 0].float(), masks[:, 1])

    def loss(self, items: Sequence[Any]) -> torch.Tensor:
        """Return the mean divergence of the predicted density from the density of the clicks."""
        image, masks, prior, target = self._tensors(items)
        wanted = target.flatten(1)
        return (wanted * (wanted.clamp_min(1e-20).log() - self._log_density(image, masks, prior))).sum(1).mean()

    def validate(self) -> tuple[float, dict[str, float]]:
        """Return the mean log-likelihood of a click minus that of the uniform density in nats, and the log values."""
        import torch

        gain, clicks = 0.0, 0
        with torch.inference_mode():
            for item in self.held_out:
                scene = item.load()
                on = item.points[np.asarray(scene.error)[tuple(item.points.T)] > 0]
                if not len(on):
                    continue
                prior = prior_map(cues(scene.error), self.cue_weights, scene.error.shape)
                image, masks, boxed, target = self._tensors([self._boxed(scene, prior, on)])
                share = masks[:, 1].flatten(1) / masks[:, 1].sum()
                ratio = self._log_density(image, masks, boxed) - share.clamp_min(1e-20).log()
                gain += len(on) * float((target.flatten(1) * ratio).sum())
                clicks += len(on)
        if not clicks:
            raise DataError("no held-out click is on its error, so validation is not possible; hold out other images")
        return gain / clicks, {"gain": gain / clicks}

    def weights(self) -> dict[str, Any]:
        """Return the content of a checkpoint of `rclicks.clickability.trained`."""
        return {
            "format": FORMAT,
            "architecture": self.recipe.architecture,
            "cues": [float(w) for w in self.cue_weights],
            "state": dict(self.network.state_dict()),
        }


def train_network(
    items: Sequence[ClickItem],
    held_out: Sequence[ClickItem],
    recipe: Recipe,
    settings: Settings,
    folder: Path,
    *,
    backbone: Path | None = None,
    resume: bool = False,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Result:
    """Train the network of a click model.

    Parameters
    ----------
    items : sequence of ClickItem
        Items for training.
    held_out : sequence of ClickItem
        Items for validation.
    recipe : Recipe
        Settings of the network and the training.
    settings : Settings
        Settings of the loop.
    folder : Path
        Output folder, see `rclicks.training.loop`.
    backbone : Path or None
        File with pretrained weights of the backbone; not allowed with the published recipe.
    resume : bool
        True continues an interrupted training in `folder`.
    report : callable
        Function that is called with the progress, see `rclicks.training.loop.train`.

    Raises
    ------
    DataError
        If there is no item for training or validation, or an item cannot be read.
    ProtocolError
        If a backbone is given with the published recipe, or the folder contains another training.
    WeightsError
        If the weights of the backbone cannot be read or do not fit.
    """
    import torch

    if not items or not held_out:
        raise DataError(
            f"training needs at least one item for training and one for validation; found {len(items)} and "
            f"{len(held_out)}"
        )
    torch.manual_seed(settings.seed)
    task: TrainingTask
    if recipe.protocol == "compat":
        if backbone is not None:
            raise ProtocolError("the published recipe starts from random weights; leave out the weights of a backbone")
        task = PublishedTask(items, held_out, recipe, settings.device)
    else:
        weights = read_weights(WEIGHTS)
        task = DensityTask(items, held_out, recipe, settings.device, weights=weights, backbone=backbone)
    identity = {
        "recipe": asdict(recipe),
        "items": fingerprint(items),
        "held_out": fingerprint(held_out),
        "backbone": "" if backbone is None else backbone.name,
    }
    return train(task, settings, folder, identity=identity, resume=resume, report=report)


def train_cues(
    items: Sequence[ClickItem],
    held_out: Sequence[ClickItem],
    folder: Path,
    *,
    sigma: float = 5.0,
    folds: int = 5,
    seed: int = 0,
) -> Mapping[str, Any]:
    """Fit the weights of the embedded model, write ``clickability-mini.json`` and return its content.

    Parameters
    ----------
    items : sequence of ClickItem
        Items for the fit.
    held_out : sequence of ClickItem
        Items for validation; may be empty.
    folder : Path
        Output folder, created if absent.
    sigma : float
        Standard deviation of the blur of the clicks in pixels of a 1920 x 1080 image.
    folds : int
        Number of folds of the cross-validation over `items`, whose result is only reported; 0 for none.
    seed : int
        Seed of the assignment of images to folds.

    Raises
    ------
    DataError
        If no click is on its error.
    """
    evidence = cue_fit.evidence_of(items, sigma)
    fitted = cue_fit.fit(evidence)
    facts: dict[str, Any] = {
        "datasets": sorted({item.dataset for item in items}),
        "items": fingerprint(items),
        "objects": fitted.objects,
        "clicks": fitted.clicks,
        "sigma": sigma,
        "gain": round(fitted.gain, 4),
    }
    if folds:
        facts |= {"folds": folds, "fold_seed": seed}
        facts["cross_validated_gain"] = round(float(np.mean(cue_fit.cross_validate(evidence, folds, seed))), 4)
    if held_out:
        others = cue_fit.evidence_of(held_out, sigma)
        facts["held_out_gain"] = round(cue_fit.log_gain(others, fitted.weights), 4)
    content = {
        "format": CUE_FORMAT,
        "weights": {name: float(w) for name, w in zip(CUES, fitted.weights, strict=True)},
        "trained": facts,
    }
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / WEIGHTS.name
    partial = file.with_name(file.name + ".partial")
    partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    partial.replace(file)
    return content
