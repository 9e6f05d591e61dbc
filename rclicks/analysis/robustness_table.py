"""The robustness table of the base rule, click groups and people: one row for each model and data set.

``rclicks table RUN --preset robustness`` prints it. ``rclicks compare RUN`` prints the paired tests between the models.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from rclicks.analysis.effort import curves
from rclicks.analysis.robustness import Played, holm, intervals, measures, paired_test, per_object_noc
from rclicks.analysis.runs import Runs, Table, Threshold, build_table, multi_reference_note
from rclicks.errors import ProtocolError

__all__ = ["compare_models", "gather", "robustness_table", "roles"]

THRESHOLD = 0.9
OBJECT = ["sample", "object", "rater"]

# column, measure, factor, decimals, which values are better ("" for neither)
_EFFORT = (
    ("Base NoC", "base_noc", 1, 2, "lower"),
    ("Sample NoC", "sample_noc", 1, 2, "lower"),
    ("± NoC", "sample_noc_std", 1, 2, "lower"),
    ("ΔSB NoC %", "delta_sb_noc_pct", 1, 2, "lower"),
    ("ΔGR NoC %", "delta_gr_noc_pct", 1, 2, "lower"),
    ("ΔHH NoC %", "delta_hh_noc_pct", 1, 2, "lower"),
)
_REST = (
    ("Base NoF", "base_nof", 1, 0, "lower"),
    ("Sample NoF", "sample_nof", 1, 1, "lower"),
    ("± NoF", "sample_nof_std", 1, 2, ""),
    ("ΔSB NoF", "delta_sb_nof", 1, 1, "lower"),
    ("ΔGR NoF", "delta_gr_nof", 1, 1, "lower"),
    ("ΔHH NoF", "delta_hh_nof", 1, 1, "lower"),
    ("Base IoU", "base_auc", 100, 2, "higher"),
    ("Sample IoU", "sample_auc", 100, 2, "higher"),
    ("± IoU", "sample_auc_std", 100, 2, "lower"),
    ("ΔSB IoU", "delta_sb_auc", 100, 2, "higher"),
    ("ΔGR IoU", "delta_gr_auc", 100, 2, "higher"),
    ("ΔHH IoU", "delta_hh_auc", 100, 2, "higher"),
    ("NSR %", "sample_nsr", 100, 2, "lower"),
)
_RATIOS = (
    ("SB ratio %", "ratio_sb_noc_pct", 1, 2, "lower"),
    ("GR ratio %", "ratio_gr_noc_pct", 1, 2, "lower"),
)
_FIRST = (
    ("Base IoU@1", "base_iou1", 100, 2, "higher"),
    ("User IoU@1", "user_iou1", 100, 2, "higher"),
    ("± User", "user_iou1_std", 100, 2, "lower"),
    ("NSR User %", "user_iou1_nsr", 100, 2, "lower"),
    ("Sample IoU@1", "user_sample_iou1", 100, 2, "higher"),
    ("± Sample@1", "user_sample_iou1_std", 100, 2, "lower"),
    ("NSR Sample %", "user_sample_iou1_nsr", 100, 2, "lower"),
)


def roles(header: Mapping[str, Any]) -> dict[str, str]:
    """Return the role of each user of a run in the tables, by label.

    Returns
    -------
    dict of str to str
        "base": the base rule. "groups": clicks sampled from click groups. "whole": clicks sampled from the whole click
        map. "human": recorded clicks of people. "human-matched": as many sampled clicks as people clicked. "": other.
    """
    found = {}
    for spec in header["effective"]["users"]:
        name, options = spec["name"], spec["options"]
        if name == "sampled":
            matched = options.get("match_human_count") or options.get("like")  # `like` is its name in old run folders
            role = "human-matched" if matched else "whole" if options.get("groups", 10) in (1, [0, 1]) else "groups"
        else:
            role = {"robot": "base", "recorded": "human"}.get(name, "")
        found[str(spec["label"])] = role
    return found


def gather(runs: Runs, metric: str = "iou") -> tuple[dict[tuple[str, str, str, str], Played], list[str]]:
    """Return the scores by (run, data set, model, label of the sampled user), and notes on what was left out.

    Parameters
    ----------
    runs : Runs
    metric : str
        Stored metric, whose values are used as IoU.

    Raises
    ------
    ProtocolError
        If the runs do not contain the base rule and click groups.
    """
    role = roles(runs.header)
    base = [u for u, r in role.items() if r == "base"]
    grouped = [u for u, r in role.items() if r == "groups"]
    if not base or not grouped:
        raise ProtocolError(
            "the robustness table needs the users robot (the base rule) and sampled (in groups); this run has "
            f"{', '.join(role)}"
        )
    records = runs.records
    wide = curves(records[records["user"].isin([base[0], *grouped])], runs.clicks, metric)
    first = records[
        (records["round"] == 1) & records["user"].isin([u for u, r in role.items() if r in ("human", "human-matched")])
    ]
    found: dict[tuple[str, str, str, str], Played] = {}
    notes = multi_reference_note(runs)
    for key, part in wide.groupby(level=["run", "dataset", "model"], sort=False):
        own = first[(first[["run", "dataset", "model"]] == list(key)).all(axis=1)]
        people, sampled = (
            _people(own, {u for u, r in role.items() if r == kind}, metric) for kind in ("human", "human-matched")
        )
        for user in grouped:
            made = _played(part, base[0], user, people, sampled)
            if made is None:
                notes.append(f"{key[2]} on {key[1]}: no object has trajectories of both {base[0]} and {user}")
                continue
            found[(*key, user)] = made[0]
            if made[1]:
                notes.append(
                    f"{key[2]} on {key[1]}: {made[1]} objects left out, because some of their trajectories failed"
                )
    return found, notes


def _played(
    part: pd.DataFrame, base: str, user: str, people: dict[Any, np.ndarray], sampled: dict[Any, np.ndarray]
) -> tuple[Played, int] | None:
    index = part.index.to_frame(index=False)
    values, objects = part.to_numpy(), pd.MultiIndex.from_frame(index[OBJECT])
    by_base = (index["user"] == base).to_numpy()
    played = index.loc[index["user"] == user, ["group", "replicate"]].drop_duplicates()
    groups = sorted(set(played["group"]), key=lambda name: (len(name), name))
    replicates = sorted(set(played["replicate"]))
    if not by_base.any() or not groups:
        return None
    rows = dict(zip(objects[by_base], np.flatnonzero(by_base), strict=True))
    cells: dict[tuple[str, int], dict[Any, int]] = {}
    for i in map(int, np.flatnonzero((index["user"] == user).to_numpy())):
        cells.setdefault((index["group"][i], index["replicate"][i]), {})[objects[i]] = i
    kept = [o for o in rows if all(o in cells.get((g, r), {}) for g in groups for r in replicates)]
    if not kept:
        return None
    stacked = np.stack([[values[[cells[g, r][o] for o in kept]] for r in replicates] for g in groups])
    asked = np.array([o in people for o in kept]) if people else None
    played = Played(
        values[[rows[o] for o in kept]],
        stacked,
        tuple(people.values()),
        tuple(sampled.values()),
        asked if asked is not None and asked.any() else None,
    )
    everyone = set(rows).union(*cells.values())
    return played, len(everyone) - len(kept)


def _people(first: pd.DataFrame, users: set[str], metric: str) -> dict[Any, np.ndarray]:
    own = first[first["user"].isin(users)]
    return {key: rows[metric].to_numpy(float) for key, rows in own.groupby(OBJECT, sort=False)}


def robustness_table(runs: Runs, threshold: Threshold) -> Table:
    """Return the measures of robustness. Under the default protocol the table has intervals and ratios of means.

    Raises
    ------
    ProtocolError
        If the runs do not contain the base rule and click groups.
    """
    found, notes = gather(runs, threshold.metric)
    value = THRESHOLD if threshold.value is None else threshold.value
    compat = runs.protocol["name"] == "compat"
    with_people = any(len(p.people) or len(p.sampled_people) for p in found.values())
    columns = (*_EFFORT, *(() if compat else _RATIOS), *_REST, *(_FIRST if with_people else ()))
    several = len({key[3] for key in found}) > 1
    rows = []
    for (run, dataset, model, user), played in found.items():
        values = measures(played, value, runs.protocol["nof"])
        spans = {} if compat else intervals(played, value)
        row: dict[str, Any] = {"run": run, "dataset": dataset, "model": model}
        row |= {"user": user} if several else {}
        row["n"] = len(played.base)
        for name, key, factor, _, _ in columns:
            row[_named(name, threshold)] = factor * values[key]
            if name in ("Sample NoC", "ΔSB NoC %", "ΔGR NoC %") and key in spans:
                row[f"{name} CI"] = f"[{spans[key].low:.2f}, {spans[key].high:.2f}]"
        rows.append(row)
    any_played = next(iter(found.values()), None)
    if any_played is None:
        raise ProtocolError("no object has trajectories of both the base rule and click groups: " + "; ".join(notes))
    count, repeats = any_played.groups.shape[:2]
    notes.insert(
        0,
        f"NoC to {threshold.word} {value:.2f} with {runs.clicks} clicks; "
        f"{threshold.word} is the area under its curve, x 100; "
        f"Sample is the mean over {count} groups (replicates: {repeats}) and ± the standard deviation over groups",
    )
    notes.insert(
        1,
        "ΔSB: groups minus base rule; ΔGR: G1 (unlikely clicks) minus last group; ΔHH: lower minus upper half",
    )
    if not compat:
        notes.insert(2, "CI: 95 % bootstrap over objects; Δ % are means of ratios, `ratio` columns are ratios of means")
    digits = {_named(name, threshold): decimals for name, _, _, decimals, _ in columns}
    better = {_named(name, threshold): end for name, _, _, _, end in columns if end}
    title = f"Robustness to where people click ({runs.header['benchmark']}, protocol {runs.protocol['name']})"
    return build_table(title, rows, digits, better, notes, runs)


def _named(column: str, threshold: Threshold) -> str:
    return column.replace("IoU", threshold.word)


def compare_models(runs: Runs, threshold: Threshold) -> Table:
    """Return paired tests of Sample NoC between all pairs of models on each data set.

    Raises
    ------
    ProtocolError
        If the runs do not contain the base rule and click groups, or have only one model.
    """
    threshold.check(runs)
    found, notes = gather(runs, threshold.metric)
    value = THRESHOLD if threshold.value is None else threshold.value
    wide = curves(runs.records[runs.records["user"].isin({k[3] for k in found})], runs.clicks, threshold.metric)
    rows = []
    for place, keys in itertools.groupby(
        sorted(found, key=lambda k: (k[0], k[1], k[3])), key=lambda k: (k[0], k[1], k[3])
    ):
        for first, second in itertools.combinations(list(keys), 2):
            pair = _common(wide, first, second)
            a, b = (per_object_noc(p, value) for p in pair)
            difference, p = paired_test(a, b)
            row: dict[str, Any] = {"run": place[0], "dataset": place[1], "user": place[2]}
            row |= {"model": first[2], "other": second[2], "n": len(a), "NoC": a.mean(), "other NoC": b.mean()}
            rows.append(row | {"difference": difference, "p": p})
    if not rows:
        raise ProtocolError("paired tests need at least two models on one data set")
    for row, adjusted in zip(rows, holm([r["p"] for r in rows]), strict=True):
        row["p (Holm)"] = adjusted
    notes += [
        f"NoC: Sample NoC to {threshold.word} {value:.2f}, mean over groups "
        "and replicates of each object; difference = model - other, negative if the model is better",
        f"p: Wilcoxon's signed-rank test over objects, two-sided; Holm's correction for {len(rows)} tests",
    ]
    digits = {"NoC": 2, "other NoC": 2, "difference": 2, "p": 4, "p (Holm)": 4}
    return build_table(f"Paired tests ({runs.header['benchmark']})", rows, digits, {}, notes, runs)


def _common(wide: pd.DataFrame, first: tuple[str, ...], second: tuple[str, ...]) -> list[Played]:
    """Return the scores of two models on the objects that both completed, in the same order."""
    parts = []
    for run, dataset, model, user in (first, second):
        own = wide.xs((run, dataset, model, user), level=("run", "dataset", "model", "user"))
        parts.append(own.reset_index().set_index([*OBJECT, "group", "replicate"]).sort_index())
    shared = parts[0].index.intersection(parts[1].index)
    sizes = shared.to_frame(index=False).groupby(OBJECT).size()
    complete = set(sizes[sizes == sizes.max()].index)
    keep = shared[[key[:3] in complete for key in shared]]
    found = []
    for part in parts:
        block = part.loc[keep].to_numpy().reshape(len(complete), -1, part.shape[1])
        found.append(Played(block[:, 0], block.transpose(1, 0, 2)[:, None]))
    return found
