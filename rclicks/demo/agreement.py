"""What masks have in common with the raters, and which of many masks are worth a look.

>>> few, more, other = (np.array([[word == "1" for word in row]]) for row in ("1100", "1110", "0001"))
>>> distinct(np.stack([few, few, more, other]), 3)
[0, 3, 2]
>>> table = agreement({"now": few, "far": other}, {"ann": few, "bob": more})
>>> table.header, table.rows[0]
(('Dice', 'ann', 'bob'), ('now', '1.000', '0.800'))
>>> table.rows[2:]
(('ann', '', '0.800'), ('bob', '0.800', ''), ('human ceiling', '0.800', '0.800'))
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from rclicks.metrics.raters.overlap import Overlaps
from rclicks.sample import Mask

__all__ = ["CEILING", "Table", "agreement", "distinct"]

CEILING = "human ceiling"


class Table(NamedTuple):
    """Names of the columns, and rows of as many words."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def agreement(answers: Mapping[str, Mask], raters: Mapping[str, Mask], ignore: Mask | None = None) -> Table:
    """Return the Dice of each answer, then of each rater, with each rater, and last the human ceiling.

    A rater's human ceiling is the mean Dice of the other raters with that one: what a model that is as good as a
    human colleague would reach.

    Parameters
    ----------
    answers, raters : mapping of name -> (H, W) bool array
        Raters who drew something.
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
        ceilings = np.where(own, 0, found.raters).sum(0) / (len(raters) - 1)
        rows.append((CEILING, *(f"{value:.3f}" for value in ceilings)))
    return Table(("Dice", *raters), tuple(rows))


def distinct(masks: Mask, count: int) -> list[int]:
    """Return which of many masks show best how they differ.

    The first is the most typical, which has the largest mean IoU with all; each next one is the least like those
    chosen before (its largest IoU with one of them is the smallest). The first among equals; masks that equal one
    that was chosen are left out.

    Parameters
    ----------
    masks : (N, H, W) bool array
        At least one.
    count : int
        How many to choose at most.
    """
    alike = Overlaps.of(masks, masks[:0]).similarity("iou").within
    chosen = [int(alike.mean(1).argmax())]
    while len(chosen) < count:
        nearest = alike[:, chosen].max(1)
        if nearest.min() == 1:
            break
        chosen.append(int(nearest.argmin()))
    return chosen
