"""Compute published tables again from published files, and compare them cell by cell to the last printed digit.

The reference folder is a checkout of the RClicks repository or a copy of its ``experiments`` folder. It is not part of
this package.

The tables of simulated clicks (robustness, base rule) are computed from run folders, either imported from published
results or made by rclicks. Their printed numbers are read from two files of the reference folder:
``benchmark_results.csv`` and ``base_strategy_results_third_party.csv``. Each row of these files is one printed cell
with the columns table, dataset, checkpoint, metric and value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rclicks.analysis.effort import auc, curves, noc
from rclicks.analysis.robustness import Played, measures
from rclicks.analysis.robustness_table import gather, roles
from rclicks.analysis.runs import Runs, Table
from rclicks.errors import DataError

__all__ = ["Status", "as_table", "base_rule", "click_models", "click_models_by_kind", "overview", "robustness"]

_SETS = {"GrabCut": "GrabCut", "Berkeley": "Berkeley", "DAVIS": "DAVIS", "COCO-MVal": "COCO", "TETRIS (Val)": "TETRIS"}
_MODELS = {"UD": "ud", "DT": "dt", "SI": "si", "SM": "sm", "Ours": "cm"}
_SCORES = {"KS": "ks2d", "PL$_1$": "l1", "WD": "wasserstien", "NSS": "nss", "PDE": "pde"}  # published spelling
_CELLS = ["table", "dataset", "model", "score", "printed", "rebuilt", "equal"]
_TABLE_4 = "robustness (table 4)"
_FIGURE_6 = "area under the IoU curves (fig. 6)"
_FIGURE_7 = "noise-to-signal ratio of data sets (fig. 7)"
_BASE = "base rule (RITM and ClickSEG)"
_GROUPS = 10
_TABLE_4_MEASURES = {
    "noc20_90_sample_mean": "sample_noc",
    "noc20_90_sample_std": "sample_noc_std",
    "delta_sb_noc_pct": "delta_sb_noc_pct",
    "delta_gr_noc_pct": "delta_gr_noc_pct",
}


@dataclass(frozen=True)
class Status:
    """State of one published table.

    Attributes
    ----------
    table : str
        Name of the table.
    state : {"reproduced", "differs", "missing"}
    why : str
        Number of compared cells, or the file that is missing and what to do with it.
    """

    table: str
    state: str
    why: str


def click_models(reference: Path) -> pd.DataFrame:
    """Compute the printed tables of click models from the published scores of each item.

    Parameters
    ----------
    reference : Path
        Folder that contains ``experiments/eval_cm`` or ``eval_cm``.

    Returns
    -------
    pandas.DataFrame
        One row for each printed cell: table, dataset, model, score, printed, rebuilt, equal.

    Raises
    ------
    DataError
        If a file or a column is missing.
    """
    folder = _folder(reference)
    means = {short: _means(folder, short) for short in _SETS.values()}
    cells = []
    for row in _printed(folder, "eval_cm_all.csv").to_dict("records"):
        found = means[_SETS[row["Dataset"]]].loc[_MODELS[row["Model"]]]
        cells += _compare("click models, all data sets", row["Dataset"], row["Model"], row, found)
    for row in _printed(folder, "eval_cm_tetris.csv").to_dict("records"):
        found = means["TETRIS"].loc[_MODELS[row["Model"]]]
        cells += _compare("click models, TETRIS", "TETRIS (Val)", row["Model"], row, found)
    for row in _printed(folder, "ablation_cm_sigma_tetris.csv").to_dict("records"):
        sigma = row["Train data"].removeprefix("CM$_{").removesuffix("}$")
        name = "cm" if sigma == "5" else f"cm_{sigma.replace('.', '')}"
        cells += _compare("ablation of sigma, TETRIS", "TETRIS (Val)", f"sigma {sigma}", row, means["TETRIS"].loc[name])
    return pd.DataFrame(cells, columns=_CELLS)


def click_models_by_kind(reference: Path) -> pd.DataFrame:
    """Return the mean scores of each click model by data set and click type (first, fn, fp).

    Data sets without scores of single items are left out. The scores of TETRIS were not published.

    Raises
    ------
    DataError
        If no data set has scores of single items.
    """
    folder = _folder(reference)
    parts = []
    for name, short in _SETS.items():
        file = folder / f"{short}_per_image.csv"
        if file.is_file():
            means = _read(file, ["model_name", "click_type", *_SCORES.values()])
            means = means.groupby(["click_type", "model_name"])[list(_SCORES.values())].mean()
            parts.append(means.reset_index().assign(dataset=name))
    if not parts:
        raise DataError(f"{folder} has no *_per_image.csv")
    names = {short: label for label, short in _MODELS.items()}
    table = pd.concat(parts, ignore_index=True).replace({"model_name": names})
    table = table.rename(columns={"model_name": "model", "click_type": "click", "ks2d": "ks", "wasserstien": "wd"})
    return table[["dataset", "click", "model", "ks", "l1", "wd", "nss", "pde"]]


def robustness(runs: Runs, reference: Path) -> pd.DataFrame:
    """Compare the robustness in run folders with the published tables and figures, cell by cell.

    Table 4 and figure 6 need ten click groups. Figure 7 needs clicks of people for all models of table 4.

    Parameters
    ----------
    runs : Runs
        Runs whose models are identified by the names of their checkpoint files.
    reference : Path
        Folder that contains ``benchmark_results.csv``.

    Returns
    -------
    pandas.DataFrame
        Columns as in `click_models`; one row for each printed cell that the runs have a value for.

    Raises
    ------
    DataError
        If the file or a column is missing.
    ProtocolError
        If the runs do not contain the base rule and click groups.
    """
    published = _read(reference / "benchmark_results.csv", ["table", "dataset", "checkpoint", "metric", "value"], str)
    published = published.drop_duplicates(["dataset", "checkpoint", "metric", "value"])
    stems = _stems(runs)
    cells, people = [], {}
    for (run, dataset, model, _), played in gather(runs)[0].items():
        stem = stems[run, model]
        people[dataset, stem] = played.people
        values = _figure_6(played) | _table_4(played, runs.protocol["nof"]) if len(played.groups) == _GROUPS else {}
        own = published[(published["dataset"] == dataset) & (published["checkpoint"] == stem)]
        for row in own[own["metric"].isin(values)].to_dict("records"):
            table = _TABLE_4 if row["metric"] in _TABLE_4_MEASURES else _FIGURE_6
            cells.append([table, dataset, stem, row["metric"], *_cell(row["value"], values[row["metric"]])])
    everyone = set(published.loc[published["metric"].isin(_TABLE_4_MEASURES), "checkpoint"])
    for row in published[published["metric"] == "nsr_user_iou1"].to_dict("records"):
        own_people = [people.get((row["dataset"], stem), ()) for stem in everyone]
        if own_people and all(own_people) and len({len(p) for p in own_people}) == 1:
            cell = _cell(row["value"], _dataset_nsr(own_people))
            cells.append([_FIGURE_7, row["dataset"], "all", row["metric"], *cell])
    return pd.DataFrame(cells, columns=_CELLS)


def _table_4(played: Played, nof_rule: str) -> dict[str, float]:
    values = measures(played, nof_rule=nof_rule)
    return {name: values[key] for name, key in _TABLE_4_MEASURES.items()}


def _figure_6(played: Played) -> dict[str, float]:
    parts = {"G1": played.groups[0].mean(axis=0), "G10": played.groups[-1].mean(axis=0), "base": played.base}
    return {f"iou_auc20_pct_{name}": 100 * float(auc(ious).mean()) for name, ious in parts.items()}


def _dataset_nsr(people: Sequence[Sequence[NDArray[np.float64]]]) -> float:
    """Return the noise-to-signal ratio of a data set.

    For each object, the standard deviation and the mean over people are averaged over models. The result is the mean
    over objects of their ratio.

    Parameters
    ----------
    people : sequence over models of sequences over objects of (people,) float arrays
    """
    means = np.mean([[p.mean() for p in own] for own in people], axis=0)
    deviations = np.mean([[p.std() for p in own] for own in people], axis=0)
    return float((deviations / means).mean())


def base_rule(runs: Runs, reference: Path) -> pd.DataFrame:
    """Compare NoC@85 and NoC@90 of the base rule with the tables of RITM and ClickSEG, cell by cell.

    Parameters
    ----------
    runs : Runs
        Runs whose models are identified by the names of their checkpoint files.
    reference : Path
        Folder that contains ``base_strategy_results_third_party.csv``.

    Returns
    -------
    pandas.DataFrame
        Columns as in `click_models`; one row for each printed cell that the runs have a value for. Empty if the budget
        is not 20 clicks.

    Raises
    ------
    DataError
        If the file or a column is missing.
    """
    file = reference / "base_strategy_results_third_party.csv"
    published = _read(file, ["table", "dataset", "checkpoint", "metric", "value"], str)
    base = [user for user, role in roles(runs.header).items() if role == "base"]
    records = runs.records[runs.records["user"].isin(base)]
    cells: list[list[Any]] = []
    if runs.clicks == 20 and not records.empty:
        stems = _stems(runs)
        for key, part in curves(records, 20).groupby(level=["run", "dataset", "model"], sort=False):
            run, dataset, model = key
            own = published[(published["dataset"] == dataset) & (published["checkpoint"] == stems[run, model])]
            for row in own.to_dict("records"):
                value = float(noc(part.to_numpy(), int(row["metric"].removeprefix("noc20_")) / 100).mean())
                cells.append([_BASE, dataset, row["checkpoint"], row["metric"], *_cell(row["value"], value)])
    return pd.DataFrame(cells, columns=_CELLS)


def _stems(runs: Runs) -> dict[tuple[str, str], str]:
    """Return the stem of the checkpoint file by (run, model). An imported model has this stem as its name."""
    pairs = runs.records[["run", "model", "checkpoint"]].drop_duplicates()
    return {
        (run, model): model if checkpoint == "published" else Path(checkpoint.partition("@")[0]).stem
        for run, model, checkpoint in pairs.itertuples(index=False)
    }


def overview(reference: Path, runs: Runs | None = None) -> list[Status]:
    """Return for each published table whether it is reproduced, and if not, what is missing.

    Parameters
    ----------
    reference : Path
        The reference folder, see the module's docstring.
    runs : Runs or None
        Runs for the tables of simulated clicks; None to compare only the tables of click models.
    """
    found = []
    try:
        cells = click_models(reference)
        found += [_status(str(name), part, "") for name, part in cells.groupby("table", sort=False)]
        kinds = click_models_by_kind(reference)
        sets = ", ".join(kinds["dataset"].unique())
        found.append(
            Status("click models by click type", "reproduced", f"{len(kinds)} rows from the scores of items: {sets}")
        )
    except DataError as error:
        found.append(Status("click models", "missing", str(error)))
    played = pd.DataFrame(columns=_CELLS)
    if runs is not None:
        parts = [base_rule(runs, reference)]
        if {"base", "groups"} <= set(roles(runs.header).values()):
            parts.append(robustness(runs, reference))
        played = pd.concat([p for p in parts if len(p)] or parts[:1], ignore_index=True)
    archive = "evaluation_results.zip of the RClicks repository (see `rclicks import`), or the weights of the models"
    for dataset in ("GrabCut", "Berkeley", "DAVIS", "COCO_MVal", "TETRIS"):
        own = played[(played["table"] == _TABLE_4) & (played["dataset"] == dataset)]
        printed = (
            "" if dataset in ("DAVIS", "COCO_MVal", "TETRIS") else "; its printed numbers were not available either"
        )
        found.append(_status(f"{_TABLE_4}, {dataset}", own, archive + printed))
    found += [
        _status(_FIGURE_6, played[played["table"] == _FIGURE_6], archive),
        _status(_FIGURE_7, played[played["table"] == _FIGURE_7], f"clicks of people for all 33 models: {archive}"),
        Status("correlation of measures (fig. 14)", "missing", f"for all 33 models, {archive}"),
        Status("PC against mobile", "missing", "clicks.csv: `rclicks clicks devices --clicks clicks.csv`"),
        Status(
            "display modes", "missing", "previews.csv and its images: `rclicks clicks displays --clicks previews.csv`"
        ),
        _status(
            _BASE,
            played[played["table"] == _BASE],
            "the published weights and `rclicks run paper`, then `rclicks reproduce base RUN`",
        ),
    ]
    return found


def as_table(cells: pd.DataFrame, title: str) -> Table:
    """Return the compared cells as a table."""
    frame = cells.assign(equal=["yes" if e else "NO" for e in cells["equal"]])
    wrong = int((~cells["equal"]).sum())
    return Table(
        title,
        frame,
        notes=(f"{len(cells)} cells: {len(cells) - wrong} equal to the last printed digit, {wrong} different",),
    )


def _status(name: str, cells: pd.DataFrame, missing: str) -> Status:
    """Return the state of a table from its compared cells. Without cells the state is "missing" for that reason."""
    if cells.empty:
        return Status(name, "missing", missing)
    wrong = cells[~cells["equal"].astype(bool)]
    if wrong.empty:
        return Status(name, "reproduced", f"{len(cells)} of {len(cells)} cells equal to the last printed digit")
    worst = wrong.iloc[0]
    example = (
        f"{worst['dataset']}, {worst['model']}, {worst['score']}: printed {worst['printed']}, got {worst['rebuilt']}"
    )
    return Status(name, "differs", f"{len(wrong)} of {len(cells)} cells differ, for example {example}")


def _folder(reference: Path) -> Path:
    for folder in (reference / "experiments" / "eval_cm", reference / "eval_cm", reference):
        if (folder / "eval_cm_all.csv").is_file():
            return folder
    raise DataError(
        f"{reference} has no experiments/eval_cm/eval_cm_all.csv; pass a checkout of the RClicks repository "
        "(emb-ai/rclicks) with --reference or RCLICKS_REFERENCE"
    )


def _means(folder: Path, short: str) -> pd.DataFrame:
    """Return the mean scores of each click model: computed from single items, or, for TETRIS, the published means."""
    file = folder / f"{short}_per_image.csv"
    if file.is_file():
        return _read(file, ["model_name", *_SCORES.values()]).groupby("model_name")[list(_SCORES.values())].mean()
    return _read(folder / f"{short}_mean.csv", ["model_name", *_SCORES.values()]).set_index("model_name")


def _printed(folder: Path, name: str) -> pd.DataFrame:
    frame = _read(folder / name, [], dtype=str)
    return frame.rename(columns={c: c.split("\\")[0] for c in frame.columns})


def _read(file: Path, columns: list[str], dtype: type | None = None) -> pd.DataFrame:
    try:
        frame = pd.read_csv(file, dtype=dtype)
    except FileNotFoundError as error:
        raise DataError(f"{file} is missing") from error
    except (ValueError, OSError) as error:
        raise DataError(f"{file} is not a readable CSV file: {error}") from error
    missing = [c for c in columns if c not in frame.columns]
    if missing:
        raise DataError(f"{file} lacks the columns {', '.join(missing)}")
    return frame


def _compare(table: str, dataset: str, model: str, row: Mapping[str, Any], found: pd.Series) -> list[list[Any]]:
    return [
        [table, dataset, model, label.replace("$_1$", "1"), *_cell(row[label], float(found[key]))]
        for label, key in _SCORES.items()
    ]


def _cell(printed: str, value: float) -> tuple[str, str, bool]:
    """Return the printed text, the value in the same number format, and whether both texts are equal."""
    mantissa, _, exponent = printed.upper().partition("E")
    decimals = len(mantissa.partition(".")[2])
    rebuilt = f"{value:.{decimals}E}" if exponent else f"{value:.{decimals}f}"
    return printed, rebuilt, rebuilt == printed.upper()
