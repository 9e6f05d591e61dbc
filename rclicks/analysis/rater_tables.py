"""Tables of several raters: whom a user follows, and how far a model is from what people agree on.

All scores are Dice after the last interaction. A trajectory that follows rater i is scored on every rater; the human
ceiling is the same score between the raters' own masks. Objects with a single rater are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from rclicks.analysis.robustness_table import robustness_table
from rclicks.analysis.runs import GROUP, Aim, Runs, Table, count_failures, finish
from rclicks.errors import ProtocolError
from rclicks.metrics.raters_consensus import RULES
from rclicks.metrics.raters_matrix import personalisation, rater_table

__all__ = ["rater_matrices", "rater_robustness", "rater_summary"]

Floats = np.ndarray
NAMES = GROUP[1:]


def rater_summary(runs: Runs) -> Table:
    """Return for each model and user the scores on the truth followed and on the other raters, beside people's own.

    Raises
    ------
    ProtocolError
        If no object has several raters.
    """
    rows = []
    for key, part in _several(runs):
        row = dict(zip(GROUP, key, strict=True))
        for rule, own in part.groupby(part["rater"].map(lambda r: r if r in RULES else "raters"), sort=False):
            rows.append(row | {"follow": rule} | _scores(own, str(rule)) | {"failed": count_failures(runs, key)})
    digits = dict.fromkeys(("own", "others", "gap", "identified", "ceiling", "own / ceiling"), 3)
    notes = [
        "own: Dice on the truth followed; others: on the other raters (of a consensus: on all raters); gap: own - "
        "others",
        "identified: share of trajectories whose mask is nearest to the rater followed; by chance 1 / number of raters",
        "ceiling: Dice between raters (of a consensus: of the consensus with the raters); means over objects",
    ]
    better = dict.fromkeys(("own", "gap", "identified", "own / ceiling"), "higher")
    return finish(_title("Several raters", runs), rows, digits, better, notes, runs)


def rater_matrices(runs: Runs) -> Table:
    """Return clicks of rater i (rows) scored on rater j (columns), with the human ceiling in the diagonal's place.

    Raises
    ------
    ProtocolError
        If no object has several raters, or a data set does not know which rater is the same person in every sample.
    """
    rows: list[dict[str, Any]] = []
    for key, part in _several(runs):
        identity = _identity(runs, key[1])
        part = part[~part["rater"].isin(RULES)]
        if part.empty:
            continue
        scored, human, names = _matrices(part)
        table, people = (rater_table(matrices, names, identity) for matrices in (scored, human))
        for i, name in enumerate(table.raters):
            others = np.arange(len(table.raters)) != i
            row: dict[str, Any] = dict(zip(GROUP, key, strict=True)) | {"clicks of": name}
            row |= {"n": int(table.samples[i, i]), "own": float(table.mean[i, i])}
            row |= {f"on {other}": float(table.mean[i, j]) for j, other in enumerate(table.raters)}
            row[f"on {name}"] = float(np.nanmean(people.mean[i][others]))
            rows.append(row)
    digits = {c: 3 for row in rows for c in row if c == "own" or c.startswith("on ")}
    notes = [
        "Dice after the last interaction, mean over samples; row: whose mask the clicks follow; own: scored on it",
        "in the diagonal's place stands the human ceiling: how well that rater's own mask agrees with the other raters",
    ]
    return finish(_title("Clicks of one rater, scored on another", runs), rows, digits, {"own": "higher"}, notes, runs)


def rater_robustness(runs: Runs, aim: Aim) -> Table:
    """Return the robustness table once for each rater followed.

    Raises
    ------
    ProtocolError
        If no object has several raters, raters are not the same persons in every sample, or groups were not played.
    """
    names = []
    for key, part in _several(runs):
        if _identity(runs, key[1]) != "known":
            rater_table([], [], _identity(runs, key[1]))  # says why
        played = set(part["rater"])
        names += [name for name in part["raters"].iloc[0] if name in played and name not in names]
    frames, notes, table = [], [], None
    for name in names:
        table = robustness_table(replace(runs, records=runs.records[runs.records["rater"] == name]), aim)
        frame = table.frame.copy()
        frame.insert(list(frame.columns).index("model") + 1, "rater", name)
        frames.append(frame)
        notes += [note for note in table.notes if note not in notes]
    assert table is not None  # noqa: S101 - there are several raters
    title = _title("Robustness to where people click, for each rater", runs)
    return replace(table, title=title, frame=pd.concat(frames, ignore_index=True), notes=tuple(notes))


def _several(runs: Runs) -> Iterator[tuple[tuple[str, ...], pd.DataFrame]]:
    """Yield the last rounds of each model and user on objects of several raters."""
    records = runs.records
    if "raters" not in records or records["raters"].isna().all():
        raise ProtocolError("no object of this run has several raters")
    records = records[records["raters"].notna()].sort_values("round", kind="stable")
    last = records.drop_duplicates([*GROUP, "sample", "object", "rater", "replicate"], keep="last")
    yield from last.groupby(GROUP, sort=False)


def _matrices(part: pd.DataFrame) -> tuple[list[Floats], list[Floats], list[list[str]]]:
    """Return for each object (and replicate) the scores, people's own agreement, and the raters' names."""
    scored, human, names = [], [], []
    for _, rows in part.groupby(["sample", "object", "replicate"], sort=False):
        raters = list(rows["raters"].iloc[0])
        score, agree = (np.full((len(raters), len(raters)), np.nan) for _ in range(2))
        for row in rows.itertuples():
            if row.rater in raters:
                score[raters.index(row.rater)] = row.rater_dice
                agree[raters.index(row.rater)] = row.followed_dice
        scored.append(score)
        human.append(agree)
        names.append(raters)
    return scored, human, names


def _scores(part: pd.DataFrame, rule: str) -> dict[str, Any]:
    objects = len(part[["sample", "object"]].drop_duplicates())
    if rule == "raters":
        scored, human, _ = _matrices(part)
        found, people = personalisation(scored), personalisation(human)
        row = {"n": found.samples, "own": found.own, "others": found.other, "gap": found.gap}
        row |= {"identified": found.identified, "ceiling": people.other}
    else:
        own = 2 * part["iou"] / (1 + part["iou"])  # Dice, whether or not it was stored
        others = _mean_of_lists(part["rater_dice"])
        row = {"n": objects, "own": float(own.mean()), "others": others, "gap": float(own.mean()) - others}
        row |= {"identified": np.nan, "ceiling": _mean_of_lists(part["followed_dice"])}
    return row | {"own / ceiling": row["own"] / row["ceiling"] if row["ceiling"] else np.nan}


def _mean_of_lists(lists: Sequence[Sequence[float]]) -> float:
    return float(np.mean([np.mean(scores) for scores in lists]))


def _identity(runs: Runs, label: str) -> str:
    """Return what a data set says of its raters' names; runs made before this was written down say nothing."""
    return str(runs.header["effective"].get("rater_identity", {}).get(label, "unknown"))


def _title(words: str, runs: Runs) -> str:
    return f"{words} ({runs.header['benchmark']}, protocol {runs.protocol['name']})"
