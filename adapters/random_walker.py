"""Random walker segmentation (Grady 2006) driven by clicks and boxes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rclicks.cards import ModelCard
from rclicks.models.contract import State
from rclicks.models.seeds import BACKGROUND, COMMON_OPTIONS, OBJECT, Canvas, Number, SeededModel
from rclicks.protocol import Protocol

__all__ = ["CARDS", "RandomWalker", "load"]

CARDS = (
    ModelCard(
        name="random-walker",
        family="random_walker",
        summary="Random walker: chance that a walk from a pixel meets an object seed first (Grady 2006)",
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
    """Return the model; it runs on the CPU whatever `device` says and knows no protocol rules."""
    return RandomWalker(card, checkpoint, options)


@dataclass(frozen=True, eq=False)
class _Graph:
    laplacian: Any


class RandomWalker(SeededModel):
    OPTIONS: ClassVar = {
        **COMMON_OPTIONS,
        "long_side": Number(200, 32, 1024, whole=True),
        "radius": Number(2, 0, 50),
        "beta": Number(30.0, 0, 1e6),
        "floor": Number(1e-4, 1e-8, 1),
    }

    def prepare(self, canvas: Canvas) -> _Graph:
        from scipy.sparse import coo_matrix, diags

        index = np.arange(canvas.lab.shape[0] * canvas.lab.shape[1]).reshape(canvas.shape)
        one = np.concatenate([index[1:].ravel(), index[:, 1:].ravel()])
        two = np.concatenate([index[:-1].ravel(), index[:, :-1].ravel()])
        flat = canvas.lab.reshape(-1, 3).astype(np.float64)
        steps = np.square(flat[one] - flat[two]).sum(axis=1)
        p = self.options.get("power", 1)
        weights = np.exp(-self.options["beta"] * steps / max(self.scale(steps), 1e-12)) + self.options["floor"]
        half = coo_matrix((weights, (one, two)), (index.size, index.size))
        whole = (half + half.T).tocsr()
        return _Graph((diags(np.asarray(whole.sum(axis=1)).ravel()) - whole).tocsr())

    def scale(self, steps):
        return float(steps.mean())

    def solve(self, canvas: Canvas, seeds: NDArray[np.int8], state: State) -> NDArray[np.float64]:
        from scipy.sparse.linalg import splu

        flat = seeds.ravel()
        if not (flat == BACKGROUND).any():
            return np.ones(canvas.shape)
        if not (flat == OBJECT).any():
            return (seeds != BACKGROUND).astype(np.float64)
        free, known = np.flatnonzero(flat == 0), np.flatnonzero(flat)
        rows = canvas.extra.laplacian[free]
        factor = splu(
            rows[:, free].tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
        )
        answer = (flat == OBJECT).astype(np.float64)
        answer[free] = factor.solve(-(rows[:, known] @ answer[known]))
        return answer.reshape(canvas.shape)
