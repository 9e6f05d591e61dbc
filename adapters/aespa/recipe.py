"""Settings of a training of SPA or AESPA: the model, the protocol and all numbers that a user may set.

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
    """Settings of a training.

    Attributes
    ----------
    model : {"aespa", "spa"}
        Name of the model.
    protocol : {"default", "compat"}
        Corrected recipe ("default") or published recipe ("compat").
    size : int
        Side of the network's input in pixels, a multiple of 16.
    patch : int or None
        Side of random crops in pixels. A crop is resized to the input size. None resizes whole images.
    components : int
        Number of components of the mixture.
    encoder : EncoderDesign
        Size of the image encoder.
    clicks : int
        Number of clicks in each session.
    samples : int
        Latents in each round; SPA only.
    groups : int
        Groups of k-means over the samples; SPA only.
    lr : float
        Learning rate; in the corrected recipe the highest one of the schedule.
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
        """Refuse settings that cannot be trained with a `ProtocolError`."""
        for name, value, known in (("model", self.model, MODELS), ("protocol", self.protocol, PROTOCOLS)):
            if value not in known:
                raise ProtocolError(f"unknown {name} {value!r}; allowed: {', '.join(known)}")
        if self.size % 16 or not 16 <= self.size <= 1024:
            raise ProtocolError(f"the side of the input is {self.size}; expected a multiple of 16 from 16 to 1024")
        for name in ("components", "clicks", "samples", "groups"):
            if getattr(self, name) < 1:
                raise ProtocolError(f"number of {name} is {getattr(self, name)}; expected at least 1")
        if not self.lr > 0:
            raise ProtocolError(f"learning rate is {self.lr}; expected above 0")
        if self.patch is not None and self.patch < 16:
            raise ProtocolError(f"patches have a side of {self.patch}; expected at least 16 pixels")
        if self.patch is not None and not self.smooth:
            raise ProtocolError(
                "the published recipe (protocol compat) resizes whole images and takes no patches; leave out the "
                "option patch, or use the protocol default"
            )

    @property
    def smooth(self) -> bool:
        """Whether logits are enlarged to the input size by interpolation; otherwise pixels are repeated."""
        return self.protocol == "default"
