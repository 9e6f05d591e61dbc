"""Size of the image encoder of SPA and AESPA. The published one is SAM's ViT-B; smaller ones can be trained on a CPU.

>>> EncoderDesign(width=128, depth=6, heads=2).global_blocks
(2, 5)
"""

from __future__ import annotations

from dataclasses import dataclass

from rclicks.errors import ProtocolError

__all__ = ["SMALL", "VIT_B", "EncoderDesign"]

EVERY = 3  # every third block attends to the whole grid
WIDEST, DEEPEST = 2048, 64  # bounds, so that a malicious checkpoint cannot allocate all memory


@dataclass(frozen=True)
class EncoderDesign:
    """Size of the vision transformer.

    Attributes
    ----------
    width : int
        Length of the vector of each token, a multiple of `heads`.
    depth : int
        Number of blocks, 3 or more. Every third one attends to the whole grid, the others within windows.
    heads : int
        Number of attention heads.
    """

    width: int = 768
    depth: int = 12
    heads: int = 12

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be built with a `ProtocolError`."""
        if not (1 <= self.heads <= self.width <= WIDEST) or self.width % self.heads:
            raise ProtocolError(
                f"an encoder of width {self.width} with {self.heads} heads cannot be built; expected a width up to "
                f"{WIDEST} that is a multiple of the number of heads"
            )
        if not EVERY <= self.depth <= DEEPEST:
            raise ProtocolError(f"an encoder of {self.depth} blocks cannot be built; expected {EVERY} to {DEEPEST}")

    @property
    def global_blocks(self) -> tuple[int, ...]:
        """Indices of the blocks that attend to the whole grid, counted from 0."""
        return tuple(range(EVERY - 1, self.depth, EVERY))


VIT_B = EncoderDesign()
SMALL = EncoderDesign(width=128, depth=3, heads=2)
