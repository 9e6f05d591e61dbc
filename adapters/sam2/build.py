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

__all__ = ["build_sam2"]

# As the package's own builders set it, for images and for videos.
_STABILITY = {"via_stability": True, "stability_delta": 0.05, "stability_thresh": 0.98}


def build_sam2(variant: str, cards: Iterable[ModelCard], changes: Mapping[str, Any] | None = None) -> nn.Module:
    """Return the untrained network of a variant that one of `cards` names, with `changes` of its configuration.

    Raises
    ------
    ProtocolError
        If there is no such variant.
    """
    known = {card.variant for card in cards}
    if variant not in known:
        raise ProtocolError(f"unknown SAM 2 variant {variant!r}; allowed: {', '.join(sorted(known))}")
    # Read as a plain file, because composing it would need hydra's global state, which belongs to the application.
    config = OmegaConf.load(str(files("sam2") / "configs" / variant.partition("_")[0] / f"{variant}.yaml"))
    stable = {f"dynamic_multimask_{key}": value for key, value in _STABILITY.items()}
    for key, value in {"sam_mask_decoder_extra_args": stable, **(changes or {})}.items():
        OmegaConf.update(config, f"model.{key}", value, force_add=True)
    try:
        network: nn.Module = instantiate(config.model, _recursive_=True)
    except InstantiationException as error:
        # Hydra wraps what a constructor raises, once a level; callers can only act on the error itself.
        cause: BaseException = error
        while isinstance(cause, InstantiationException) and cause.__cause__ is not None:
            cause = cause.__cause__
        raise cause from None
    return network
