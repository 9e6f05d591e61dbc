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
from rclicks.models.seeded.canvas import WorkingVolume
from rclicks.models.seeded.grid import Links
from rclicks.models.seeded.intensity import INTENSITY_OPTIONS, IntensityModel, bins_of
from rclicks.models.seeded.volume import VOLUME_OPTIONS, VolumeModel
from rclicks.options import Choice, Number
from rclicks.protocol import Protocol

__all__ = ["CARDS", "RandomWalker3D", "load"]

CARDS = (
    ModelCard(
        name="random-walker-3d",
        family="random_walker_3d",
        summary="Chance that a random walk in 3-D meets an object seed first, with a grey-value prior (Grady 2006)",
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
    """Return the model; it runs on the CPU whatever `device` says and knows no protocol rules.

    Raises
    ------
    ProtocolError
        If an option is unknown or out of bounds.
    """
    return RandomWalker3D(card, checkpoint, options)


@dataclass(frozen=True, eq=False)
class _Graph:
    """The links of a volume, ready for conjugate gradients.

    Attributes
    ----------
    even, odd : (r,), (b,) int arrays
        The voxels whose indices have an even and an odd sum, flat: no link joins two of a kind.
    across : (r, b) sparse float32 matrix
        Weights of the links divided by the roots of both ends' diagonals, so that the diagonal becomes one.
    back : (b, r) sparse float32 matrix
        Its transpose.
    root : (n,) float32 array
        Root of the diagonal: of the sum of a voxel's weights and the prior's.
    bins : (z, y, x) uint8 array
        Bin of the grey values.
    """

    even: NDArray[np.intp]
    odd: NDArray[np.intp]
    across: Any
    back: Any
    root: NDArray[np.float32]
    bins: NDArray[np.uint8]


class RandomWalker3D(VolumeModel):
    """Grady's random walker on 6-neighbours with a grey-value prior, solved by conjugate gradients.

    A link weighs ``(exp(-beta * d^2 / mean d^2) + leak) * (h / length)^2``: d is the difference of the grey values,
    the mean is over all links of the volume, `length` is the distance of the two voxels in mm and h the shortest such
    distance (the weight of a face of the volume's finite-volume Laplacian, so that a thick slice is as far away as it
    is in mm). With ``prior=0`` and cubic voxels the linear system is that of `skimage.segmentation.random_walker`.

    One seed says little in 3-D: its influence falls like 1/distance. So every voxel is also tied, with the weight
    `prior`, to the probability that its grey value alone gives it (Grady 2005), learned from the seeds by
    `IntensityModel`. Conjugate gradients in single precision with Jacobi's preconditioner run until the residual is
    `tolerance` of the start's, always from the prior alone, so that the answer does not depend on earlier rounds.
    See `VolumeModel` for the conventions.

    Options beside the common ones: `beta`, `leak`, `prior`, `tolerance` and those of `IntensityModel`.
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
        """Weigh the links and bin the grey values."""
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
        """Solve Dirichlet's problem with the prior: 1 at object seeds, 0 at background seeds."""
        if not (seeds < 0).any():  # without any background seed all is object
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
    """Solve ``x - links @ x = right`` at the free voxels; the others keep their values of `start`.

    The odd voxels are eliminated, which is free as none is linked to another, and conjugate gradients run on the even
    ones: half as many rounds as on all. Sums are taken by NumPy, never by BLAS, whose last bits depend on the number
    of threads.

    Parameters
    ----------
    graph : _Graph
    right, start : (n,) float32 arrays
    free : (n,) float32 array
        1 where x is looked for, 0 where it is known.
    tolerance : float
        Stop when the residual's norm is this share of its first.

    Returns
    -------
    (n,) float32 array
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
    for _ in range(10 * math.isqrt(x.size) + 100):  # never reached in practice; a bound for rounding's sake
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
