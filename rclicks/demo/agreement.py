"""Agreement of masks with the raters, and selection of the most different masks of a set.

>>> few, more, other = (np.array([[word == "1" for word in row]]) for row in ("1100", "1110", "0001"))
>>> distinct(np.stack([few, few, more, other]), 3)
[0, 3, 2]
>>> table = agreement({"now": few, "far": other}, {"ann": few, "bob": more})
>>> table.header, table.rows[0]
(('Dice', 'ann', 'bob'), ('now', '1.000', '0.800'))
>>> table.rows[2:]
(('ann', '', '0.800'), ('bob', '0.800', ''), ('inter-rater agreement', '0.800', '0.800'))
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from rclicks.metrics.raters.overlap import Overlaps
from rclicks.sample import Mask

__all__ = ["INTER_RATER", "Table", "agreement", "distinct"]

INTER_RATER = "inter-rater agreement"


class Table(NamedTuple):
    """A table of texts: the names of the columns, and rows with one text for each column."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def agreement(answers: Mapping[str, Mask], raters: Mapping[str, Mask], ignore: Mask | None = None) -> Table:
    """Return a table of the Dice of all predictions and all raters (rows) with all raters (columns).

    The last row is the inter-rater agreement: the mean Dice of the other raters with the rater of the column. A model
    that is as good as another rater would reach this value.

    Parameters
    ----------
    answers : mapping of name -> (H, W) bool array
        Predictions.
    raters : mapping of name -> (H, W) bool array
        Masks of the raters who drew something.
    ignore : (H, W) bool array or None
        Pixels that do not count.
    """
    found = Overlaps.of(list(answers.values()), list(raters.values()), ignore=ignore).similarity("dice")
    rows = [(name, *(f"{value:.3f}" for value in line)) for name, line in zip(answers, found.across, strict=True)]
    if len(raters) > 1:
        own = np.eye(len(raters), dtype=bool)
        rows += [
            (name, *("" if same else f"{value:.3f}" for value, same in zip(line, me, strict=True)))
            for name, line, me in zip(raters, found.raters, own, strict=True)
        ]
        means = np.where(own, 0, found.raters).sum(0) / (len(raters) - 1)
        rows.append((INTER_RATER, *(f"{value:.3f}" for value in means)))
    return Table(("Dice", *raters), tuple(rows))


def distinct(masks: Mask, count: int) -> list[int]:
    """Return the indices of masks that show the differences within a set.

    The first one is the most typical mask: the one with the largest mean IoU with all masks. Each further one is the
    mask that differs most from all chosen masks (its largest IoU with one of them is the smallest). Of equal candidates
    the first is chosen. Masks that equal a chosen mask are left out.

    Parameters
    ----------
    masks : (N, H, W) bool array
        Set of at least one mask.
    count : int
        Largest number of masks to choose.
    """
    alike = Overlaps.of(masks, masks[:0]).similarity("iou").within
    chosen = [int(alike.mean(1).argmax())]
    while len(chosen) < count:
        nearest = alike[:, chosen].max(1)
        if nearest.min() == 1:
            break
        chosen.append(int(nearest.argmin()))
    return chosen
