"""SimpleITK's fast marching (Sethian 1996) driven by clicks, boxes, scribbles and lassos."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rclicks.cards import ModelCard
from rclicks.interaction import Box, Interaction
from rclicks.models.contract import State
from rclicks.models.seeded.base import OBJECT, SeedMap
from rclicks.models.seeded.volume import VOLUME_OPTIONS, VolumeModel, require_simpleitk
from rclicks.models.seeded.working_volume import WorkingVolume
from rclicks.options import Choice, Number, Option
from rclicks.protocol import Protocol

__all__ = ["CARDS", "FastMarching", "load"]

CARDS = (
    ModelCard(
        name="fast-marching",
        family="fast_marching",
        summary="Arrival times of SimpleITK's fast-marching fronts from object and background seeds (Sethian 1996)",
        source="https://doi.org/10.1073/pnas.93.4.1591",
        licence="Apache-2.0",
        citation="J. A. Sethian, A fast marching level set method for monotonically advancing fronts, PNAS 93(4), 1996",
        dims=3,
        prompts=("click", "box", "scribble", "lasso"),
        encodes_once=True,
        extra="volumes",
    ),
)


def load(
    card: ModelCard,
    *,
    checkpoint: object = None,
    device: str = "cpu",
    protocol: Protocol | None = None,
    **options: object,
) -> FastMarching:
    """Return the model. It always runs on the CPU; `device` and `protocol` have no effect.

    Raises
    ------
    PluginError
        If SimpleITK is not installed.
    ProtocolError
        If an option is unknown or out of bounds.
    """
    require_simpleitk(card)
    return FastMarching(card, checkpoint, options)


@dataclass(frozen=True, eq=False)
class _Arrivals:
    """The memory of a trajectory.

    Attributes
    ----------
    interactions : tuple of Interaction
        Interactions that the times contain.
    drawn : two (z, y, x) float32 arrays
        Times of arrival from the object seeds and from the background seeds of `interactions`, except for boxes.
    packed : bytes
        Packed bits of the assumed background.
    assumed : (z, y, x) float32 array
        Times of arrival from the assumed background.
    """

    interactions: tuple[Interaction, ...]
    drawn: tuple[NDArray[np.float32], NDArray[np.float32]]
    packed: bytes
    assumed: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class _Prepared:
    """Speed of the fronts in mm per unit of time, and the memory of a new trajectory.

    A new trajectory has no drawn seeds; the frame of the volume is assumed to be background.
    """

    speed: NDArray[np.float32]
    start: _Arrivals


def load_options(card: ModelCard, protocol: Protocol) -> Mapping[str, Option]:
    """Return the options of `load`."""
    return FastMarching.OPTIONS


class FastMarching(VolumeModel):
    """Comparison of SimpleITK's FastMarching from the object seeds with that from the background seeds.

    Fronts start at the seeds. Their speed is ``sigmoid((edge - g) / (spread * edge)) + floor``, where g is the gradient
    magnitude after smoothing by `sigma` mm, and ``edge`` is its `quantile` over the volume. So the speed is about 1 mm
    per unit of time where the volume is flat and `floor` across edges. The probability is
    t_background / (t_object + t_background).

    The time of arrival from several seeds is the minimum of the times from each seed. So the times are kept in the
    memory of the state, and only the fronts of new interactions are computed. Without the memory all fronts are
    computed; the results are equal to the last bit. See `VolumeModel` for the conventions.

    Options in addition to the common ones: `sigma`, `quantile`, `spread`, `floor`.
    """

    OPTIONS: ClassVar[Mapping[str, Number | Choice]] = {
        **VOLUME_OPTIONS,
        "radius": Number(1.0, 0, 100),
        "sigma": Number(0.5, 0, 100),
        "quantile": Number(0.5, 0, 1),
        "spread": Number(0.2, 1e-3, 100),
        "floor": Number(0.01, 1e-6, 1),
    }

    def prepare(self, working: WorkingVolume) -> _Prepared:
        """Return the speed of the fronts and the times of arrival from the frame."""
        speed = self._speed(working)
        frame = self.assumed(working, ())
        never = np.full(working.shape, np.inf, np.float32)
        times = self._times(working, speed, frame)
        return _Prepared(speed, _Arrivals((), (never, never), np.packbits(frame).tobytes(), times))

    def _speed(self, working: WorkingVolume) -> NDArray[np.float32]:
        """Return the speed of the fronts in mm per unit of time."""
        from scipy.ndimage import gaussian_filter

        smooth = gaussian_filter(working.values, [self.options["sigma"] / s for s in working.spacing], truncate=3.0)
        square = np.zeros(working.shape, np.float32)
        for axis, (length, count) in enumerate(zip(working.spacing, working.shape, strict=True)):
            if count > 1:
                square += np.square(np.gradient(smooth, length, axis=axis))
        steep = np.sqrt(square)
        edge = max(float(np.quantile(steep, self.options["quantile"])), 1e-9)
        exponent = np.clip((steep - edge) / (self.options["spread"] * edge), -50, 50)
        return (1 / (1 + np.exp(exponent)) + self.options["floor"]).astype(np.float32)

    def solve(
        self, working: WorkingVolume, seeds: SeedMap, state: State
    ) -> tuple[NDArray[np.floating[Any]], _Arrivals]:
        """Compare the times of arrival from the seeds of both labels."""
        interactions = state.interactions
        arrivals = self._arrivals(working, interactions, state.memory)
        to_object, to_background = arrivals.drawn
        # Other seeds can switch the seeds of a box on and off, so these are not stored in the memory.
        if any(isinstance(i, Box) for i in interactions):
            to_object = np.minimum(to_object, self._times(working, working.extra.speed, seeds == OBJECT))
        to_background = np.minimum(to_background, arrivals.assumed)
        if not np.isfinite(to_background).all():  # without background seeds the whole volume is object
            return np.ones(working.shape, np.float32), arrivals
        return to_background / np.maximum(to_object + to_background, np.float32(1e-9)), arrivals

    def _arrivals(self, working: WorkingVolume, interactions: tuple[Interaction, ...], memory: object) -> _Arrivals:
        """Return the memory with the times of all interactions; compute only those that it does not contain."""
        known: _Arrivals = memory if isinstance(memory, _Arrivals) else working.extra.start
        if interactions[: len(known.interactions)] != known.interactions:
            known = working.extra.start
        to_object, to_background = known.drawn
        for one in interactions[len(known.interactions) :]:
            if isinstance(one, Box):
                continue
            times = self._times(working, working.extra.speed, self.drawn_on(working, one))
            if one.positive:
                to_object = np.minimum(to_object, times)
            else:
                to_background = np.minimum(to_background, times)
        background = self.assumed(working, interactions)
        packed = np.packbits(background).tobytes()
        same = next((k for k in (known, working.extra.start) if k.packed == packed), None)
        assumed = same.assumed if same else self._times(working, working.extra.speed, background)
        return _Arrivals(interactions, (to_object, to_background), packed, assumed)

    @staticmethod
    def _times(working: WorkingVolume, speed: NDArray[np.float32], sources: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return the time of arrival from the sources at every voxel; infinity if there are no sources."""
        import SimpleITK as sitk  # noqa: N813 - its common name
        from scipy.ndimage import binary_erosion

        times = np.full(working.shape, np.inf, np.float32)
        if not sources.any():
            return times
        rim = sources & ~binary_erosion(sources, border_value=1)  # the front starts here; fewer points are faster
        if not rim.any():
            return np.zeros(working.shape, np.float32)
        image = sitk.GetImageFromArray(speed)
        image.SetSpacing(working.spacing[::-1])
        march = sitk.FastMarchingImageFilter()
        march.SetNumberOfThreads(1)
        march.SetTrialPoints(np.argwhere(rim)[:, ::-1].tolist())
        times = sitk.GetArrayFromImage(march.Execute(image))
        times[sources] = 0
        return times
