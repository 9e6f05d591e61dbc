"""Rebuild published tables from published files, cell by cell, and say for each table whether that is possible.

The reference folder is a checkout of the RClicks repository or a copy of its ``experiments`` folder; nothing of it
comes with this package. Printed tables are compared to the last printed digit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from rclicks.analysis.robustness import measures
from rclicks.analysis.robustness_table import gather
from rclicks.analysis.runs import Runs, Table
from rclicks.errors import DataError

__all__ = ["Status", "click_models", "click_models_by_kind", "overview", "robustness"]

_SETS = {"GrabCut": "GrabCut", "Berkeley": "Berkeley", "DAVIS": "DAVIS", "COCO-MVal": "COCO", "TETRIS (Val)": "TETRIS"}
_MODELS = {"UD": "ud", "DT": "dt", "SI": "si", "SM": "sm", "Ours": "cm"}
_SCORES = {"KS": "ks2d", "PL$_1$": "l1", "WD": "wasserstien", "NSS": "nss", "PDE": "pde"}  # sic
_CELLS = ["table", "dataset", "model", "score", "printed", "rebuilt", "equal"]
_ROBUSTNESS = {
    "noc20_90_sample_mean": "sample_noc",
    "noc20_90_sample_std": "sample_noc_std",
    "delta_sb_noc_pct": "delta_sb_noc_pct",
    "delta_gr_noc_pct": "delta_gr_noc_pct",
}


@dataclass(frozen=True)
class Status:
    """What can be said of one published table.

    Attributes
    ----------
    table : str
    state : {"reproduced", "differs", "missing"}
    why : str
        Cells compared, or the file that is missing and what to do with it.
    """

    table: str
    state: str
    why: str


def click_models(reference: Path) -> pd.DataFrame:
    """Rebuild the printed tables of click models from the scores of each item.

    Parameters
    ----------
    reference : Path
        Has ``experiments/eval_cm`` or ``eval_cm`` below it.

    Returns
    -------
    pandas.DataFrame
        One row a printed cell: table, dataset, model, score, printed, rebuilt, equal.

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
    """Return the mean scores of each click model by data set and click type (first, fn, fp), from the scores of items.

    Data sets whose scores by item are not there (TETRIS was not published) are left out.

    Raises
    ------
    DataError
        If there is no such file at all.
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
    """Compare the robustness measures of runs (imported or played) with the published ones, cell by cell.

    Parameters
    ----------
    runs : Runs
    reference : Path
        Has ``benchmark_results.csv`` with columns dataset, checkpoint, metric, value, table.

    Returns
    -------
    pandas.DataFrame
        As `click_models`; only cells for which both sides exist.

    Raises
    ------
    DataError
        If the file is missing.
    """
    published = _read(reference / "benchmark_results.csv", ["table", "dataset", "checkpoint", "metric", "value"])
    cells = []
    for (_, dataset, model, _), played in gather(runs)[0].items():
        values = measures(played, nof_rule=runs.protocol["nof"])
        own = published[(published["dataset"] == dataset) & (published["checkpoint"] == model)]
        for row in own[own["metric"].isin(_ROBUSTNESS)].to_dict("records"):
            rebuilt = values[_ROBUSTNESS[row["metric"]]]
            cells.append([row["table"], dataset, model, row["metric"], *_cell(str(row["value"]), rebuilt)])
    return pd.DataFrame(cells, columns=_CELLS)


def overview(reference: Path, runs: Runs | None = None) -> list[Status]:
    """Say of each published table whether it is reproduced, and if not, what is missing."""
    found = []
    try:
        cells = click_models(reference)
        found += [_status(str(name), part) for name, part in cells.groupby("table", sort=False)]
        kinds = click_models_by_kind(reference)
        sets = ", ".join(kinds["dataset"].unique())
        found.append(
            Status("click models by click type", "reproduced", f"{len(kinds)} rows from the scores of items: {sets}")
        )
    except DataError as error:
        found.append(Status("click models", "missing", str(error)))
    archive = "evaluation_results.zip of the RClicks repository, to be read by `rclicks import`; or the models' weights"
    names = [f"robustness on {name} (table 4)" for name in ("GrabCut", "Berkeley", "DAVIS", "COCO-MVal", "TETRIS")]
    cells = pd.DataFrame(columns=_CELLS) if runs is None else robustness(runs, reference)
    for name in names:
        dataset = name.split()[2].replace("-", "_")
        own = cells[cells["dataset"] == dataset]
        found.append(_status(name, own) if len(own) else Status(name, "missing", archive))
    found += [
        Status("area under the IoU curves (fig. 6)", "missing", archive),
        Status("noise-to-signal ratio of data sets (fig. 7)", "missing", f"for all 33 models, {archive}"),
        Status("correlation of measures (fig. 14)", "missing", f"for all 33 models, {archive}"),
        Status("PC against mobile", "missing", "clicks.csv: `rclicks clicks devices --clicks clicks.csv`"),
        Status(
            "display modes", "missing", "previews.csv and its images: `rclicks clicks displays --clicks previews.csv`"
        ),
        Status("NoC of the base rule (RITM and ClickSEG)", "missing", "the published weights: `rclicks run paper`"),
    ]
    return found


def as_table(cells: pd.DataFrame, title: str) -> Table:
    """Return compared cells as a table."""
    frame = cells.assign(equal=["yes" if e else "NO" for e in cells["equal"]])
    wrong = int((~cells["equal"]).sum())
    return Table(
        title, frame, notes=(f"{len(cells)} cells, {len(cells) - wrong} equal to the printed digit, {wrong} not",)
    )


def _status(name: str, cells: pd.DataFrame) -> Status:
    wrong = cells[~cells["equal"]]
    if wrong.empty:
        return Status(name, "reproduced", f"{len(cells)} of {len(cells)} cells equal to the printed digit")
    worst = wrong.iloc[0]
    example = (
        f"{worst['dataset']}, {worst['model']}, {worst['score']}: printed {worst['printed']}, is {worst['rebuilt']}"
    )
    return Status(name, "differs", f"{len(wrong)} of {len(cells)} cells, such as {example}")


def _folder(reference: Path) -> Path:
    for folder in (reference / "experiments" / "eval_cm", reference / "eval_cm", reference):
        if (folder / "eval_cm_all.csv").is_file():
            return folder
    raise DataError(
        f"{reference} has no experiments/eval_cm/eval_cm_all.csv; give a checkout of the RClicks repository "
        "(emb-ai/rclicks) by --reference or RCLICKS_REFERENCE"
    )


def _means(folder: Path, short: str) -> pd.DataFrame:
    """Return the mean scores of each click model: from the scores of items, or, for TETRIS, the published means."""
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
        raise DataError(f"{file} is no readable CSV: {error}") from error
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
    """Return the printed text, the value printed the same way, and whether they are equal."""
    mantissa, _, exponent = printed.upper().partition("E")
    decimals = len(mantissa.partition(".")[2])
    rebuilt = f"{value:.{decimals}E}" if exponent else f"{value:.{decimals}f}"
    return printed, rebuilt, rebuilt == printed.upper()
