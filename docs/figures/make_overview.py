"""Draw docs/figures/overview.png: one object, two simulated users, the mask after 1, 3 and 10 clicks.

    python docs/figures/make_overview.py [OUTPUT.png]

The photograph and its reference mask belong to the data set `quickstart`, so nothing is downloaded. `rclicks.evaluate`
provides the clicks. The masks are predicted again from these clicks, and their IoU must equal the recorded one.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

import rclicks
from rclicks.interaction import Click
from rclicks.models.contract import State

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from rclicks.models.contract import Model
    from rclicks.sample import Sample

MODEL = "geodesic"
SAMPLE, OBJECT = "astronaut", "2"  # the helmet
ROUNDS = (1, 3, 10)
USERS = ("robot", "sampled:model=clickability-mini,groups=10")
# Click group as the records name it, and its label in the figure.
ROWS = (("", "user: base rule"), ("G1", "user: unlikely clicks\n(click group G1)"))
VIEW = (215, 512, 215, 512)  # first and last row, first and last column of the small panels: the helmet
BLUE, GREEN, RED, YELLOW = "#35A7FF", "#00A843", "#D50000", "#FFE600"


def play(model: Model, sample: Sample, clicks: list[Click]) -> list[NDArray[np.bool_]]:
    """Return the (H, W) bool masks that `model` predicts after each of `clicks`."""
    embedding = model.embed(sample.blind())
    state, masks = State(), []
    for click in clicks:
        state = State((*state.interactions, click), state.mask, state.probability, state.memory)
        (state,) = model.segment(embedding, [state])
        masks.append(np.asarray(state.mask))
    return masks


def iou(mask: NDArray[np.bool_], reference: NDArray[np.bool_], ignore: NDArray[np.bool_] | None) -> float:
    """Return the intersection over union of two (H, W) masks, without the pixels in `ignore`."""
    counted = np.ones_like(mask) if ignore is None else ~ignore
    return float((mask & reference & counted).sum() / ((mask | reference) & counted).sum())


def draw(axes: Axes, image: NDArray[np.uint8], reference: NDArray[np.bool_], mask: NDArray[np.bool_] | None) -> None:
    """Show `image` with the outline of `reference` and, where there is one, the predicted `mask` in blue."""
    axes.imshow(image)
    if mask is not None:
        tint = np.zeros((*mask.shape, 4))
        tint[mask] = (*(int(BLUE[i : i + 2], 16) / 255 for i in (1, 3, 5)), 0.55)
        axes.imshow(tint)
    axes.contour(reference, levels=[0.5], colors=YELLOW, linewidths=1.4)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def mark(axes: Axes, clicks: list[Click]) -> None:
    """Draw positive clicks as green circles with a plus, negative ones as red circles with a minus."""
    for click in clicks:
        row, column = click.point
        colour, sign = (GREEN, "$+$") if click.positive else (RED, "$-$")
        # A click near the border is drawn whole, beyond the panel's edge.
        axes.plot(column, row, "o", ms=9, color=colour, markeredgecolor="white", markeredgewidth=0.9, clip_on=False)
        axes.plot(column, row, marker=sign, ms=5, color="white", markeredgewidth=0, clip_on=False)


def overview(frame: pd.DataFrame, model: Model, sample: Sample) -> Figure:
    """Return the figure: the reference mask on the left, one row of panels for each user.

    Raises
    ------
    RuntimeError
        If a mask predicted here has another IoU than the record of the same round.
    """
    (target,) = (t for t in sample.targets if t.id == OBJECT)
    reference = target.masks[0]
    top, bottom, left, right = VIEW
    figure = Figure(figsize=(10, 4.3), dpi=120, layout="constrained")
    grid = figure.add_gridspec(2, 5)
    axes = figure.add_subplot(grid[:, :2])
    draw(axes, sample.image, reference, None)
    axes.plot([left, right, right, left, left], [top, top, bottom, bottom, top], "--", color="white", linewidth=1)
    axes.set_xlim(0, sample.image.shape[1] - 1)
    axes.set_ylim(sample.image.shape[0] - 1, 0)
    axes.set_title("photograph, reference mask (yellow outline)", fontsize=10)
    for i, (group, label) in enumerate(ROWS):
        records = frame[frame["group"] == group].sort_values("round")
        clicks = [Click((int(r.y), int(r.x)), bool(r.positive)) for r in records.itertuples()]
        masks = play(model, sample, clicks)
        for j, k in enumerate(ROUNDS):
            score, recorded = iou(masks[k - 1], reference, target.ignore), float(records["iou"].iloc[k - 1])
            if not np.isclose(score, recorded, atol=1e-6):
                raise RuntimeError(f"{label}, click {k}: IoU is {score:.6f}, the record says {recorded:.6f}")
            axes = figure.add_subplot(grid[i, 2 + j])
            draw(axes, sample.image, reference, masks[k - 1])
            mark(axes, clicks[:k])
            axes.set_xlim(left, right - 1)
            axes.set_ylim(bottom - 1, top)
            axes.set_title(f"{k} click{'s' * (k > 1)}, IoU {score:.2f}", fontsize=9)
            if j == 0:
                axes.set_ylabel(label, fontsize=9)
    return figure


def main(output: Path) -> None:
    """Run the two users on the photograph and write the figure to `output`."""
    frame = rclicks.evaluate("quickstart", models=[MODEL], users=USERS, clicks=max(ROUNDS), limit=1)
    dataset = rclicks.load_dataset("quickstart")
    sample = dataset[dataset.ids.index(SAMPLE)]
    frame = frame[(frame["sample"] == SAMPLE) & (frame["object"] == OBJECT)]
    overview(frame, rclicks.load_model(MODEL), sample).savefig(output)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("overview.png"))
