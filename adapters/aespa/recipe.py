"""What a training of SPA or AESPA learns and how: the model, the protocol and all numbers that a user may choose.

>>> Recipe(model="spa", samples=4).smooth
True
"""

from __future__ import annotations

from dataclasses import dataclass

from rclicks.errors import ProtocolError

from .design import VIT_B, EncoderDesign

__all__ = ["Recipe"]

MODELS = ("aespa", "spa")
PROTOCOLS = ("default", "compat")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is learnt and how.

    Attributes
    ----------
    model : {"aespa", "spa"}
    protocol : {"default", "compat"}
        The mended recipe, or the published one.
    size : int
        Side of the network's input in pixels, a multiple of 16.
    patch : int or None
        Side of random crops, which are then brought to the input's size; None squashes whole images to it.
    components : int
        Of the mixture.
    encoder : EncoderDesign
    clicks : int
        Of a session.
    samples, groups : int
        SPA only: latents a round, and groups of k-means.
    lr : float
        Learning rate, of the mended recipe the highest.
    """

    model: str = "aespa"
    protocol: str = "default"
    size: int = 128
    patch: int | None = None
    components: int = 16
    encoder: EncoderDesign = VIT_B
    clicks: int = 5
    samples: int = 8
    groups: int = 4
    lr: float = 1e-4

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        for name, value, known in (("model", self.model, MODELS), ("protocol", self.protocol, PROTOCOLS)):
            if value not in known:
                raise ProtocolError(f"unknown {name} {value!r}; allowed: {', '.join(known)}")
        if self.size % 16 or not 16 <= self.size <= 1024:
            raise ProtocolError(f"the input's side is {self.size}; expected a multiple of 16 from 16 to 1024")
        for name in ("components", "clicks", "samples", "groups"):
            if getattr(self, name) < 1:
                raise ProtocolError(f"number of {name} is {getattr(self, name)}; expected at least 1")
        if not self.lr > 0:
            raise ProtocolError(f"learning rate is {self.lr}; expected above 0")
        if self.patch is not None and self.patch < 16:
            raise ProtocolError(f"patches have a side of {self.patch}; expected at least 16 pixels")
        if self.patch is not None and not self.smooth:
            raise ProtocolError("the published recipe squashes whole images; leave out the patches, or compat")

    @property
    def smooth(self) -> bool:
        """Whether logits are interpolated to the input, not repeated."""
        return self.protocol == "default"
