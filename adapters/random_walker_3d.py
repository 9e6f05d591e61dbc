"""Random walker segmentation of volumes (Grady 2006) driven by clicks, boxes, scribbles and lassos."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rclicks.cards import ModelCard
from rclicks.models.contract import State
from rclicks.models.seeded.base import OBJECT, SeedMap
from rclicks.models.seeded.grid import Links
from rclicks.models.seeded.intensity import INTENSITY_OPTIONS, IntensityModel, bins_of
from rclicks.models.seeded.volume import VOLUME_OPTIONS, VolumeModel
from rclicks.models.seeded.working_volume import WorkingVolume
from rclicks.options import Choice, Number, Option
from rclicks.protocol import Protocol

__all__ = ["CARDS", "RandomWalker3D", "load"]

CARDS = (
    ModelCard(
        name="random-walker-3d",
        family="random_walker_3d",
        summary="Probability that a 3-D random walk reaches an object seed first, with a grey-value prior (Grady 2006)",
        source="https://doi.org/10.1109/TPAMI.2006.233",
        licence="Apache-2.0",
        citation="L. Grady, Random walks for image segmentation, TPAMI 28(11), 2006",
        dims=3,
        prompts=("click", "box", "scribble", "lasso"),
        encodes_once=True,
    ),
)


def load(
    card: ModelCard,
    *,
    checkpoint: object = None,
    device: str = "cpu",
    protocol: Protocol | None = None,
    **options: object,
) -> RandomWalker3D:
    """Return the model. It always runs on the CPU; `device` and `protocol` have no effect.

    Raises
    ------
    ProtocolError
        If an option is unknown or out of bounds.
    """
    return RandomWalker3D(card, checkpoint, options)


@dataclass(frozen=True, eq=False)
class _Graph:
    """The links of a volume, prepared for conjugate gradients.

    Attributes
    ----------
    even : (r,) int array
        Flat indices of the voxels whose indices have an even sum. No link joins two even voxels.
    odd : (b,) int array
        Flat indices of the voxels whose indices have an odd sum. No link joins two odd voxels.
    across : (r, b) sparse float32 matrix
        Weights of the links, divided by the square roots of the diagonal at both ends, so that the diagonal is 1.
    back : (b, r) sparse float32 matrix
        Transpose of `across`.
    root : (n,) float32 array
        Square root of the diagonal, which is the sum of the link weights of a voxel and the weight of the prior.
    bins : (z, y, x) uint8 array
        Grey-value bin of each voxel.
    """

    even: NDArray[np.intp]
    odd: NDArray[np.intp]
    across: Any
    back: Any
    root: NDArray[np.float32]
    bins: NDArray[np.uint8]


def load_options(card: ModelCard, protocol: Protocol) -> Mapping[str, Option]:
    """Return the options of `load`."""
    return RandomWalker3D.OPTIONS


class RandomWalker3D(VolumeModel):
    """Grady's random walker on 6-neighbours with a grey-value prior, solved by conjugate gradients.

    The weight of a link is ``(exp(-beta * d^2 / mean d^2) + leak) * (h / length)^2``. Here d is the difference of the
    grey values, the mean is over all links of the volume, `length` is the distance of the two voxels in mm, and h is
    the shortest such distance. (The factor is the face weight of the finite-volume Laplacian; so thick slices have
    their distance in mm.) With ``prior=0`` and cubic voxels the linear system is that of
    `skimage.segmentation.random_walker`.

    In 3-D the influence of a seed falls like 1/distance, so a single seed has little effect. For this reason every
    voxel is also linked, with the weight `prior`, to the probability of its grey value (Grady 2005), which
    `IntensityModel` learns from the seeds. Conjugate gradients in single precision with Jacobi's preconditioner run
    until the residual is `tolerance` times the first residual. They always start from the prior, so that the result
    does not depend on earlier rounds. See `VolumeModel` for the conventions.

    Options in addition to the common ones: `beta`, `leak`, `prior`, `tolerance` and those of `IntensityModel`.
    """

    OPTIONS: ClassVar[Mapping[str, Number | Choice]] = {
        **VOLUME_OPTIONS,
        **INTENSITY_OPTIONS,
        "beta": Number(3.0, 0, 1e3),
        "leak": Number(1e-3, 1e-6, 1),
        "floor": Number(1e-3, 1e-6, 1),
        "prior": Number(0.002, 0, 1e3),
        "tolerance": Number(1e-3, 1e-7, 0.1),
    }

    def prepare(self, working: WorkingVolume) -> _Graph:
        """Compute the weights of the links and assign the grey values to bins."""
        from scipy.sparse import csr_matrix

        links = Links.of(working.shape, working.spacing)
        flat = working.values.ravel()
        contrast = np.square(flat[links.first] - flat[links.second])
        mean = max(float(contrast.mean(dtype=np.float64)) if contrast.size else 0.0, 1e-9)
        weights = np.exp(contrast * np.float32(-self.options["beta"] / mean)) + np.float32(self.options["leak"])
        if links.length.size:
            weights *= np.square(links.length.min() / links.length)
        degree = np.bincount(links.first, weights, flat.size) + self.options["prior"]
        root = np.sqrt(np.maximum(degree, 1e-20)).astype(np.float32)
        weights /= root[links.first] * root[links.second]
        z, y, x = np.indices(working.shape, np.int32, sparse=True)
        is_odd = ((z + y + x) % 2 == 1).ravel()
        even, odd = np.flatnonzero(~is_odd), np.flatnonzero(is_odd)
        across = csr_matrix((weights, links.second, links.starts), (flat.size, flat.size))[even][:, odd]
        bins = bins_of(working.values, self.options["bins"])
        return _Graph(even, odd, across, across.T.tocsr(), root, bins)

    def solve(self, working: WorkingVolume, seeds: SeedMap, state: State) -> tuple[NDArray[np.float32], None]:
        """Solve the Dirichlet problem with the prior: 1 at object seeds, 0 at background seeds."""
        if not (seeds < 0).any():  # without background seeds the whole volume is object
            return np.ones(working.shape, np.float32), None
        graph: _Graph = working.extra
        intensity = IntensityModel.learn(
            graph.bins, self.options["bins"], seeds, self.options["width"], self.options["floor"]
        )
        chance = intensity.probability(graph.bins).ravel()
        start = np.where(seeds.ravel() == 0, chance, (seeds == OBJECT).ravel()).astype(np.float32)
        right = np.float32(self.options["prior"]) * chance / graph.root
        free = (seeds.ravel() == 0).astype(np.float32)
        answer = _relax(graph, right, start * graph.root, free, self.options["tolerance"])
        return (answer / graph.root).reshape(working.shape), None


def _relax(
    graph: _Graph,
    right: NDArray[np.float32],
    start: NDArray[np.float32],
    free: NDArray[np.float32],
    tolerance: float,
) -> NDArray[np.float32]:
    """Solve ``x - links @ x = right`` at the free voxels; the other voxels keep their values of `start`.

    The odd voxels are eliminated, which is simple because no link joins two of them. Conjugate gradients then run on
    the even voxels and need half as many iterations. NumPy computes the sums, not BLAS, because the last bits of BLAS
    depend on the number of threads.

    Parameters
    ----------
    graph : _Graph
        Links of the volume.
    right : (n,) float32 array
        Right-hand side.
    start : (n,) float32 array
        Start values of the free voxels and values of the known voxels.
    free : (n,) float32 array
        1 where x is unknown, 0 where it is known.
    tolerance : float
        Ratio of the norms of the residual and the first residual at which the iteration stops.

    Returns
    -------
    (n,) float32 array
        Solution x.
    """
    across, back = graph.across, graph.back
    inner, outer = free[graph.even], free[graph.odd]
    fixed = np.where(outer > 0, right[graph.odd], start[graph.odd])
    x = start[graph.even]
    residual = (right[graph.even] - x + across @ (fixed + outer * (back @ x))) * inner
    direction = residual.copy()
    work = np.empty_like(x)
    energy = float(np.multiply(residual, residual, out=work).sum())
    goal = max(energy * tolerance**2, 1e-30)
    for _ in range(10 * math.isqrt(x.size) + 100):  # a bound for the case of rounding errors; not reached in practice
        if energy <= goal:
            break
        between = back @ direction
        between *= outer
        image = across @ between
        np.subtract(direction, image, out=image)
        image *= inner
        curvature = float(np.multiply(direction, image, out=work).sum())
        if curvature <= 0:
            break
        step = np.float32(energy / curvature)
        x += np.multiply(direction, step, out=work)
        residual -= np.multiply(image, step, out=image)
        previous, energy = energy, float(np.multiply(residual, residual, out=work).sum())
        direction *= np.float32(energy / previous)
        direction += residual
    answer = np.empty_like(start)
    answer[graph.even] = x
    answer[graph.odd] = fixed + outer * (back @ x)
    return answer
