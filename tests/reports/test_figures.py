"""Figures tell the truth about names, boxes and uncertainty, and the page takes several runs."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import rclicks
from rclicks.analysis.effort import curves
from rclicks.analysis.runs import Runs, load_runs
from rclicks.records.store import load_run
from rclicks.reports.figures import bootstrap_band, curve_figure, inline_svg, to_svg
from rclicks.reports.site import write_site

PLUGINS = Path(__file__).parent.parent / "plugins"
PRICE = "cost $5 & $6"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("figures")
    study = folder / "s.yaml"
    study.write_text(
        "models: [toy, {name: toy, label: wide, options: {radius: 12}}, toy-box]\n"
        f"datasets: [toy-set, {{name: toy-set, label: '{PRICE}', options: {{n: 4}}}}]\n"
        "users: [robot, 'box:jitters=[0,5],replicates=2']\nprotocol: {clicks: 5}\n"
    )
    rclicks.evaluate(study, plugins=[PLUGINS], out=folder / "one")
    rclicks.evaluate(study, plugins=[PLUGINS], out=folder / "two", seed=7)
    return folder


@pytest.fixture(scope="module")
def runs(folder: Path) -> Runs:
    return load_runs([folder / "one"])


def test_rows_of_one_object_are_drawn_together() -> None:
    values = np.random.default_rng(0).random((12, 4))
    alone = bootstrap_band(values)
    # Copies of a trajectory add no information, so they must not narrow the band.
    doubled = bootstrap_band(np.repeat(values, 2, axis=0), np.repeat(np.arange(12), 2))
    np.testing.assert_allclose(doubled, alone)
    naive = bootstrap_band(np.repeat(values, 2, axis=0))
    assert ((naive[1] - naive[0]) < (doubled[1] - doubled[0])).all()
    np.testing.assert_array_equal(bootstrap_band(values), alone)


def test_lines_are_the_means_of_the_records(runs: Runs) -> None:
    axes = curve_figure(runs, "toy-set").axes[0]
    wide = curves(runs.records[runs.records["dataset"] == "toy-set"], 5)
    lines = [line for line in axes.get_lines() if len(line.get_xdata()) == 5]
    for model, line in zip(("toy", "toy-box", "wide"), lines, strict=True):
        expected = wide.xs((model, "robot"), level=("model", "user")).to_numpy().mean(axis=0)
        np.testing.assert_allclose(line.get_ydata(), expected)
        assert line.get_xdata().tolist() == [1, 2, 3, 4, 5]


def test_a_box_is_a_point_and_no_curve(runs: Runs) -> None:
    axes = curve_figure(runs, "toy-set").axes[0]
    points = [c for c in axes.containers if len(c.lines[0].get_xdata()) == 1]
    assert len(points) == 2, "tight and jittered boxes"
    assert len([line for line in axes.get_lines() if len(line.get_xdata()) == 5]) == 3


def test_dollar_signs_in_names_stay(runs: Runs) -> None:
    assert ">cost $5 &amp; $6: 8 objects" in to_svg(curve_figure(runs, PRICE))


def test_axes_are_named_thresholds_drawn_and_the_legend_covers_nothing(runs: Runs) -> None:
    figure = curve_figure(runs, "toy-set")
    axes = figure.axes[0]
    assert axes.get_xlabel() == "number of clicks"
    assert axes.get_ylabel() == "mean IoU"
    dashed = [line for line in axes.get_lines() if len(set(line.get_ydata())) == 1 and line.get_linestyle() == "--"]
    assert sorted(line.get_ydata()[0] for line in dashed) == [0.85, 0.90]
    to_svg(figure)  # lays it out
    assert not figure.legends[0].get_window_extent().overlaps(axes.get_window_extent())


def test_inline_figures_share_no_ids_and_take_the_colours_of_the_page(runs: Runs) -> None:
    first, second = (inline_svg(curve_figure(runs, "toy-set"), prefix) for prefix in ("f0", "f1"))
    ids = [set(re.findall(r'\bid="([^"]+)"', text)) for text in (first, second)]
    assert ids[0]
    assert not ids[0] & ids[1]
    used = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', first))
    assert used
    assert {a or b for a, b in used} <= ids[0]
    assert "http" not in first
    assert "currentColor" in first
    assert "var(--line)" in first


def test_the_page_tells_where_each_of_several_runs_comes_from(folder: Path, tmp_path: Path) -> None:
    paths = [folder / "one", folder / "two"]
    headers = {p.name: load_run(p) for p in paths}
    text = write_site(load_runs(paths), tmp_path, headers).read_text()
    for name, header in headers.items():
        assert f"<h3>{name}</h3>" in text
        assert header["identity"] in text
    assert "left out: pair toy x box" in text
    assert text.count("toy-box was given click prompts") == 1, "a note of all tables stands once"
    ids = re.findall(r'\bid="([^"]+)"', text)
    doubled = {i for i in ids if ids.count(i) > 1}
    assert not doubled
    assert "http" not in text
    assert text.count('scope="row"') >= text.count("<tbody>")


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs a browser")
def test_tables_sort_in_a_browser_from_disk(runs: Runs, tmp_path: Path) -> None:
    page = write_site(runs, tmp_path)
    button = "[...document.querySelector('.sortable').querySelectorAll('button')].find(b => b.textContent == 'IoU@1')"
    script = f"<script>{button}.click(); {button}.click();</script></body>"
    page.write_text(page.read_text().replace("</body>", script))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    command = ["chromium", *flags, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    table = dom[dom.index("<table") : dom.index("</table>")]
    heads = re.findall(r'aria-sort="(\w+)"><button type="button">([^<]+)', table)
    assert [name for order, name in heads if order == "descending"] == ["IoU@1"]
    column = [name for _, name in heads].index("IoU@1")
    rows = table[table.index("<tbody") :].split("<tr>")[1:]
    values = [float(re.findall(r'data-sort="([^"]*)"', row)[column]) for row in rows]
    assert len(set(values)) > 2
    assert values == sorted(values, reverse=True)
