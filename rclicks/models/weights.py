"""Functions that find, check and read checkpoints, and make synthetic weights for tests. Nothing is unpickled.

The argument ``checkpoint`` means the same everywhere: None searches the checkpoint folder for the file of the card, a
path names a file, and ``"synthetic"`` selects weights that are a pure function of their names. Synthetic weights are
for tests and timing. Records store the word, and tables note that such rows are not results.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rclicks.cards import ClickModelCard, ModelCard
from rclicks.config import load_config
from rclicks.errors import MissingWeightsError, WeightsError

if TYPE_CHECKING:
    import torch

__all__ = ["SYNTHETIC", "fill", "find_checkpoint", "load_into", "read_checkpoint", "synthetic_state"]

SYNTHETIC = "synthetic"

Weighted = ModelCard | ClickModelCard


def find_checkpoint(card: Weighted, checkpoint: str | Path | None = None) -> Path:
    """Return the path of the file with the weights of `card`.

    Raises
    ------
    MissingWeightsError
        If there is no such file. The message says which file was searched, where, and where it is published.
    WeightsError
        If there are several such files, or the card has no weights.
    """
    if card.checkpoint is None:
        raise WeightsError(f"{card.name} has no weights, but checkpoint={str(checkpoint)!r} was given; leave it out")
    facts = card.checkpoint
    where = f" It is published as {facts.url or facts.file} ({card.source})."
    if checkpoint is not None:
        path = Path(checkpoint).expanduser()
        if not path.is_file():
            raise MissingWeightsError(f"checkpoint {path} of {card.name} does not exist.{where}")
        return path
    folder = load_config().checkpoint_folder()
    if folder is None:
        raise MissingWeightsError(
            f"no weights for {card.name}: no checkpoint folder is set. Put {facts.file} into a folder and set this "
            f"folder in RCLICKS_CHECKPOINTS or as `checkpoints:` in rclicks.yaml, or pass checkpoint=PATH.{where}"
        )
    found = sorted(folder.rglob(facts.file)) if folder.is_dir() else []
    if len(found) != 1:
        what, kind = (", ".join(map(str, found)), WeightsError) if found else ("none", MissingWeightsError)
        raise kind(
            f"expected one file {facts.file} for {card.name} in {folder} or its subfolders, found {what}.{where}"
        )
    return found[0]


def checkpoint_id(path: Path, card: Weighted) -> str:
    """Return "<file>@<first 12 hexadecimal digits of the SHA-256>" of a checkpoint file.

    Raises
    ------
    WeightsError
        If the file has the published name but not the SHA-256 of the card.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    value = digest.hexdigest()
    facts = card.checkpoint
    if facts and facts.sha256 and path.name == facts.file and not value.startswith(facts.sha256):
        raise WeightsError(
            f"{path} is not the published {facts.file}: its SHA-256 is {value[:12]}..., expected "
            f"{facts.sha256[:12]}... Download it again, or rename it if it is your own."
        )
    return f"{path.name}@{value[:12]}"


def read_checkpoint(path: Path) -> Any:
    """Read a torch file that contains only tensors and plain Python values.

    Raises
    ------
    WeightsError
        If the file is damaged, or contains objects that would run code when loaded.
    """
    import pickle

    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "global" not in str(error).lower():
            raise WeightsError(f"{path} is damaged or not a torch checkpoint: {error}") from error
        raise WeightsError(
            f"{path} contains Python objects other than tensors and plain values, which could run code when loaded; "
            f"it was not loaded ({error})"
        ) from error
    except Exception as error:
        raise WeightsError(f"{path} is damaged or not a torch checkpoint: {error}") from error


def load_into(network: torch.nn.Module, state: Mapping[str, Any], origin: str) -> None:
    """Load a state_dict into `network`; all keys and shapes must match.

    Raises
    ------
    WeightsError
        If a key is missing or unexpected, or a tensor has another shape. `origin` names the source in the message.
    """
    own = network.state_dict()
    missing = [k for k in own if k not in state]
    unexpected = [k for k in state if k not in own]
    misshapen = [k for k in own if k in state and tuple(own[k].shape) != tuple(getattr(state[k], "shape", ()))]
    if missing or unexpected or misshapen:
        raise WeightsError(
            f"{origin} does not fit {type(network).__name__}: {len(missing)} keys missing {missing[:3]}, "
            f"{len(unexpected)} unexpected {unexpected[:3]}, {len(misshapen)} of another shape {misshapen[:3]}"
        )
    network.load_state_dict(dict(state))


def fill(network: torch.nn.Module, card: Weighted, checkpoint: str | Path | None, *, wrapper: str = "") -> str:
    """Load the weights that `checkpoint` selects into `network`, and return their identity (see `checkpoint_id`).

    Parameters
    ----------
    network : torch.nn.Module
        Network that receives the weights.
    card : ModelCard or ClickModelCard
        Card that names the published file.
    checkpoint : path, "synthetic" or None
        Weights to load; see the top of this module.
    wrapper : str
        Key of the state_dict in files that contain more than it; "" for a plain state_dict.

    Raises
    ------
    WeightsError
        If the file is missing, unsafe, or does not fit.
    """
    if checkpoint == SYNTHETIC:
        network.load_state_dict(synthetic_state(network))
        return SYNTHETIC
    path = find_checkpoint(card, checkpoint)
    identity = checkpoint_id(path, card)
    state = read_checkpoint(path)
    if wrapper and isinstance(state, Mapping) and wrapper in state:
        state = state[wrapper]
    if not isinstance(state, Mapping):
        raise WeightsError(f"{path} contains a {type(state).__name__}; expected a state_dict of {card.name}")
    load_into(network, state, str(path))
    return identity


def synthetic_state(
    network: torch.nn.Module,
    *,
    bn_calibration: Mapping[str, tuple[float, float]] | None = None,
    multipliers: Mapping[str, float] | None = None,
    overrides: Mapping[str, Any] | None = None,
    keep: tuple[str, ...] = (),
) -> dict[str, torch.Tensor]:
    """Return a state_dict of weights that are a pure function of key and shape.

    Every floating-point entry is drawn from ``default_rng(crc32(key))``.

    Parameters
    ----------
    network : torch.nn.Module
        Network whose keys and shapes are used.
    bn_calibration : mapping or None
        Mean and variance of the input of batch-norm modules, by module name; (0, 1) if not given.
    multipliers : mapping or None
        Factors of single keys.
    overrides : mapping or None
        Values that replace those of single keys.
    keep : tuple of str
        Keys that keep the values of `network`.
    """
    import torch

    calibration = bn_calibration or {}
    state: dict[str, torch.Tensor] = {}
    for key, tensor in network.state_dict().items():
        if not tensor.is_floating_point() or key in keep:
            state[key] = tensor
            continue
        mean, variance = calibration.get(key.rpartition(".")[0], (0.0, 1.0))
        array = _synthetic_array(key, tuple(tensor.shape), mean, variance).astype(np.float32)
        if multipliers and key in multipliers:
            array = array * np.float32(multipliers[key])
        if overrides and key in overrides:
            array = np.asarray(overrides[key], np.float32).reshape(tensor.shape)
        state[key] = torch.from_numpy(np.ascontiguousarray(array)).reshape(tensor.shape)
    return state


def _synthetic_array(key: str, shape: tuple[int, ...], mean: float, variance: float) -> np.ndarray:
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    last = key.rpartition(".")[2]
    if key.endswith("running_var"):
        return np.asarray(variance * (1 + 0.1 * rng.random(shape)))
    if key.endswith("running_mean"):
        return np.asarray(mean + np.sqrt(variance) * 0.05 * rng.standard_normal(shape))
    if last == "bases":
        bases = rng.random(shape)
        return np.asarray(bases / np.linalg.norm(bases, axis=1, keepdims=True))
    if any(word in key for word in ("pos_embed", "rel_pos", "relative_position_bias", "attention_biases")):
        return np.asarray(0.2 * rng.standard_normal(shape))
    if len(shape) <= 1 and "scale" in last:
        return np.asarray(0.5 + 0.1 * rng.random(shape))
    if len(shape) <= 1 and key.endswith("weight"):
        return np.asarray(1 + 0.05 * rng.standard_normal(shape))
    if len(shape) <= 1:
        return np.asarray(0.02 * rng.standard_normal(shape))
    return np.asarray(rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:])))
