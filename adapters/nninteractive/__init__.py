"""nnInteractive (Isensee et al. 2025): promptable 3-D segmentation through its authors' own package.

The package ``nninteractive`` is Apache-2.0; its published weights are CC BY-NC-SA 4.0 (not for commercial use) and are
never shipped here. ``nninteractive`` runs a session in this process and reads a model folder; ``nninteractive-remote``
speaks to a running ``nninteractive-server``. Prompts are voxels of the array as it is: there is no spacing, no
orientation and no resampling in it.

Options of both:

* ``autozoom``: look at a larger surrounding when the object seems to leave the patch.
* ``box``: what becomes of a box with no flat axis. "middle-slice" sends its middle slice along the first axis, as the
  authors' own challenge entry does; "whole" sends it as it is, to checkpoints that declare it; "refuse".

Of the local one:

* ``interactions_storage``: "blosc2" (little memory), "tensor" (16 bytes a voxel) or "auto"; the masks are the same.
* ``threads``: torch's threads during predictions; 0 leaves them as they are.
* ``seed`` of NumPy's global generator, which refinement may draw from; set before every prompt and put back after it.
* ``trust``: load a checkpoint that holds more than tensors and plain values, which may run code.

Of the remote one: ``server`` (URL), ``key_variable`` (name of the environment variable that holds the server's key) and
``timeout`` (seconds).

The published weights cannot be trained here; ``rclicks train nninteractive`` trains a small network of the same kind
and writes a model folder that the session loads.
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
from rclicks.options import Choice, Number, Numbers, Option, Text, read_options
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

KEY_VARIABLE = "NN_INTERACTIVE_API_KEY"  # the package's own
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
    """Return the network of the published weights, untrained: "resenc-l", a residual-encoder U-Net.

    Eight input channels (the image, the previous mask, and a positive and a negative one for boxes with lassos, points
    and scribbles), two output channels. The sessions build theirs from the plans in the model folder.

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
    """Return the model folder: the one given, else the one named by the card where the package would download it.

    Looked through are ``NNINTERACTIVE_MODEL_DIR`` (default ``~/.nninteractive``), with and without the package's
    ``models`` below it, and the checkpoint folder of this computer's configuration.

    Raises
    ------
    WeightsError
        If there is no such folder, or it is not a model folder; says what is missing and where it is published.
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
    if (own := load_config().checkpoint_folder()) is not None:
        places.append(own / file)
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
            f"{folder} is not a model folder of {card.name}: missing {', '.join(missing) or 'nothing'}, "
            f"{len(folds)} folders fold_* (expected one, with {WEIGHTS} in it)"
        )
    return folder


def checkpoint_identity(path: Path, card: ModelCard) -> str:
    """Return "<folder>@<first 12 hex digits>" of a SHA-256 over the names and contents of all files that set results.

    Those are the plans, the data set and capability files and the weights; a licence or a read-me beside them is not.

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


def load(
    card: ModelCard,
    *,
    checkpoint: str | Path | None = None,
    device: str = "cpu",
    protocol: Protocol | None = None,
    **options: Any,
) -> NnInteractive:
    """Open a session; `protocol` has no rule that concerns it.

    `checkpoint` of the remote model is the folder that the server was told to serve, hashed for the records only.

    Raises
    ------
    WeightsError
        If the model folder is missing, unsafe or does not fit; there are no synthetic weights.
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
            f"{card.name} has no synthetic weights: an untrained network sees objects everywhere, so that a prompt "
            "takes minutes. Pass checkpoint=FOLDER, a model folder"
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
            f"model {card.name}: option `key_variable` is the name of an environment variable, not the key itself"
        )
    if variable != KEY_VARIABLE and not os.environ.get(variable):
        raise ProtocolError(f"model {card.name}: the environment variable {variable} (key_variable) is not set")
    identity = "none" if checkpoint is None else checkpoint_identity(checkpoint_path(card, checkpoint), card)
    from .model import NnInteractive
    from .remote import RemoteSession

    session = RemoteSession(server, variable, chosen)
    return NnInteractive(card, "cpu", identity, chosen | {"server": server, "key_variable": variable}, session)


def training_options(card: ModelCard, protocol: Protocol) -> Mapping[str, Option]:
    """Return the options of the training of a small network."""
    return {
        "steps": Number(
            None,
            1,
            10**8,
            whole=True,
            help=f"training steps, in whole epochs of {EPOCH_STEPS} ({STEPS} if not given)",
        ),
        "patch": Number(64, 49, 1024, whole=True, help="edge of the session's patch in voxels"),
        "features": Numbers((8, 16, 32, 48), 1, 4096, 2, 8, help="channels of each stage, the finest first"),
        "licence": Text("", help="licence of the weights, for the model folder; it follows that of the data"),
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
    """Train a small network and write `out` as its model folder, the checkpoint of `load`."""
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
