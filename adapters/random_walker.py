"""Random walker segmentation (Grady 2006) driven by clicks and boxes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rclicks.cards import ModelCard
from rclicks.models.contract import State
from rclicks.models.seeded.base import BACKGROUND, OBJECT, SeedMap
from rclicks.models.seeded.colours import neighbours
from rclicks.models.seeded.image import COMMON_OPTIONS, SeededModel, WorkingImage
from rclicks.options import Choice, Number, Option
from rclicks.protocol import Protocol

__all__ = ["CARDS", "RandomWalker", "load"]

CARDS = (
    ModelCard(
        name="random-walker",
        family="random_walker",
        summary="Probability that a random walk from a pixel reaches an object seed first (Grady 2006)",
        source="https://doi.org/10.1109/TPAMI.2006.233",
        licence="Apache-2.0",
        citation="L. Grady, Random walks for image segmentation, TPAMI 28(11), 2006",
        prompts=("click", "box"),
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
) -> RandomWalker:
    """Return the model. It always runs on the CPU; `device` and `protocol` have no effect.

    Raises
    ------
    ProtocolError
        If an option is unknown or out of bounds.
    """
    return RandomWalker(card, checkpoint, options)


def load_options(card: ModelCard, protocol: Protocol) -> Mapping[str, Option]:
    """Return the options of `load`."""
    return RandomWalker.OPTIONS


class RandomWalker(SeededModel):
    """Grady's random walker on 4-neighbours, solved exactly by a sparse factorisation (SuperLU).

    The weight of a link is ``exp(-beta * |d|^2 / mean |d|^2) + floor``, where d is the difference in L*a*b* of two
    neighbours and the mean is over the image. `floor` keeps every pixel connected. The linear system is that of
    `skimage.segmentation.random_walker`. This function is not used for two reasons: it computes the Laplacian of the
    image again for every click, and its conjugate gradients stop early (errors above .1 were measured, and the last
    bits depend on the number of threads). The cost of the factorisation grows faster than the number of pixels; so
    `long_side` is small. See `SeededModel` for the conventions.

    Options in addition to the common ones: `beta`, `floor`.
    """

    OPTIONS: ClassVar[Mapping[str, Number | Choice]] = {
        **COMMON_OPTIONS,
        "long_side": Number(160, 32, 1024, whole=True),
        "radius": Number(2, 0, 50),
        "beta": Number(3.0, 0, 1e3),
        "floor": Number(1e-5, 1e-9, 1),
    }

    def prepare(self, working: WorkingImage) -> Any:
        """Return the Laplacian of the image, a sparse (h * w, h * w) matrix."""
        from scipy.sparse import coo_matrix, diags

        steps = neighbours(working.lab, diagonal=False)
        index = np.arange(working.shape[0] * working.shape[1]).reshape(working.shape)
        ends = [step.ends(index) for step in steps]
        first = np.concatenate([one.ravel() for one, _ in ends])
        second = np.concatenate([two.ravel() for _, two in ends])
        contrast = np.concatenate([step.contrast.ravel() for step in steps])
        mean = max(float(contrast.mean()) if contrast.size else 0.0, 1e-9)
        weights = np.exp(-self.options["beta"] / mean * contrast) + self.options["floor"]
        half = coo_matrix((weights, (first, second)), (index.size, index.size))
        links = (half + half.T).tocsr()
        return (diags(np.asarray(links.sum(axis=1)).ravel()) - links).tocsr()

    def solve(self, working: WorkingImage, seeds: SeedMap, state: State) -> NDArray[np.float64]:
        """Solve the Dirichlet problem: 1 at object seeds, 0 at background seeds, harmonic elsewhere."""
        from scipy.sparse.linalg import splu

        flat = seeds.ravel()
        free, known = np.flatnonzero(flat == 0), np.flatnonzero(flat)
        if not (flat == BACKGROUND).any() or not (flat == OBJECT).any():  # a single box: its inside is the object
            return (seeds != BACKGROUND).astype(np.float64)
        answer = (flat == OBJECT).astype(np.float64)
        if free.size:
            rows = working.extra[free]
            system = rows[:, free].tocsc()
            # The matrix is symmetric and diagonally dominant, so no pivoting is needed.
            options = {"SymmetricMode": True}
            factor = splu(system, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)
            answer[free] = factor.solve(-(rows[:, known] @ answer[known]))
        return answer.reshape(working.shape)
