"""Geodesic segmentation (Bai and Sapiro 2007) driven by clicks and boxes."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from rclicks.cards import ModelCard
from rclicks.models.seeds import (
    BACKGROUND,
    COMMON_OPTIONS,
    OBJECT,
    ColourModel,
    Number,
    SeededModel,
    colour_bins,
)

CARDS = (ModelCard(name="geodesic", family="geodesic", summary="x", prompts=("click", "box"), encodes_once=True),)


def load(card, *, checkpoint=None, device="cpu", protocol=None, **options):
    return Geodesic(card, checkpoint, options)


class Geodesic(SeededModel):
    OPTIONS: ClassVar = {
        **COMMON_OPTIONS,
        "bins": Number(24, 4, 64, whole=True),
        "width": Number(1.0, 0, 10),
        "mix": Number(0.01, 0, 1),
        "step": Number(0.01, 1e-6, 10),
        "edge": Number(0.0, 0, 10),
        "likelihood": Number(0.0, 0, 10),
    }

    def prepare(self, canvas):
        h, w = canvas.shape
        index = np.arange(h * w, dtype=np.int32).reshape(h, w)
        pairs = [
            (index[:, :-1], index[:, 1:], 1.0),
            (index[:-1], index[1:], 1.0),
            (index[:-1, :-1], index[1:, 1:], 2**0.5),
            (index[:-1, 1:], index[1:, :-1], 2**0.5),
        ]
        one = np.concatenate([a.ravel() for a, _, _ in pairs])
        two = np.concatenate([b.ravel() for _, b, _ in pairs])
        length = np.concatenate([np.full(a.size, d) for a, _, d in pairs])
        flat = canvas.lab.reshape(-1, 3).astype(float)
        contrast = np.sqrt(np.square(flat[one] - flat[two]).sum(1))
        # csr structure
        order = np.lexsort((two, one))
        one, two, length, contrast = one[order], two[order], length[order], contrast[order]
        indptr = np.searchsorted(one, np.arange(h * w + 1)).astype(np.int32)
        base = self.options["step"] * length + self.options["edge"] * contrast / max(contrast.mean(), 1e-9)
        return one, two.astype(np.int32), indptr, base, colour_bins(canvas.lab, self.options["bins"]), length

    def solve(self, canvas, seeds, state):
        from scipy.sparse import csr_matrix
        from scipy.sparse.csgraph import dijkstra

        one, two, indptr, base, bins, length = canvas.extra
        flat = seeds.ravel()
        if not (flat == BACKGROUND).any():
            return np.ones(canvas.shape)
        if not (flat == OBJECT).any():
            return (seeds != BACKGROUND).astype(np.float64)
        m = ColourModel.learn(
            bins, self.options["bins"], seeds == OBJECT, seeds == BACKGROUND, self.options["width"], self.options["mix"]
        )
        p = m.probability(bins).ravel()
        D = []
        for lab, q in ((OBJECT, p), (BACKGROUND, 1 - p)):
            cost = base + np.abs(p[one] - p[two]) + self.options["likelihood"] * length * (1 - (q[one] + q[two]) / 2)
            G = csr_matrix((cost, two, indptr), (flat.size, flat.size))
            D.append(dijkstra(G, directed=False, indices=np.flatnonzero(flat == lab), min_only=True))
        f, b = D
        return (b / (f + b)).reshape(canvas.shape)
