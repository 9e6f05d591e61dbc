"""RITM: iterative training with mask guidance (Sofiiuk, Petrov, Konushin, 2021), HRNet variants, optionally with BRS.

Options of `load`:

* ``zoom_size``: size of the zoomed region at the network's input: "published" (long side 400 pixels, 600 on DAVIS),
  "none" (no zoom), an int (long side) or [height, width];
* ``skip_clicks``: number of the first rounds without zoom; None uses the published values, 1, and -1 on TETRIS, whose
  images are large;
* ``flip``: whether predictions are averaged with those of the mirrored image;
* ``brs``: "none", "rgb-brs", "distmap-brs", "f-brs-a", "f-brs-b" or "f-brs-c", see `rclicks.adapters.ritm.brs`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rclicks.cards import Checkpoint, ModelCard
from rclicks.errors import ProtocolError
from rclicks.protocol import Protocol

if TYPE_CHECKING:
    from rclicks.models.early_fusion.predictor import EarlyFusionModel
    from rclicks.models.early_fusion.zoom import ZoomRule

    from .network import HRNetModel

__all__ = ["CARDS", "build_network", "load"]

CARDS = (
    ModelCard(
        name="ritm-h18",
        family="ritm",
        variant="h18",
        summary="RITM, HRNet18 + OCR, previous mask, trained on COCO + LVIS",
        source="https://github.com/SamsungLabs/ritm_interactive_segmentation",
        licence="MIT",
        citation="Sofiiuk, Petrov, Konushin: Reviving iterative training with mask guidance, ICIP 2022",
        threshold=0.49,
        batched=True,
        parameters=10032019,
        checkpoint=Checkpoint(
            file="coco_lvis_h18_itermask.pth",
            url="https://github.com/saic-vul/ritm_interactive_segmentation/releases/download/v1.0/coco_lvis_h18_itermask.pth",
        ),
        trained_on=("COCO", "LVIS", "COCO_MVal"),
        extra="torch",
    ),
    ModelCard(
        name="ritm-h18s",
        family="ritm",
        variant="h18s",
        summary="RITM, small HRNet18 + OCR, previous mask, trained on COCO + LVIS",
        source="https://github.com/SamsungLabs/ritm_interactive_segmentation",
        licence="MIT",
        citation="Sofiiuk, Petrov, Konushin: Reviving iterative training with mask guidance, ICIP 2022",
        threshold=0.49,
        batched=True,
        parameters=4220047,
        checkpoint=Checkpoint(
            file="coco_lvis_h18s_itermask.pth",
            url="https://github.com/saic-vul/ritm_interactive_segmentation/releases/download/v1.0/coco_lvis_h18s_itermask.pth",
        ),
        trained_on=("COCO", "LVIS", "COCO_MVal"),
        extra="torch",
    ),
    ModelCard(
        name="ritm-h32",
        family="ritm",
        variant="h32",
        summary="RITM, HRNet32 + OCR, previous mask, trained on COCO + LVIS",
        source="https://github.com/SamsungLabs/ritm_interactive_segmentation",
        licence="MIT",
        citation="Sofiiuk, Petrov, Konushin: Reviving iterative training with mask guidance, ICIP 2022",
        threshold=0.49,
        batched=True,
        parameters=30951363,
        checkpoint=Checkpoint(
            file="coco_lvis_h32_itermask.pth",
            url="https://github.com/saic-vul/ritm_interactive_segmentation/releases/download/v1.0/coco_lvis_h32_itermask.pth",
        ),
        trained_on=("COCO", "LVIS", "COCO_MVal"),
        extra="torch",
    ),
    ModelCard(
        name="ritm-h18-baseline",
        family="ritm",
        variant="h18-baseline",
        summary="RITM baseline, HRNet18 + OCR without previous mask, trained on COCO + LVIS",
        source="https://github.com/SamsungLabs/ritm_interactive_segmentation",
        licence="MIT",
        citation="Sofiiuk, Petrov, Konushin: Reviving iterative training with mask guidance, ICIP 2022",
        threshold=0.49,
        batched=True,
        parameters=10032003,
        checkpoint=Checkpoint(
            file="coco_lvis_h18_baseline.pth",
            url="https://github.com/saic-vul/ritm_interactive_segmentation/releases/download/v1.0/coco_lvis_h18_baseline.pth",
        ),
        trained_on=("COCO", "LVIS", "COCO_MVal"),
        extra="torch",
    ),
    ModelCard(
        name="ritm-h18-sbd",
        family="ritm",
        variant="h18",
        summary="RITM, HRNet18 + OCR, previous mask, trained on the training half of SBD",
        source="https://github.com/SamsungLabs/ritm_interactive_segmentation",
        licence="MIT",
        citation="Sofiiuk, Petrov, Konushin: Reviving iterative training with mask guidance, ICIP 2022",
        threshold=0.49,
        batched=True,
        parameters=10032019,
        checkpoint=Checkpoint(
            file="sbd_h18_itermask.pth",
            url="https://github.com/saic-vul/ritm_interactive_segmentation/releases/download/v1.0/sbd_h18_itermask.pth",
        ),
        trained_on=("SBD-train",),
        extra="torch",
    ),
)

COMMON: dict[str, Any] = {"use_leaky_relu": True, "use_rgb_conv": False, "use_disks": True, "norm_radius": 5}
VARIANTS: dict[str, dict[str, Any]] = {
    "h18": {"width": 18, "ocr_width": 64, "with_prev_mask": True},
    "h18s": {"width": 18, "ocr_width": 48, "small": True, "with_prev_mask": True},
    "h32": {"width": 32, "ocr_width": 128, "with_prev_mask": True},
    "h18-baseline": {"width": 18, "ocr_width": 64, "with_prev_mask": False},
}
BRS = ("none", "rgb-brs", "distmap-brs", "f-brs-a", "f-brs-b", "f-brs-c")

# Arguments of the original constructor that do not change the network.
INERT = frozenset({"backbone_lr_mult", "with_aux_output"})
FIXED = {
    "norm_layer": ("torch.nn.modules.batchnorm.BatchNorm2d", "torch.nn.BatchNorm2d"),
    "clicks_groups": (None,),
    "cpu_dist_maps": (False,),
}


def build_network(variant: str) -> HRNetModel:
    """Return the network of a variant with random weights; its keys are those of the published checkpoint.

    Raises
    ------
    ProtocolError
        If there is no such variant.
    """
    from .network import HRNetModel

    if variant not in VARIANTS:
        raise ProtocolError(f"RITM has no variant {variant!r}; known: {', '.join(VARIANTS)}")
    return HRNetModel(**COMMON, **VARIANTS[variant])


def load(
    card: ModelCard,
    *,
    checkpoint: str | Path | None = None,
    device: str = "cpu",
    protocol: Protocol | None = None,
    zoom_size: Any = "published",
    skip_clicks: int | None = None,
    flip: bool = True,
    brs: str = "none",
) -> EarlyFusionModel:
    """Return the model with its weights.

    Raises
    ------
    WeightsError
        If the checkpoint is missing, contains objects that could run code, or does not fit the network.
    ProtocolError
        If an option is invalid.
    """
    options = {"zoom_size": zoom_size, "skip_clicks": skip_clicks, "flip": flip, "brs": brs}
    if not isinstance(flip, bool):
        raise ProtocolError(f"model {card.name}: option flip is {flip!r}; allowed: true, false")
    if brs not in BRS:
        raise ProtocolError(f"model {card.name}: option brs is {brs!r}; allowed: {', '.join(BRS)}")
    published_flaws = protocol is not None and protocol.zoom_after_empty == "published"
    zoom = _zoom(card.name, zoom_size, skip_clicks, published_flaws)
    network, identity = _network(card, checkpoint)
    import torch

    network = network.eval().requires_grad_(False).to(device)
    if device == "cpu":
        network = network.to(memory_format=torch.channels_last)  # 25 % faster on a CPU
    facts: dict[str, Any] = {"previous": network.with_prev_mask, "zoom": zoom, "flip": flip, "options": options}
    facts |= {"device": device, "checkpoint_id": identity}
    if brs != "none":
        from .brs import BrsModel

        return BrsModel(card, network.logits, model=network, mode=brs, **facts)
    from rclicks.models.early_fusion.predictor import EarlyFusionModel

    return EarlyFusionModel(card, network.logits, **facts)


def _network(card: ModelCard, checkpoint: str | Path | None) -> tuple[HRNetModel, str]:
    from rclicks.models.weights import SYNTHETIC, checkpoint_id, find_checkpoint, load_into, synthetic_state

    if checkpoint == SYNTHETIC:
        network = build_network(card.variant)
        load_into(network, synthetic_state(network), SYNTHETIC)
        return network, SYNTHETIC
    from rclicks.models.early_fusion.checkpoint import build_configured

    from .network import HRNetModel

    path = find_checkpoint(card, checkpoint)
    identity = checkpoint_id(path, card)
    return build_configured(path, HRNetModel, class_name="HRNetModel", inert=INERT, fixed=FIXED), identity


def _zoom(name: str, size: Any, skip: int | None, published_flaws: bool) -> Callable[[str], ZoomRule | None]:
    """Return a function that maps the name of a data set to its zoom rule."""
    from rclicks.models.early_fusion.zoom import ZoomRule

    pair = isinstance(size, (list, tuple)) and len(size) == 2
    sides = list(size) if pair else [] if size in ("published", "none") else [size]
    if not all(isinstance(s, int) and not isinstance(s, bool) and 32 <= s <= 4096 for s in sides):
        raise ProtocolError(
            f"model {name}: option zoom_size is {size!r}; allowed: published, none, an integer from 32 to 4096, or "
            "[height, width] of such"
        )
    if skip is not None and (isinstance(skip, bool) or not isinstance(skip, int) or skip < -1):
        raise ProtocolError(f"model {name}: option skip_clicks is {skip!r}; allowed: none or an integer from -1")

    def rule(dataset: str) -> ZoomRule | None:
        if size == "none":
            return None
        target = (600 if dataset == "DAVIS" else 400) if size == "published" else (sides[0], sides[1]) if pair else size
        first = (-1 if dataset == "TETRIS" else 1) if skip is None else skip
        return ZoomRule(target, first, published_paste=published_flaws)

    return rule
