"""Train click models on people's clicks: the published recipe, and a better one.

Published (``compat``, Antonov et al. 2024): the network's output, scaled to [0, 1] over the box, is compared with
`rclicks.clickability.groundtruth.click_map`, both divided by their sums. Adam at 0.01 for all weights, 20 epochs of
batches of 16, mirror images, `rclicks.training.schedules.published`. Traps that change results are kept:
the backbone has no learning rate of its own and no pretrained weights, and the rate does not reach 0.

Default: the output is added to the cues' scores (`rclicks.clickability.embedded`); a softmax over the error's pixels
makes a density, and the loss is its divergence from `click_density`. AdamW with a tenth of the rate for the backbone,
pretrained weights if given, more augmentation, a rate that ends at 0, early stopping by the likelihood of held-out
clicks.
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
FLIP = 0.5
BACKBONE_SHARE = 0.1


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is learnt and how.

    Attributes
    ----------
    architecture : str
        One of `rclicks.clickability.trained.ARCHITECTURES`.
    protocol : {"default", "compat"}
    sigma : float
        Of the clicks' blur, in pixels of a 1920 x 1080 image.
    lr : float
        Peak learning rate.
    decay : float
        Weight decay (default recipe only).
    """

    architecture: str
    protocol: Literal["default", "compat"] = "default"
    sigma: float = 5.0
    lr: float = 5e-4
    decay: float = 0.05

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        if self.architecture not in ARCHITECTURES:
            raise ProtocolError(f"architecture is {self.architecture!r}; allowed: {', '.join(ARCHITECTURES)}")
        if self.protocol not in ("default", "compat"):
            raise ProtocolError(f"protocol is {self.protocol!r}; allowed: default, compat")
        if self.protocol == "compat" and not self.architecture.startswith("segnext"):
            raise ProtocolError("the published recipe (protocol compat) trains SegNeXt; choose segnext-t, -s or -b")
        if not self.lr > 0:
            raise ProtocolError(f"learning rate is {self.lr}; expected above 0")


def fingerprint(items: Sequence[ClickItem]) -> str:
    """Return 12 hex digits that change with the items and their clicks."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(f"{item.dataset}|{item.key}|{item.kind}|{item.points.tolist()}".encode())
    return digest.hexdigest()[:12]


class _NetworkTask(TrainingTask):
    """What both recipes share: a network, items, a box."""

    def __init__(self, items: Sequence[ClickItem], held_out: Sequence[ClickItem], recipe: Recipe, device: str) -> None:
        self.items, self.held_out, self.recipe, self.device = items, held_out, recipe, device
        self.size, self.box = len(items), ARCHITECTURES[recipe.architecture]
        self.network = build_network(recipe.architecture).to(device)

    def _tensors(self, items: Sequence[Any]) -> list[torch.Tensor]:
        """Stack the arrays of items along a new first axis, on the device."""
        import torch

        # A copy in memory of torch's own: sums over NumPy's differ in the last bits with where it happens to lie.
        return [torch.from_numpy(np.stack(arrays)).clone().to(self.device) for arrays in zip(*items, strict=True)]


class PublishedTask(_NetworkTask):
    """The published recipe."""

    def __init__(self, items: Sequence[ClickItem], held_out: Sequence[ClickItem], recipe: Recipe, device: str) -> None:
        import torch

        super().__init__(items, held_out, recipe, device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), recipe.lr)

    def lr(self, step: int, total: int) -> float:
        """Return the learning rate; see `published`."""
        return published(step, total, self.recipe.lr)

    def item(self, index: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], ...]:
        """Return image (3, h, w), object and error (2, h, w) and click map (h, w) in the box; mirrored at random."""
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
        """Return the mean divergence of the sum-normalised maps."""
        image, masks, target = self._tensors(items)
        return divergence(self._scaled(self.network(image, masks)), target).mean()

    def _scaled(self, maps: torch.Tensor) -> torch.Tensor:
        from rclicks.clickability.networks.segnext import min_max

        return min_max(maps, EPSILON)[:, 0]

    def validate(self) -> tuple[float, dict[str, float]]:
        """Return similarity (SIM), and divergence (KL), correlation (CC) and SIM to log."""
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
        """Return the plain state_dict, as published."""
        return dict(self.network.state_dict())


def divergence(made: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the published divergence of (B, h, w) maps, each divided by its sum: a (B,) tensor."""
    p = made / (made.sum((1, 2), keepdim=True) + EPSILON)
    t = target / (target.sum((1, 2), keepdim=True) + EPSILON)
    return (t * (EPSILON + t / (EPSILON + p)).log()).sum((1, 2))


def similarity(made: torch.Tensor, target: torch.Tensor) -> tuple[float, float]:
    """Return CC (Pearson) and SIM (sum of minima of sum-normalised maps) of two (h, w) maps scaled to [0, 1]."""
    import torch

    pair = torch.stack([made, target]).double().flatten(1)
    low, high = pair.amin(1, keepdim=True), pair.amax(1, keepdim=True)
    pair = (pair - low) / (high - low + EPSILON)
    centred = pair - pair.mean(1, keepdim=True)
    cc = (centred[0] * centred[1]).sum() / (centred[0].norm() * centred[1].norm() + EPSILON)
    shares = pair / (pair.sum(1, keepdim=True) + EPSILON)
    return float(cc), float(shares.amin(0).sum())


class DensityTask(_NetworkTask):
    """The default recipe.

    Parameters
    ----------
    items, held_out, recipe, device
    weights : (5,) float64 array
        Of the cues.
    backbone : Path or None
        Pretrained weights; the small network's encoder is then frozen, a SegNeXt's learns at a tenth of the rate.
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
        """Return the learning rate; see `warm_cosine`."""
        return warm_cosine(step, total, self.recipe.lr)

    def item(self, index: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], ...]:
        """Return image, masks, prior and target in the box of a scene changed at random."""
        item = self.items[index]
        scene, points = item.load(), item.points
        if rng.random() < FLIP:
            scene, points = augment.flip(scene, points)
        scene = augment.outline(scene, rng)
        prior = prior_map(cues(scene.error), self.cue_weights, scene.error.shape)  # of the whole frame, as people saw
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
        """Return (B, h * w) log probabilities."""
        from rclicks.clickability.networks.embedded import log_density

        return log_density((scores(self.network, image, masks, prior) + prior)[:, 0].float(), masks[:, 1])

    def loss(self, items: Sequence[Any]) -> torch.Tensor:
        """Return the mean divergence of the density from the clicks' density."""
        image, masks, prior, target = self._tensors(items)
        wanted = target.flatten(1)
        return (wanted * (wanted.clamp_min(1e-20).log() - self._log_density(image, masks, prior))).sum(1).mean()

    def validate(self) -> tuple[float, dict[str, float]]:
        """Return the mean log-likelihood of a click above that of the uniform density (nats), and what to log."""
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
            raise DataError("no held-out click is on its error, so there is nothing to validate with")
        return gain / clicks, {"gain": gain / clicks}

    def weights(self) -> dict[str, Any]:
        """Return a checkpoint of `rclicks.clickability.trained`."""
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
    """Train a network.

    Parameters
    ----------
    items, held_out : sequence of ClickItem
    recipe : Recipe
    settings : Settings
    folder : Path
        See `rclicks.training.loop`.
    backbone : Path or None
        Pretrained weights of the backbone; the published recipe has none.
    resume : bool
    report : callable

    Raises
    ------
    DataError, ProtocolError, WeightsError
    """
    import torch

    if not items or not held_out:
        raise DataError(f"training needs items to learn from and to validate with; found {len(items)}, {len(held_out)}")
    torch.manual_seed(settings.seed)
    task: TrainingTask
    if recipe.protocol == "compat":
        if backbone is not None:
            raise ProtocolError("the published recipe begins with random weights; leave the backbone out")
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
    """Fit the embedded model's weights, write ``clickability-mini.json`` and return its content.

    Parameters
    ----------
    items, held_out : sequence of ClickItem
        The latter may be empty.
    folder : Path
        Made if absent.
    sigma : float
        Of the clicks' blur.
    folds, seed : int
        Of the cross-validation over `items`, which is only reported; 0 folds leave it out.

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
