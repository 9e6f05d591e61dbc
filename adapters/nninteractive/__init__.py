"""nnInteractive (Isensee et al. 2025): promptable 3-D segmentation through the package of its authors.

The package ``nninteractive`` is Apache-2.0. Its published weights are CC BY-NC-SA 4.0 (not for commercial use) and are
not part of rclicks. The model ``nninteractive`` runs a session in this process and reads a model folder. The model
``nninteractive-remote`` uses a running ``nninteractive-server``. The coordinates of prompts are voxel indices of the
array; spacing and orientation are not used, and nothing is resampled.

Options of both models:

* ``autozoom``: predict on a larger region if the object seems to leave the patch.
* ``box``: treatment of a box with no flat axis. "middle-slice" sends the middle slice along the first axis, as the
  challenge entry of the authors does. "whole" sends the 3-D box, if the checkpoint declares that it takes 3-D boxes.
  "refuse" raises an error.

Options of the local model:

* ``interactions_storage``: "blosc2" (little memory), "tensor" (16 bytes for each voxel) or "auto". It does not change
  the masks.
* ``threads``: number of torch threads during predictions; 0 does not change the number.
* ``seed``: seed of NumPy's global generator, from which the refinement may draw. It is set before every prompt, and the
  old state is restored afterwards.
* ``trust``: load a checkpoint that contains Python objects other than tensors and plain values; they may run code.

Options of the remote model:

* ``server``: URL of the server.
* ``key_variable``: name of the environment variable that contains the key of the server.
* ``timeout``: longest time to wait for an answer, in seconds.

The published network cannot be trained here. ``rclicks train nninteractive`` trains a small network of the same kind
and writes a model folder that the session can load.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rclicks.cards import Checkpoint, ModelCard
from rclicks.errors import ProtocolError, WeightsError
from rclicks.options import AnyValue, Choice, Number, Numbers, Option, Text, read_options
from rclicks.protocol import Protocol

if TYPE_CHECKING:
    from torch import nn

    from rclicks.training.contract import TrainingData, TrainingSettings
    from rclicks.training.loop import Progress, Result

    from .model import NnInteractive

CARDS = (
    ModelCard(
        name="nninteractive",
        family="nninteractive",
        variant="resenc-l",
        summary="nnInteractive v1.0: 3-D session of points, boxes, scribbles and lassos",
        source="MIC-DKFZ/nnInteractive",
        licence="CC BY-NC-SA 4.0 (weights), Apache-2.0 (code)",
        citation="Isensee et al.: nnInteractive: redefining 3D promptable segmentation, arXiv:2503.08373, 2025",
        dims=3,
        prompts=("click", "box", "scribble", "lasso"),
        probabilities=False,
        stateful=True,
        parameters=102355818,
        checkpoint=Checkpoint(
            file="nnInteractive_v1.0",
            url="the model hub's repository MIC-DKFZ/nnInteractive; `nninteractive-download-model` fetches it",
        ),
        trainable=True,
        extra="nninteractive",
    ),
    ModelCard(
        name="nninteractive-remote",
        family="nninteractive",
        summary="nnInteractive on a running nninteractive-server, with the weights that it serves",
        source="MIC-DKFZ/nnInteractive",
        licence="CC BY-NC-SA 4.0 (weights), Apache-2.0 (code)",
        citation="Isensee et al.: nnInteractive: redefining 3D promptable segmentation, arXiv:2503.08373, 2025",
        dims=3,
        prompts=("click", "box", "scribble", "lasso"),
        probabilities=False,
        stateful=True,
        extra="nninteractive",
        needs=("server",),
    ),
)

KEY_VARIABLE = "NN_INTERACTIVE_API_KEY"  # the variable that the package reads
WEIGHTS = "checkpoint_final.pth"
CAPABILITIES = ("inference_info.json", "inference_session_class.json")
_BOTH: dict[str, Number | Choice] = {
    "autozoom": Choice(True, (True, False)),
    "box": Choice("middle-slice", ("middle-slice", "whole", "refuse")),
}
LOCAL_OPTIONS: Mapping[str, Number | Choice] = _BOTH | {
    "interactions_storage": Choice("blosc2", ("blosc2", "tensor", "auto")),
    "threads": Number(0, 0, 1024, whole=True),
    "seed": Number(0, 0, 2**32 - 1, whole=True),
    "trust": Choice(False, (True, False)),
}
REMOTE_OPTIONS: Mapping[str, Number | Choice] = _BOTH | {"timeout": Number(600, 1, 1e5)}
STEPS, EPOCH_STEPS, BATCH_SIZE, LR = 600, 50, 2, 4e-3


def build_network(variant: str) -> nn.Module:
    """Return the untrained network of the published weights, the residual-encoder U-Net "resenc-l".

    It has eight input channels: the image, the previous mask, and two channels (positive, negative) each for boxes and
    lassos, for points and for scribbles. It has two output channels. A session does not use this function; it builds
    its network from the plans in the model folder.

    Raises
    ------
    ProtocolError
        If there is no such variant.
    PluginError
        If the package is not installed.
    """
    if variant != "resenc-l":
        raise ProtocolError(f"unknown nnInteractive variant {variant!r}; allowed: resenc-l")
    from .network import build_resenc_l

    return build_resenc_l()


def checkpoint_path(card: ModelCard, checkpoint: str | Path | None) -> Path:
    """Return the model folder: `checkpoint`, or if it is None the folder with the card's name in a default place.

    The default places are ``NNINTERACTIVE_MODEL_DIR`` (default ``~/.nninteractive``), its sub-folder ``models``, to
    which the package downloads, and the checkpoint folder of the configuration file of rclicks.

    Raises
    ------
    WeightsError
        If there is no such folder, or it is not a model folder. The message says what is missing and where the weights
        are published.
    """
    from rclicks.config import load_config

    file = card.checkpoint.file if card.checkpoint else "nnInteractive_v1.0"
    hint = (
        f"The weights are published as {file} of MIC-DKFZ/nnInteractive (CC BY-NC-SA 4.0); fetch them with "
        "`nninteractive-download-model`, then pass checkpoint=FOLDER or set NNINTERACTIVE_MODEL_DIR."
    )
    if checkpoint is not None:
        folder = Path(checkpoint).expanduser()
        if not folder.exists():
            raise WeightsError(f"checkpoint {folder} of {card.name} does not exist. {hint}")
        return _checked_folder(folder, card)
    root = Path(os.environ.get("NNINTERACTIVE_MODEL_DIR") or "~/.nninteractive").expanduser()
    places = [root, root / file, root / "models" / file]
    if (configured := load_config().checkpoint_folder()) is not None:
        places.append(configured / file)
    for folder in places:
        if (folder / "plans.json").is_file():
            return _checked_folder(folder, card)
    raise WeightsError(f"no model folder for {card.name} at {', '.join(map(str, places))}. {hint}")


def _checked_folder(folder: Path, card: ModelCard) -> Path:
    found = [file for file in CAPABILITIES if (folder / file).is_file()]
    missing = [file for file in ("dataset.json", "plans.json") if not (folder / file).is_file()]
    missing += [] if found else [" or ".join(CAPABILITIES)]
    folds = sorted(fold.name for fold in folder.glob("fold_*") if fold.is_dir())
    if len(folds) == 1 and not (folder / folds[0] / WEIGHTS).is_file():
        missing.append(f"{folds[0]}/{WEIGHTS}")
    if missing or len(folds) != 1:
        raise WeightsError(
            f"{folder} is not a model folder of {card.name}: missing files: {', '.join(missing) or 'none'}; found "
            f"{len(folds)} folders fold_* (expected exactly one, with {WEIGHTS} in it)"
        )
    return folder


def checkpoint_identity(path: Path, card: ModelCard) -> str:
    """Return "<folder>@<first 12 hex digits>" of a SHA-256 over all files of the folder that influence results.

    These files are the plans, the data set file, the capability files and the weights. Their names and contents count.

    Raises
    ------
    WeightsError
        If `path` is not a model folder.
    """
    folder = _checked_folder(Path(path), card).resolve()
    names = ["dataset.json", "plans.json", *CAPABILITIES]
    files = [folder / name for name in names if (folder / name).is_file()]
    files += [fold / WEIGHTS for fold in folder.glob("fold_*")]
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            content = hashlib.file_digest(opened, "sha256").hexdigest()
        digest.update(f"{file.relative_to(folder).as_posix()} {content}\n".encode())
    return f"{folder.name}@{digest.hexdigest()[:12]}"


def load_options(card: ModelCard, protocol: Protocol) -> Mapping[str, Option]:
    """Return the options of `load`."""
    if card.name != "nninteractive-remote":
        return LOCAL_OPTIONS
    return {**REMOTE_OPTIONS, "server": AnyValue(), "key_variable": AnyValue(KEY_VARIABLE)}


def load(
    card: ModelCard,
    *,
    checkpoint: str | Path | None = None,
    device: str = "cpu",
    protocol: Protocol | None = None,
    **options: Any,
) -> NnInteractive:
    """Open a session. No rule of the protocol concerns this model.

    For the remote model, `checkpoint` is the model folder that the server serves. It is only hashed for the records.

    Raises
    ------
    WeightsError
        If the model folder is missing, contains objects that could run code, or does not fit the package. Synthetic
        weights are refused.
    ProtocolError
        If an option is unknown or not allowed, or the server refuses the key.
    PluginError
        If the package is not installed or the server does not answer.
    """
    from rclicks.models.weights import SYNTHETIC

    if card.name == "nninteractive-remote":
        return _load_remote(card, checkpoint, options)
    chosen = read_options(card.name, LOCAL_OPTIONS, options)
    if checkpoint == SYNTHETIC:
        raise WeightsError(
            f"{card.name} has no synthetic weights: an untrained network predicts objects everywhere, so that one "
            "prompt takes minutes. Pass a model folder with checkpoint=FOLDER"
        )
    folder = checkpoint_path(card, checkpoint)
    from .model import NnInteractive
    from .session import LocalSession

    session = LocalSession(folder, device, chosen)
    return NnInteractive(card, device, checkpoint_identity(folder, card), chosen, session)


def _load_remote(card: ModelCard, checkpoint: str | Path | None, options: dict[str, Any]) -> NnInteractive:
    server, variable = options.pop("server", None), options.pop("key_variable", KEY_VARIABLE)
    chosen = read_options(card.name, REMOTE_OPTIONS, options)
    if not isinstance(server, str) or urlsplit(server).scheme not in ("http", "https") or "@" in server:
        raise ProtocolError(
            f"model {card.name} needs the option `server`, the URL of a running nninteractive-server without user or "
            "password, for example server=http://127.0.0.1:1527"
        )
    if not isinstance(variable, str) or not variable.isidentifier():
        raise ProtocolError(  # without the value, which may be a key
            f"model {card.name}: option `key_variable` must be the name of an environment variable that contains the "
            "key, not the key itself"
        )
    if variable != KEY_VARIABLE and not os.environ.get(variable):
        raise ProtocolError(f"model {card.name}: the environment variable {variable} (key_variable) is not set")
    identity = "none" if checkpoint is None else checkpoint_identity(checkpoint_path(card, checkpoint), card)
    from .model import NnInteractive
    from .remote import RemoteSession

    session = RemoteSession(server, variable, chosen)
    return NnInteractive(card, "cpu", identity, chosen | {"server": server, "key_variable": variable}, session)


def training_options(card: ModelCard, protocol: Protocol) -> Mapping[str, Option]:
    """Return the options for training a small network."""
    return {
        "steps": Number(
            None,
            1,
            10**8,
            whole=True,
            help=f"training steps, a multiple of the {EPOCH_STEPS} steps of an epoch ({STEPS} if not given)",
        ),
        "patch": Number(64, 49, 1024, whole=True, help="edge of the session's patch in voxels"),
        "features": Numbers((8, 16, 32, 48), 1, 4096, 2, 8, help="channels of each stage, the finest stage first"),
        "licence": Text("", help="licence of the weights, written to the model folder; the data's licence limits it"),
    }


def train(
    card: ModelCard,
    data: TrainingData,
    out: Path,
    *,
    settings: TrainingSettings,
    protocol: Protocol,
    start: Path | None,
    report: Callable[[Progress], None],
    **options: Any,
) -> Result:
    """Train a small network and write it as the model folder `out`, which `load` takes as its checkpoint.

    Raises
    ------
    DataError, ProtocolError, WeightsError
        As `rclicks.adapters.nninteractive.training.train_volume`; also `ProtocolError` under the protocol ``compat``.
    """
    from rclicks.training.contract import refuse_compat
    from rclicks.training.cpu import cpu_settings

    from .folder import Design
    from .training import Recipe, read_objects, train_volume

    refuse_compat(card, protocol)
    epochs, steps = settings.epochs_of_steps(options["steps"], default=STEPS, epoch_steps=EPOCH_STEPS)
    features = options["features"]
    strides = (1,) + (2,) * (len(features) - 1)
    design = Design(features=features, strides=strides, patch=(options["patch"],) * 3)
    recipe = Recipe(design=design, lr=settings.lr_or(LR))
    with cpu_settings(settings.threads or 1):
        result = train_volume(
            read_objects(data.train_samples()),
            read_objects(data.validation_samples()),
            recipe,
            settings.for_loop(epochs=epochs, batch_size=BATCH_SIZE),
            out,
            steps=steps,
            licence=options["licence"],
            resume=settings.resume,
            report=report,
        )
    return replace(result, best=out)
