"""Tables of several raters: how well a prediction agrees with the followed rater and with the other raters.

All scores are Dice after the last interaction. A trajectory that follows rater i is scored with every rater. The
inter-rater agreement is the same score between the masks of the raters. Objects with a single rater are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from rclicks.analysis.bootstrap import mean_interval
from rclicks.analysis.effort import curves
from rclicks.analysis.rater_effort import clicks_to_reach
from rclicks.analysis.robustness_table import robustness_table
from rclicks.analysis.runs import GROUP, Runs, Table, Threshold, build_table, count_failures, iter_groups, last_rounds
from rclicks.errors import ProtocolError
from rclicks.metrics.raters.consensus import RULES
from rclicks.metrics.raters.matrix import personalisation, rater_table
from rclicks.metrics.raters.overlap import mean_of

__all__ = ["by_click", "by_rule", "rater_matrices", "rater_robustness", "rater_summary"]

Floats = np.ndarray
KNOWN, FOLLOWED = "known", "raters"
OBJECT = ["sample", "object"]
PLAYER = ["run", "model", "user", "sample"]


def rater_summary(runs: Runs) -> Table:
    """Return Dice with the followed reference mask and with the other raters, and the inter-rater agreement.

    The table has one row for each data set, model, user, group and kind of reference mask.

    Raises
    ------
    ProtocolError
        If no object has several raters.
    """
    rows = []
    for key, rounds in iter_groups(_records_of_several(runs)):
        row = dict(zip(GROUP, key, strict=True))
        for rule, own in by_rule(rounds):
            scores = _of_raters(own, runs.clicks) if rule == FOLLOWED else _of_consensus(last_rounds(own))
            share = {
                "followed / inter-rater": scores["followed rater"] / scores["inter-rater"]
                if scores["inter-rater"]
                else np.nan
            }
            rows.append(row | {"reference": rule} | scores | share | {"failed": count_failures(runs, key)})
    digits = dict.fromkeys(
        ("followed rater", "other raters", "gap", "identified", "inter-rater", "reached", "followed / inter-rater"), 3
    )
    digits["clicks to inter-rater"] = 2
    notes = [
        "followed rater: Dice with the followed reference mask; other raters: Dice with the other raters who drew "
        "something (for a consensus: with all raters who drew something); gap: followed rater - other raters",
        "identified: share of trajectories whose mask agrees best with the followed rater; by chance 1 / number of "
        "raters",
        "inter-rater: Dice between these raters (for a consensus: between the consensus and the raters); means over "
        "objects; CI: 95 % bootstrap over samples",
        "clicks to inter-rater: clicks until Dice with the followed rater reaches inter-rater, "
        f"{runs.clicks} if never; reached: share of trajectories that reach it",
        *_empty_reference_notes(runs),
    ]
    better = dict.fromkeys(("followed rater", "gap", "identified", "reached", "followed / inter-rater"), "higher")
    if len({row["reference"] for row in rows}) > 1:
        better = {}  # scores with different kinds of reference masks cannot be compared
    return build_table(_title("Several raters", runs), rows, digits, better, notes, runs)


def rater_matrices(runs: Runs) -> Table:
    """Return Dice with rater j (columns) of predictions that follow rater i (rows).

    Where i is j, the table shows the inter-rater agreement of this rater. Data sets in which the name of a rater does
    not mean the same person in every sample are left out; a note lists them.

    Raises
    ------
    ProtocolError
        If no object has several raters, or all data sets are left out.
    """
    rows: list[dict[str, Any]] = []
    runs, left_out = _of_known_raters(runs)
    for key, part in _several(runs):
        part = part[~part["rater"].isin(RULES)]
        if part.empty:
            continue
        scored, human, names = _matrices(part)
        table, people = (rater_table(matrices, names, KNOWN) for matrices in (scored, human))
        for i, name in enumerate(table.raters):
            others = np.arange(len(table.raters)) != i
            row: dict[str, Any] = dict(zip(GROUP, key, strict=True)) | {"clicks of": name}
            row |= {"n": _objects(part[part["rater"] == name]), "followed rater": float(table.mean[i, i])}
            row |= {f"on {other}": float(table.mean[i, j]) for j, other in enumerate(table.raters)}
            row[f"on {name}"] = float(np.nanmean(people.mean[i][others]))
            rows.append(row)
    digits = {c: 3 for row in rows for c in row if c == "followed rater" or c.startswith("on ")}
    notes = [
        "Dice after the last interaction, mean over objects; row: rater whose mask the clicks follow; followed rater: "
        "Dice with this rater; on NAME: Dice with the rater NAME",
        "in the column of the rater of the row stands the inter-rater agreement: Dice of this rater's mask with the "
        "other raters",
        *left_out,
    ]
    if not rows:
        raise ProtocolError(
            "no trajectory of these runs followed a rater; run the benchmark with `reference: [raters]`"
        )
    return build_table(
        _title("Clicks of one rater, scored on another", runs), rows, digits, {"followed rater": "higher"}, notes, runs
    )


def rater_robustness(runs: Runs, threshold: Threshold) -> Table:
    """Return the robustness table for each followed rater.

    Data sets in which the name of a rater does not mean the same person in every sample are left out; a note lists
    them.

    Raises
    ------
    ProtocolError
        If no object has several raters, all data sets are left out, or the runs contain no click groups.
    """
    runs, notes = _of_known_raters(runs)
    runs = replace(runs, records=_records_of_several(runs))
    names = []
    for _, part in _several(runs):
        played = set(part["rater"])
        names += [name for name in part["raters"].iloc[0] if name in played and name not in names]
    frames, table = [], None
    for name in names:
        table = robustness_table(replace(runs, records=runs.records[runs.records["rater"] == name]), threshold)
        frame = table.frame.copy()
        frame.insert(list(frame.columns).index("model") + 1, "rater", name)
        frames.append(frame)
        notes += [note for note in table.notes if note not in notes]
    assert table is not None  # noqa: S101 - there are several raters
    title = _title("Robustness to where people click, for each rater", runs)
    return replace(table, title=title, frame=pd.concat(frames, ignore_index=True), notes=tuple(notes))


def _records_of_several(runs: Runs) -> pd.DataFrame:
    records = runs.records
    if "raters" not in records or records["raters"].isna().all():
        raise ProtocolError("no object of this run has several raters")
    return records[records["raters"].notna()]


def by_rule(records: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the records that follow raters ("raters"), then those of each consensus rule."""
    kind = records["rater"].where(records["rater"].isin(RULES), FOLLOWED)
    for rule in (FOLLOWED, *RULES):
        if (kind == rule).any():
            yield rule, records[kind == rule]


def _several(runs: Runs) -> Iterator[tuple[tuple[str, ...], pd.DataFrame]]:
    """Yield the last rounds of each model and user on objects of several raters."""
    yield from iter_groups(last_rounds(_records_of_several(runs)))


def _matrices(part: pd.DataFrame) -> tuple[list[Floats], list[Floats], list[list[str]]]:
    """Return score matrices, agreement matrices and names of the followed raters, for each object and replicate.

    Row i, column j of a score matrix is Dice with rater j of the prediction that follows rater i. The agreement matrix
    contains Dice between the masks of the raters. A rater who drew nothing is left out: such a rater was not followed,
    and as a column it would lower the score of the other raters and so increase the gap.
    """
    scored, human, names = [], [], []
    for _, rows in part.groupby(["sample", "object", "replicate"], sort=False):
        of = {row.rater: row for row in rows.itertuples()}
        raters = [str(name) for name in rows["raters"].iloc[0]]
        at = [i for i, name in enumerate(raters) if name in of]
        names.append([raters[i] for i in at])
        scored.append(np.array([np.take(of[name].rater_dice, at) for name in names[-1]]))
        human.append(np.array([np.take(of[name].followed_dice, at) for name in names[-1]]))
    return scored, human, names


def _of_raters(rounds: pd.DataFrame, clicks: int) -> dict[str, Any]:
    """Return the row of the trajectories that follow raters, from all their rounds."""
    part = last_rounds(rounds)
    scored, human, _ = _matrices(part)
    found, people = personalisation(scored), personalisation(human)
    single = [personalisation([matrix]) for matrix in scored]
    objects = [key for key, _ in part.groupby([*OBJECT, "replicate"], sort=False)]
    samples = [sample for sample, *_ in objects]
    row: dict[str, Any] = {"n": len({key[:2] for key, one in zip(objects, single, strict=True) if one.samples})}
    row |= {**_spread("followed rater", [s.own for s in single], samples), "other raters": found.other}
    row |= _spread("gap", [s.gap for s in single], samples)
    row |= {"identified": found.identified, "inter-rater": people.other}
    agreements = {key[:2]: personalisation([matrix]).other for key, matrix in zip(objects, human, strict=True)}
    return row | _to_agreement(rounds, agreements, clicks)


def _to_agreement(rounds: pd.DataFrame, agreements: Mapping[Any, float], clicks: int) -> dict[str, Any]:
    """Return the mean number of clicks until Dice reaches the inter-rater agreement of the object, and how often."""
    wide = curves(rounds, clicks)
    dice = dice_of(wide.to_numpy())
    level = np.array([agreements[key] for key in wide.index.to_frame()[OBJECT].itertuples(index=False, name=None)])
    dice, level = dice[~np.isnan(level)], level[~np.isnan(level)]
    reached = (dice >= level[:, None]).any(axis=1)
    needed = mean_of(clicks_to_reach(dice, level).astype(float))
    return {"clicks to inter-rater": needed, "reached": mean_of(reached * 1.0)}


def _of_consensus(part: pd.DataFrame) -> dict[str, Any]:
    """Return the row of the trajectories that follow a consensus. Raters who drew nothing are left out."""
    own = dice_of(part["iou"].to_numpy())
    others, people = (_of_drawing(part, name) for name in ("rater_dice", "followed_dice"))
    samples = part["sample"].tolist()
    row = {"n": _objects(part), **_spread("followed rater", own, samples), "other raters": mean_of(others)}
    return row | _spread("gap", own - others, samples) | {"identified": np.nan, "inter-rater": mean_of(people)}


def _of_drawing(part: pd.DataFrame, column: str) -> Floats:
    """Return the mean score of each trajectory over the raters who drew something.

    If the records are from a version that did not store areas, the mean is over all raters.
    """
    means = []
    for scores, areas in zip(part[column], part["rater_area"], strict=True):
        drew = np.ones(len(scores), bool) if areas is None else np.asarray(areas) > 0
        means.append(np.mean(np.asarray(scores)[drew]))
    return np.array(means)


def dice_of(iou: Floats) -> Floats:
    """Return Dice from IoU, element by element."""
    return 2 * iou / (1 + iou)


def _objects(part: pd.DataFrame) -> int:
    return len(part[OBJECT].drop_duplicates())


def _spread(name: str, values: Sequence[float] | Floats, samples: Sequence[str]) -> dict[str, Any]:
    """Return the mean of a score and its bootstrap interval over samples, as columns `name` and `name CI`."""
    numbers = np.asarray(values, float)
    return {name: mean_of(numbers), f"{name} CI": mean_interval(numbers, samples).text(3)}


def by_click(runs: Runs, dataset: str, users: Sequence[str]) -> pd.DataFrame:
    """Return the scores of `rater_summary` after each round.

    Only trajectories that follow raters are used. A trajectory that ended early keeps its last score.

    Parameters
    ----------
    runs : Runs
    dataset : str
        Label of the data set.
    users : sequence of str
        Labels of the users.

    Returns
    -------
    pandas.DataFrame
        One row for each run, model, user, sample and round with the columns "followed rater", "other raters" and
        "inter-rater". Empty if no object was drawn by two raters.
    """
    records = runs.records[runs.records["raters"].notna() & ~runs.records["rater"].isin(RULES)]
    records = records[(records["dataset"] == dataset) & records["user"].isin(users)]
    rows: list[dict[str, Any]] = []
    for number in range(1, runs.clicks + 1):
        last = last_rounds(records[records["round"] <= number])
        for key, part in last.groupby(PLAYER, sort=False):
            scored, human, _ = _matrices(part)
            found, people = personalisation(scored), personalisation(human)
            if found.samples:
                row = dict(zip(PLAYER, key, strict=True)) | {"round": number, "inter-rater": people.other}
                rows.append(row | {"followed rater": found.own, "other raters": found.other})
    return pd.DataFrame(rows, columns=[*PLAYER, "round", "followed rater", "other raters", "inter-rater"])


def _of_known_raters(runs: Runs) -> tuple[Runs, list[str]]:
    """Return the records of the data sets with known rater identity, and a note on the data sets that are left out.

    Runs of old versions do not store the rater identity and are left out.
    """
    identity = runs.header["effective"].get("rater_identity", {})
    several = [str(d) for d in _records_of_several(runs)["dataset"].unique()]
    unknown = [d for d in several if identity.get(d) != KNOWN]
    if len(unknown) == len(several):
        rater_table([], [], str(identity.get(unknown[0], "unknown")))  # raises an error with the reason
    note = f"left out, because a rater's name may mean different persons in different samples: {', '.join(unknown)}"
    return replace(runs, records=runs.records[~runs.records["dataset"].isin(unknown)]), [note] if unknown else []


def _empty_reference_notes(runs: Runs) -> list[str]:
    """Return a note on empty reference masks, which were not followed."""
    if "empty_references" not in runs.units or not runs.units["empty_references"].any():
        return []
    by_set = runs.units.groupby(["run", "dataset", "model"])["empty_references"].sum().groupby("dataset").max()
    counts = ", ".join(f"{int(n)} of {dataset}" for dataset, n in by_set.items() if n)
    return [f"empty reference masks, which were not followed: {counts}; n counts objects that two or more raters drew"]


def _title(words: str, runs: Runs) -> str:
    return f"{words} ({runs.header['benchmark']}, protocol {runs.protocol['name']})"
