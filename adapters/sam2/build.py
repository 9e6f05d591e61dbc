"""Build SAM 2 networks from the configurations in the package `sam2`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from rclicks.cards import ModelCard
from rclicks.errors import ProtocolError

__all__ = ["VIDEO_CONFIGURATION", "build_sam2"]

# The values that the builders of the package set, for images and for videos.
_STABILITY = {"via_stability": True, "stability_delta": 0.05, "stability_thresh": 0.98}
# Those of the video predictor, except for the hole filling.
VIDEO_CONFIGURATION = {
    "_target_": "sam2.sam2_video_predictor.SAM2VideoPredictor",
    "binarize_mask_from_pts_for_mem_enc": True,
    "fill_hole_area": 0,
    "add_all_frames_to_correct_as_cond": True,
}


def build_sam2(variant: str, cards: Iterable[ModelCard], changes: Mapping[str, Any] | None = None) -> nn.Module:
    """Return the untrained network of a variant of `cards`; `changes` replace values of its configuration.

    Raises
    ------
    ProtocolError
        If there is no such variant.
    """
    known = {card.variant for card in cards}
    if variant not in known:
        raise ProtocolError(f"unknown SAM 2 variant {variant!r}; allowed: {', '.join(sorted(known))}")
    # Read the configuration as a plain file. Composing it would change hydra's global state, which other code may use.
    config = OmegaConf.load(str(files("sam2") / "configs" / variant.partition("_")[0] / f"{variant}.yaml"))
    stable = {f"dynamic_multimask_{key}": value for key, value in _STABILITY.items()}
    for key, value in {"sam_mask_decoder_extra_args": stable, **(changes or {})}.items():
        OmegaConf.update(config, f"model.{key}", value, force_add=True)
    try:
        network: nn.Module = instantiate(config.model, _recursive_=True)
    except InstantiationException as error:
        # Hydra wraps the error of a constructor at every level; callers need the original error.
        cause: BaseException = error
        while isinstance(cause, InstantiationException) and cause.__cause__ is not None:
            cause = cause.__cause__
        raise cause from None
    return network
