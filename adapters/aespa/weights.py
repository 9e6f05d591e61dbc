"""Weights of SPA and AESPA: their training checkpoints, and the SAM or MedSAM weights that they start from.

Published code passes SAM's weights to a loader that drops unknown names. It loses the 8 tensors of the mask decoder's
MLPs without a message, and it fails on the 8 position tables of another length. `remap` renames and resizes them, and
refuses a file if a tensor would be lost. It also renames the 24 position tables of the encoder, which SAM calls
``rel_pos_h`` and ``rel_pos_w``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rclicks.errors import ProtocolError, WeightsError
from rclicks.models.weights import load_into, read_checkpoint

from .design import VIT_B, EncoderDesign

if TYPE_CHECKING:
    from torch import Tensor

    from .network import MixtureSam

__all__ = ["TrainingCheckpoint", "initialise", "read_training_checkpoint", "remap"]

_NEW = ("image_encoder.fcomb.", "EM_weights.", "EM_mean_variance.")
_RENAMED = ((".attn.rel_pos_", ".attn.rel_"), (".mlp.lin1.", ".mlp.layers.0.0."), (".mlp.lin2.", ".mlp.fc."))
_DECODER = "mask_decoder.transformer.layers."
_BLOCKS, _POSITIONS = "image_encoder.blocks.", "image_encoder.pos_embed"
_TABLE = f"{_BLOCKS}2.attn.rel_h"  # table of a global block; its length depends on the input size
_FIRST = "EM_weights.fc1.weight"
_LONGEST, _MOST = 127, 1024  # length of the tables for an input of 1024 pixels; largest number of components


@dataclass(frozen=True, eq=False)
class TrainingCheckpoint:
    """The parts of a training checkpoint that inference needs.

    Attributes
    ----------
    state : dict of str -> tensor
        State_dict of the network.
    start : (K,) float64 array
        Mixture weights of the first round of every image; they sum to 1.
    table : int
        Length of the relative-position tables of the global blocks.
    encoder : EncoderDesign
        Size of the image encoder.
    origin : str
        Path of the file, for error messages.
    """

    state: Mapping[str, Any]
    start: NDArray[np.float64]
    table: int
    encoder: EncoderDesign
    origin: str

    @property
    def components(self) -> int:
        """Number K of mixture components."""
        return len(self.start)

    def build(self, size: int | None = None) -> MixtureSam:
        """Return the network with these weights.

        Parameters
        ----------
        size : int or None
            Side of the input in pixels; None uses the side that the position tables were made for. Tables of another
            length are interpolated in each forward pass.

        Raises
        ------
        WeightsError
            If a weight is missing, unknown or of another shape.
        """
        import torch

        from .network import PATCH, MixtureSam

        with torch.device("meta"):  # draws no random values: load_into replaces every tensor or raises an error
            network = MixtureSam(size or (self.table + 1) // 2 * PATCH, self.components, self.table, self.encoder)
        network.to_empty(device="cpu")
        load_into(network, self.state, self.origin)
        network.start = self.start.copy()
        return network


def read_training_checkpoint(path: Path) -> TrainingCheckpoint:
    """Read a checkpoint of the published training code; the optimizer state, epoch and paths in it are not used.

    Raises
    ------
    WeightsError
        If the file is damaged, contains objects that could run code, or is no checkpoint of SPA or AESPA.
    """
    import torch

    with torch.serialization.safe_globals(_numpy_kinds()):
        data = read_checkpoint(path)
    if not isinstance(data, Mapping) or not isinstance(data.get("state_dict"), Mapping) or "EM_weights" not in data:
        got = sorted(map(str, data))[:5] if isinstance(data, Mapping) else type(data).__name__
        raise WeightsError(
            f"{path} is no checkpoint of SPA or AESPA: expected a dict with 'state_dict' and 'EM_weights', got {got}. "
            "Plain SAM or MedSAM weights can only start a training (rclicks train, option --init-weights)."
        )
    state = {str(name): tensor for name, tensor in data["state_dict"].items()}
    for name in list(state):
        renamed = name.replace(".attn.rel_pos_", ".attn.rel_")  # some files keep SAM's names
        if renamed not in state:
            state[renamed] = state.pop(name)
    table, first = (tuple(getattr(state.get(key), "shape", ())) for key in (_TABLE, _FIRST))
    # The bounds prevent a malicious file from allocating all memory.
    if len(table) != 2 or table[0] % 2 == 0 or table[0] > _LONGEST or len(first) != 2 or first[1] > _MOST:
        raise WeightsError(
            f"{path}: {_TABLE} has shape {table} and {_FIRST} {first}; expected (2 g - 1, 64) for a grid "
            f"of g x g, g <= 64, and (64, K) for K <= {_MOST} components. Check that the file is a checkpoint of "
            "SPA or AESPA with SAM's image encoder"
        )
    start = _start(data["EM_weights"], int(first[1]), path)
    return TrainingCheckpoint(state, start, int(table[0]), _encoder(state, int(table[1]), path), str(path))


def remap(state: Mapping[str, Tensor], size: int) -> dict[str, Tensor]:
    """Return SAM or MedSAM ViT-B weights under the names and sizes of `MixtureSam`.

    Parameters
    ----------
    state : mapping of str -> tensor
        The 314 tensors of SAM ViT-B, for any input size.
    size : int
        Side of the network's input in pixels. The tables of the 4 global blocks are interpolated linearly to its grid.

    Returns
    -------
    dict of str -> tensor
        314 tensors: all tensors of `MixtureSam` except those of the combiner and of the two mixture networks.

    Raises
    ------
    WeightsError
        If a tensor is missing, unknown or of another shape. No tensor is dropped.
    """
    import torch
    import torch.nn.functional as F  # noqa: N812

    from .network import MixtureSam

    with torch.device("meta"):
        ours = MixtureSam(size).state_dict()
    wanted = {_sam_name(key): (key, value.shape) for key, value in ours.items() if not key.startswith(_NEW)}
    missing = [k for k in wanted if k not in state]
    unexpected = [k for k in state if k not in wanted]
    found: dict[str, Tensor] = {}
    misshapen: list[str] = []
    for name, tensor in state.items():
        if name not in wanted:
            continue
        key, shape = wanted[name]
        if _is_global_table(key) and tensor.ndim == 2 and tensor.shape[1] == shape[1] and len(tensor) != shape[0]:
            tensor = F.interpolate(tensor.T[None], shape[0], mode="linear", align_corners=False)[0].T
        if tensor.shape != shape:
            misshapen.append(f"{name} {tuple(tensor.shape)}, not {tuple(shape)}")
        found[key] = tensor
    if missing or unexpected or misshapen:
        raise WeightsError(
            f"these are not the weights of SAM ViT-B: {len(missing)} of {len(wanted)} tensors missing {missing[:3]}, "
            f"{len(unexpected)} unexpected {unexpected[:3]}, {len(misshapen)} of another shape {misshapen[:3]}"
        )
    return found


def initialise(network: MixtureSam, state: Mapping[str, Tensor], *, decoder_mlps: bool = True) -> None:
    """Load SAM or MedSAM weights for the start of a training; parts that SAM does not have keep their random values.

    Parameters
    ----------
    network : MixtureSam
        Network that is changed in place.
    state : mapping of str -> tensor
        Weights as for `remap`.
    decoder_mlps : bool
        False leaves the 8 tensors of the mask decoder's MLPs random as well, as the published code does.

    Raises
    ------
    WeightsError
        As `remap`.
    """
    found = remap(state, network.size)
    if not decoder_mlps:
        found = {key: v for key, v in found.items() if not (key.startswith(_DECODER) and ".mlp." in key)}
    load_into(network, {**network.state_dict(), **found}, "the start of the training")


def _sam_name(key: str) -> str:
    """Return SAM's name of a tensor of the network."""
    for sam, ours in _RENAMED:
        key = key.replace(ours, sam)
    return key


def _is_global_table(key: str) -> bool:
    """Return whether a tensor is a relative-position table of a global block; its length depends on the input size."""
    return key.startswith(tuple(f"{_BLOCKS}{i}.attn.rel_" for i in VIT_B.global_blocks))


def _encoder(state: Mapping[str, Any], head: int, path: Path) -> EncoderDesign:
    """Return the encoder's size from the shape of its positions, the width of a head and the names of its blocks."""
    positions = tuple(getattr(state.get(_POSITIONS), "shape", ()))
    blocks = {name.removeprefix(_BLOCKS).partition(".")[0] for name in state if name.startswith(_BLOCKS)}
    width = int(positions[-1]) if positions else 0
    if not 1 <= head <= width or width % head:
        raise WeightsError(
            f"{path}: {_POSITIONS} has shape {positions} and the attention heads have {head} numbers; expected the "
            "shape (1, 64, 64, width) with a width that is a multiple of the head's. Check that the file is a "
            "checkpoint of SPA or AESPA with SAM's image encoder"
        )
    try:
        return EncoderDesign(width, len(blocks), width // head)
    except ProtocolError as error:
        raise WeightsError(f"{path}: {error}") from error


def _start(value: object, components: int, path: Path) -> NDArray[np.float64]:
    """Return the checked start weights of a checkpoint."""
    fits = isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.shape == (components,)
    if not (fits and isinstance(value, np.ndarray) and np.isfinite(value).all() and value.min() >= 0 and value.any()):
        raise WeightsError(f"{path}: 'EM_weights' is {str(value)[:80]}; expected {components} mixture weights")
    start = value.astype(np.float64)
    return start / start.sum()


def _numpy_kinds() -> list[Any]:
    """Return the functions and types needed to unpickle arrays of numbers, with their names in NumPy 1 and 2."""
    functions = [
        (value.__reduce__()[0], f"numpy.{module}.multiarray.{name}")
        for module in ("_core", "core")
        for value, name in ((np.zeros(1), "_reconstruct"), (np.float64(0), "scalar"))
    ]
    kinds = [type(np.dtype(kind)) for kind in ("float64", "float32", "int64")]
    return [*functions, np.ndarray, np.dtype, *kinds]
