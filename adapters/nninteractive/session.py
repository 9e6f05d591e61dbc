"""Sessions of the package ``nninteractive``, local or remote, tamed: what they take is asked, not assumed.

A session prints, sets torch's threads for the whole process, may draw from NumPy's global generator and raises whatever
its libraries raise. `LocalSession`, and `RemoteSession` in `.remote`, offer the same few verbs and leave the process as
they found it.
Arguments that a version lacks are dropped (1.x: storage, undo, drawings as crops); 1.1.5 and 2.6.0 were tried.
"""

from __future__ import annotations

import inspect
import io
import os
import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stdout
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rclicks.errors import DataError, PluginError, ProtocolError, WeightsError
from rclicks.interaction import Box, Click, Interaction
from rclicks.models.devices import translate_memory_errors

INSTALL = "nninteractive needs a missing package: pip install 'rclicks[nninteractive]'"


class ServerError(PluginError):
    """A server does not answer, is full, or answers nonsense."""


class LostSessionError(ServerError):
    """The server no longer knows the session: it was idle for too long, or the server was started anew."""


def accepted(function: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of `arguments` that the signature of `function` has."""
    parameters = inspect.signature(function).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return dict(arguments)
    return {name: value for name, value in arguments.items() if name in parameters}


def package_version() -> str:
    """Return the version of the installed package, "" if there is none."""
    try:
        return version("nninteractive")
    except PackageNotFoundError:
        return ""


class Session:
    """One session: an image, the prompts so far and the mask, all held by the package.

    Attributes
    ----------
    raw : object
        The package's own session.
    facts : dict
        Licence and versions, for the records.
    """

    def __init__(self) -> None:
        with self.guard():
            self.raw: Any = self.open()
        self.facts: dict[str, Any] = {
            "licence": str(getattr(self.raw, "license", None) or "not stated"),
            "session_version": str(getattr(self.raw, "INFERENCE_SESSION_VERSION", None) or package_version()),
            "package": f"nninteractive {package_version()}".strip(),
        }
        self._buffer: NDArray[np.uint8] = np.zeros((0, 0, 0), np.uint8)

    def open(self) -> Any:
        """Return a new session of the package."""
        raise NotImplementedError

    def guard(self) -> AbstractContextManager[None]:
        """Return a context for calls of the package: silent, without traces in the process, with typed errors."""
        raise NotImplementedError

    def supports(self, what: str) -> bool:
        """Return whether the checkpoint takes "points", "bbox2d", "bbox3d", "scribble" or "lasso"; 1.x takes all."""
        return bool(getattr(self.raw, "supported_interactions", {}).get(what, True))

    @property
    def supports_mask(self) -> bool:
        """Whether a mask can be given to start from."""
        return bool(getattr(self.raw, "supports_initial_label", True))

    @property
    def supports_refining(self) -> bool:
        """Whether a given mask can be refined without a prompt."""
        return bool(getattr(self.raw, "supports_zero_shot_label_refinement", True))

    @property
    def supports_undo(self) -> bool:
        """Whether the last prompt can be taken back, exactly."""
        return bool(getattr(self.raw, "supports_undo", False))

    @property
    def smallest_edge(self) -> int:
        """Edge of the network's patch, or 0 if it is large enough for everything (or not known)."""
        manager = getattr(self.raw, "configuration_manager", None)
        edge = min(manager.patch_size) if manager is not None else 0
        margin = 10 if self.facts["session_version"].startswith("1.") else 24  # of refinement boxes, on every side
        return edge if edge <= 2 * margin else 0

    @property
    def patch(self) -> tuple[int, ...]:
        """Size of the network's patch in voxels."""
        return tuple(self.raw.configuration_manager.patch_size)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """A copy of the present mask."""
        return self._buffer != 0

    def show(self, image: NDArray[np.generic]) -> None:
        """Set a (Z, H, W) image, forget all prompts, and wait until it is preprocessed.

        Raises
        ------
        DataError
            If the package refuses the image.
        """
        self._buffer = np.zeros(image.shape, np.uint8)
        for queue in ("new_interaction_centers", "new_interaction_zoom_out_factors"):
            if hasattr(self.raw, queue):  # a call that failed may have left something in it
                setattr(self.raw, queue, [])
        plain = np.asarray(image)  # some versions normalise a memory map in place, but copy plain arrays
        with self.guard():
            self.raw.set_image(plain[None])
            self.raw.set_target_buffer(self._buffer)
            wait = getattr(self.raw, "_finish_preprocessing_and_initialize_interactions", None)
            try:
                if wait is not None:
                    wait()
            except ValueError as error:
                self.raw.preprocess_future = None  # else it is raised again when the session is destroyed
                raise DataError(f"nnInteractive refuses the volume of shape {image.shape}: {error}") from error

    def reset(self) -> None:
        """Forget all prompts, keep the image."""
        with self.guard():
            self.raw.reset_interactions()

    def start(self, mask: NDArray[np.bool_], refine: bool) -> None:
        """Forget all prompts and start from `mask`, which is refined as a whole if `refine`."""
        with self.guard():
            self.raw.add_initial_seg_interaction(mask.astype(np.uint8), run_prediction=refine)

    def add(self, interaction: Interaction) -> None:
        """Add one prompt and predict; it was checked, and a box has a flat axis or may be sent whole."""
        sign = {"include_interaction": interaction.positive, "run_prediction": True}
        with self.guard():
            if isinstance(interaction, Click):
                self.raw.add_point_interaction([int(c) for c in interaction.point], **sign)
                return
            window = [[int(a), int(b) + 1] for a, b in zip(interaction.low, interaction.high, strict=True)]
            if isinstance(interaction, Box):
                self.raw.add_bbox_interaction(window, **sign)
                return
            method = getattr(self.raw, f"add_{interaction.kind}_interaction")
            crop = interaction.mask.astype(np.uint8)
            if accepted(method, {"interaction_bbox": None}):
                method(crop, interaction_bbox=window, **sign)
            else:
                whole = np.zeros(self._buffer.shape, np.uint8)
                whole[interaction.window] = crop
                method(whole, **sign)

    def undo(self) -> bool:
        """Take the last prompt and its prediction back; False if there was nothing to take back."""
        with self.guard():
            return bool(self.raw.undo())

    def reopen(self) -> None:
        """Replace a lost session by a new one, which knows no image."""
        with self.guard():
            self.raw = self.open()


class LocalSession(Session):
    """A session in this process.

    Parameters
    ----------
    folder : Path
        Model folder.
    device : str
    options : dict
        `autozoom`, `interactions_storage`, `threads`, `seed`, `trust`.

    Raises
    ------
    WeightsError
        If the folder's weights are unsafe or do not fit.
    ProtocolError
        If the network's patch is too small for AutoZoom.
    """

    def __init__(self, folder: Path, device: str, options: Mapping[str, Any]) -> None:
        self._folder, self._device, self._options = folder, device, options
        super().__init__()
        if not hasattr(self.raw, "interactions_storage"):  # before 2.3.3
            self.facts["interactions_storage"] = "the package's own"
        if options["autozoom"] and self.smallest_edge:
            raise ProtocolError(
                f"the network of {folder} sees patches of {self.smallest_edge} voxels, too small for the refinement "
                "that follows AutoZoom; pass autozoom=false"
            )

    def open(self) -> Any:
        """Build the package's session and load the model folder."""
        try:
            import torch
            from nnInteractive.inference.inference_session import nnInteractiveInferenceSession
        except ImportError as error:
            raise PluginError(INSTALL) from error
        arguments = {
            "device": torch.device(self._device),
            "use_torch_compile": False,
            "verbose": False,
            "torch_n_threads": self._options["threads"] or torch.get_num_threads(),
            "do_autozoom": self._options["autozoom"],
            "interactions_storage": self._options["interactions_storage"],
            "enable_undo": True,
            "use_pinned_memory": False,
        }
        session = nnInteractiveInferenceSession(**accepted(nnInteractiveInferenceSession, arguments))
        try:
            with nullcontext() if self._options["trust"] else _plain_values_only():
                self._fill(session)
        except pickle.UnpicklingError as error:
            raise WeightsError(
                f"the checkpoint of {self._folder} is damaged or holds Python objects other than tensors and plain "
                f"values, which could run code when loaded; it was not opened ({error}). If you trust whoever made it, "
                "pass the option trust=true"
            ) from error
        except (RuntimeError, ValueError, KeyError, AssertionError, OSError, EOFError) as error:
            raise WeightsError(
                f"{self._folder} cannot be loaded by nninteractive {package_version()}: {type(error).__name__}: {error}"
            ) from error
        return session

    def _fill(self, session: Any) -> None:
        try:
            session.initialize_from_trained_model_folder(str(self._folder))
        except RuntimeError as error:
            if "torchvision::" not in str(error):
                raise
            # A trainer that the package does not know is searched for in all of nnU-Net, part of which imports a
            # torchvision that may not fit torch.
            from rclicks.models.torchvision_shim import import_torchvision

            import_torchvision()
            session.initialize_from_trained_model_folder(str(self._folder))

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Predict with own threads and a seeded generator, silently; put everything back."""
        try:
            import torch
        except ImportError as error:
            raise PluginError(INSTALL) from error
        threads, benchmark = torch.get_num_threads(), torch.backends.cudnn.benchmark
        generator = np.random.get_state()  # noqa: NPY002 - the package draws from the global one
        try:
            np.random.seed(self._options["seed"])  # noqa: NPY002
            if self._options["threads"]:
                torch.set_num_threads(self._options["threads"])
            with redirect_stdout(io.StringIO()), translate_memory_errors():
                yield
        finally:
            np.random.set_state(generator)  # noqa: NPY002
            torch.set_num_threads(threads)
            torch.backends.cudnn.benchmark = benchmark  # a choice by timing would make results depend on the moment


@contextmanager
def _plain_values_only() -> Iterator[None]:
    """Make every `torch.load` of the package safe: it asks for whole pickles, which could run code."""
    import torch

    scalar = np._core.multiarray.scalar if hasattr(np, "_core") else np.core.multiarray.scalar
    kinds = [type(np.dtype(kind)) for kind in ("float64", "float32", "int64", "int32", "bool")]
    known = [(scalar, f"numpy.{room}.multiarray.scalar") for room in ("_core", "core")]  # in logs of trainings
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"  # stronger than the argument that the package passes
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        with torch.serialization.safe_globals([*known, np.dtype, *kinds]):
            yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
