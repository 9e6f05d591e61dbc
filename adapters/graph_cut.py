"""Graph cut."""

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

CARDS = (ModelCard(name="graph-cut", family="graph_cut", summary="x", prompts=("click", "box"), encodes_once=True),)


def load(card, *, checkpoint=None, device="cpu", protocol=None, **options):
    return GraphCut(card, checkpoint, options)


R = np.zeros((3, 3))


def _s(r, c):
    a = np.zeros((3, 3))
    a[1 + r, 1 + c] = 1
    return a


STEPS = tuple((r, c, _s(r, c)) for r, c in ((0, 1), (1, 0), (1, 1), (1, -1)))


class GraphCut(SeededModel):
    OPTIONS: ClassVar = {
        **COMMON_OPTIONS,
        "bins": Number(24, 4, 64, whole=True),
        "width": Number(1.0, 0, 10),
        "mix": Number(0.01, 0, 1),
        "smoothness": Number(10.0, 0, 1e5),
        "clip": Number(100.0, 0, 1e5),
        "beta": Number(0.5, 0, 1e5),
        "floor": Number(0.0, 0, 1),
    }

    def prepare(self, canvas):
        lab = canvas.lab.astype(float)
        h, w = canvas.shape
        sq = []
        for r, c, _ in STEPS:
            o = np.zeros((h, w))
            a = lab[: h - r, max(0, -c) : w - max(0, c)]
            b = lab[r:, max(0, c) : w + min(0, c)]
            o[: h - r, max(0, -c) : w - max(0, c)] = ((a - b) ** 2).sum(-1)
            sq.append(o)
        beta = self.options["beta"] / max(np.mean([s.mean() for s in sq]), 1e-9)
        return [
            self.options["smoothness"] * (np.exp(-beta * s) + self.options["floor"]) / np.hypot(r, c)
            for s, (r, c, _) in zip(sq, STEPS)
        ], colour_bins(canvas.lab, self.options["bins"])

    def solve(self, canvas, seeds, state):
        import maxflow

        weights, bins = canvas.extra
        m = ColourModel.learn(
            bins, self.options["bins"], seeds == OBJECT, seeds == BACKGROUND, self.options["width"], self.options["mix"]
        )
        odds = np.clip(m.log_odds(bins), -self.options["clip"], self.options["clip"])
        g = maxflow.GraphFloat(odds.size, 4 * odds.size)
        ids = g.add_grid_nodes(canvas.shape)
        for wt, (_, _, s) in zip(weights, STEPS):
            g.add_grid_edges(ids, wt, structure=s, symmetric=True)
        hard = 1e6
        g.add_grid_tedges(
            ids,
            np.where(seeds == OBJECT, hard, np.where(seeds == BACKGROUND, 0, np.maximum(odds, 0))),
            np.where(seeds == BACKGROUND, hard, np.where(seeds == OBJECT, 0, np.maximum(-odds, 0))),
        )
        g.maxflow()
        return 1.0 - g.get_grid_segments(ids)
