"""How large the image encoder of SPA and AESPA is; the published one is SAM's ViT-B, smaller ones train on a CPU.

>>> EncoderDesign(width=128, depth=6, heads=2).global_blocks
(2, 5)
"""

from __future__ import annotations

from dataclasses import dataclass

from rclicks.errors import ProtocolError

__all__ = ["SMALL", "VIT_B", "EncoderDesign"]

EVERY = 3  # the last of so many blocks attends to the whole grid
WIDEST, DEEPEST = 2048, 64  # keep a hostile file from asking for all memory


@dataclass(frozen=True)
class EncoderDesign:
    """Size of the vision transformer.

    Attributes
    ----------
    width : int
        Numbers a token, a multiple of `heads`.
    depth : int
        Blocks, 3 or more; every third one attends to the whole grid, the others within windows.
    heads : int
        Of the attention.
    """

    width: int = 768
    depth: int = 12
    heads: int = 12

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        if not (1 <= self.heads <= self.width <= WIDEST) or self.width % self.heads:
            raise ProtocolError(
                f"an encoder of width {self.width} with {self.heads} heads cannot be built; expected a width up to "
                f"{WIDEST} that the heads divide"
            )
        if not EVERY <= self.depth <= DEEPEST:
            raise ProtocolError(f"an encoder of {self.depth} blocks; expected {EVERY} to {DEEPEST}")

    @property
    def global_blocks(self) -> tuple[int, ...]:
        """Numbers of the blocks that attend to the whole grid, from 0."""
        return tuple(range(EVERY - 1, self.depth, EVERY))


VIT_B = EncoderDesign()
SMALL = EncoderDesign(width=128, depth=3, heads=2)
