"""Sessions of the package ``nninteractive``, local or remote, without side effects.

A session of the package prints, sets the number of torch threads for the whole process, may draw from NumPy's global
generator and raises errors of many libraries. `LocalSession`, and `RemoteSession` in `.remote`, have the same methods,
restore the state of the process and raise the errors of rclicks.

Versions of the package differ. Arguments that a version does not have are left out (1.x has no storage, no undo and no
drawings as crops). The versions 1.1.5 and 2.6.0 were tried.
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
    """The server does not answer, has no free session, or sends an answer that cannot be read."""


class LostSessionError(ServerError):
    """The server no longer knows the session: it was idle for too long, or the server was restarted."""


def accepted(function: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of `arguments` that `function` takes."""
    parameters = inspect.signature(function).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return dict(arguments)
    return {name: value for name, value in arguments.items() if name in parameters}


def package_version() -> str:
    """Return the version of the installed package, or "" if it is not installed."""
    try:
        return version("nninteractive")
    except PackageNotFoundError:
        return ""


class Session:
    """One session. The package stores its image, its prompts so far and its mask.

    Attributes
    ----------
    raw : object
        Session object of the package.
    facts : dict
        Licence of the weights and versions of the package, for the records.
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
        """Return a context for calls of the package: no printing, process state restored, errors of rclicks."""
        raise NotImplementedError

    def supports(self, what: str) -> bool:
        """Return whether the checkpoint takes "points", "bbox2d", "bbox3d", "scribble" or "lasso"; 1.x takes all."""
        return bool(getattr(self.raw, "supported_interactions", {}).get(what, True))

    @property
    def supports_mask(self) -> bool:
        """Whether the checkpoint can start from a mask."""
        return bool(getattr(self.raw, "supports_initial_label", True))

    @property
    def supports_refining(self) -> bool:
        """Whether the checkpoint can refine a start mask without a prompt."""
        return bool(getattr(self.raw, "supports_zero_shot_label_refinement", True))

    @property
    def supports_undo(self) -> bool:
        """Whether the session can undo the last prompt exactly."""
        return bool(getattr(self.raw, "supports_undo", False))

    @property
    def smallest_edge(self) -> int:
        """Smallest edge of the network's patch in voxels if it is too small for refinement; else 0, or if not known."""
        manager = getattr(self.raw, "configuration_manager", None)
        edge = min(manager.patch_size) if manager is not None else 0
        margin = 10 if self.facts["session_version"].startswith("1.") else 24  # around a refined patch, in voxels
        return edge if edge <= 2 * margin else 0

    @property
    def patch(self) -> tuple[int, ...]:
        """Size (z, y, x) of the network's patch in voxels."""
        return tuple(self.raw.configuration_manager.patch_size)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Copy of the present mask, (Z, Y, X)."""
        return self._buffer != 0

    def show(self, image: NDArray[np.generic]) -> None:
        """Set a (Z, Y, X) image, delete all prompts, and wait until the image is preprocessed.

        Raises
        ------
        DataError
            If the package refuses the image.
        """
        self._buffer = np.zeros(image.shape, np.uint8)
        for queue in ("new_interaction_centers", "new_interaction_zoom_out_factors"):
            if hasattr(self.raw, queue):  # a failed call may have left entries in it
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
                self.raw.preprocess_future = None  # otherwise the error is raised again when the session is destroyed
                raise DataError(f"nnInteractive refuses the volume of shape {image.shape}: {error}") from error

    def reset(self) -> None:
        """Delete all prompts and keep the image."""
        with self.guard():
            self.raw.reset_interactions()

    def start(self, mask: NDArray[np.bool_], refine: bool) -> None:
        """Delete all prompts and start from `mask`, (Z, Y, X) bool; `refine` refines the whole mask at once."""
        with self.guard():
            self.raw.add_initial_seg_interaction(mask.astype(np.uint8), run_prediction=refine)

    def add(self, interaction: Interaction) -> None:
        """Add one checked prompt and predict. A box must have a flat axis, or the checkpoint must take 3-D boxes."""
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
        """Undo the last prompt and its prediction; return False if there was nothing to undo."""
        with self.guard():
            return bool(self.raw.undo())

    def reopen(self) -> None:
        """Replace a lost session by a new one, which has no image yet."""
        with self.guard():
            self.raw = self.open()


class LocalSession(Session):
    """A session in this process.

    Parameters
    ----------
    folder : Path
        Model folder.
    device : str
        Name of the torch device.
    options : dict
        Values of the options `autozoom`, `interactions_storage`, `threads`, `seed` and `trust`.

    Raises
    ------
    WeightsError
        If the weights of the folder contain objects that could run code, or do not fit the network.
    ProtocolError
        If `autozoom` is on and the patch of the network is too small for it.
    """

    def __init__(self, folder: Path, device: str, options: Mapping[str, Any]) -> None:
        self._folder, self._device, self._options = folder, device, options
        super().__init__()
        if not hasattr(self.raw, "interactions_storage"):  # versions before 2.3.3
            self.facts["interactions_storage"] = "the package's own"
        if options["autozoom"] and self.smallest_edge:
            raise ProtocolError(
                f"the network of {folder} has patches with an edge of {self.smallest_edge} voxels, which is too small "
                "for the refinement after AutoZoom; pass autozoom=false"
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
                f"the checkpoint of {self._folder} is damaged or contains Python objects other than tensors and plain "
                f"values, which could run code when loaded; it was not loaded ({error}). If you trust its source, "
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
            # If the package does not know the trainer, it searches all modules of nnU-Net for it. One of them imports
            # torchvision, which may not fit torch.
            from rclicks.models.torchvision_shim import import_torchvision

            import_torchvision()
            session.initialize_from_trained_model_folder(str(self._folder))

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Predict with the set number of threads and a seeded generator, without printing; then restore the state."""
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
            torch.backends.cudnn.benchmark = benchmark  # kernels chosen by timing would make results vary


@contextmanager
def _plain_values_only() -> Iterator[None]:
    """Make every `torch.load` of the package safe; the package itself loads complete pickles, which could run code."""
    import torch

    scalar = np._core.multiarray.scalar if hasattr(np, "_core") else np.core.multiarray.scalar
    kinds = [type(np.dtype(kind)) for kind in ("float64", "float32", "int64", "int32", "bool")]
    # Checkpoints of trainings contain NumPy scalars in their logs.
    known = [(scalar, f"numpy.{module}.multiarray.scalar") for module in ("_core", "core")]
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"  # overrides the argument that the package passes
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
