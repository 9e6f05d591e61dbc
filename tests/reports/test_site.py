"""The static page and the figures."""

import re
from pathlib import Path

import numpy as np
import pytest

import rclicks
from rclicks.analysis.runs import Runs, load_runs
from rclicks.errors import ProtocolError
from rclicks.reports.figures import bootstrap_band, curve_figure, save_curves, to_svg
from rclicks.reports.site import write_site

PLUGINS = Path(__file__).parent.parent / "plugins"
NASTY = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("report")
    study = folder / "s.yaml"
    study.write_text(
        f"summary: '{NASTY}'\nmodels: [toy, {{name: toy, label: '{NASTY}', options: {{radius: 9}}}}]\n"
        f"datasets: [{{name: toy-set, label: '{NASTY}', options: {{damaged: 1}}}}]\nprotocol: {{clicks: 3}}\n"
    )
    rclicks.evaluate(study, plugins=[PLUGINS], out=folder / "run")
    return load_runs([folder / "run"])


def test_page_escapes_what_it_shows_and_fetches_nothing(runs: Runs, tmp_path: Path) -> None:
    text = write_site(runs, tmp_path / "site").read_text()
    assert NASTY not in text
    assert "&lt;script&gt;alert(1)" in text
    assert len(re.findall(r"<script", text)) == 1
    links = re.findall(r"""(?:src|href)\s*=\s*["']([^"'#][^"']*)""", text)
    assert [x for x in links if not x.startswith("#")] == []
    assert "@import" not in text
    assert "url(http" not in text


def test_page_has_tables_that_sort_and_provenance(runs: Runs, tmp_path: Path) -> None:
    text = write_site(runs, tmp_path).read_text()
    assert text.count('aria-sort="none"') > 20
    assert text.count("<svg") == 1
    assert "image s1 is damaged" in text
    assert runs.header["protocol_hash"] in text
    assert 'class="n best"' in text


def test_the_same_figure_gives_the_same_bytes(runs: Runs, tmp_path: Path) -> None:
    first = to_svg(curve_figure(runs, NASTY))
    assert first == to_svg(curve_figure(runs, NASTY))
    assert first.startswith("<svg")
    names = [p.name for p in save_curves(runs, tmp_path)]
    assert all("/" not in n and "<" not in n for n in names)


def test_a_metric_that_was_not_stored_is_refused(runs: Runs) -> None:
    with pytest.raises(ProtocolError, match="'dice' was not stored"):
        curve_figure(runs, NASTY, "dice")


def test_bootstrap_band_covers_the_mean_and_shrinks_with_more_rows() -> None:
    rng = np.random.default_rng(0)
    few, many = rng.random((10, 3)), rng.random((1000, 3))
    low, high = bootstrap_band(few)
    assert (low < few.mean(axis=0)).all()
    assert (few.mean(axis=0) < high).all()
    narrow = bootstrap_band(many)
    assert ((narrow[1] - narrow[0]) < (high - low)).all()
    # The percentile interval of a mean is close to 1.96 standard errors.
    error = 1.96 * many.std(axis=0) / np.sqrt(1000)
    assert narrow[1] - many.mean(axis=0) == pytest.approx(error, rel=0.15)
