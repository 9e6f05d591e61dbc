"""The table of volumes: what is averaged over what, the forced zero, old records."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rclicks.analysis.runs import Runs, Threshold
from rclicks.analysis.tables import make_table
from rclicks.analysis.volume_table import gated, volume_table
from rclicks.errors import ProtocolError
from rclicks.records.schema import SCHEMA
from rclicks.records.store import RunStore, load_records


def runs(scores: dict[tuple[str, str], list[float]], clicks: int, gate: float = 0.0, box: bool = False) -> Runs:
    rows = [
        {"run": "r", "model": "m", "checkpoint": "none", "dataset": "d", "sample": s, "object": o, "rater": "gt"}
        | {"user": "u", "group": "", "replicate": 0, "round": k + 1, "kind": "box" if box and k == 0 else "click"}
        | {"iou": v, "dice": v, "nsd-surfel": v / 2 + 0.5, "nsd-voxel": np.nan, "decode_s": 1.0, "encode_s": 0.5}
        | {"flags": ""}
        for (s, o), values in scores.items()
        for k, v in enumerate(values)
    ]
    rules = {"name": "default", "clicks": clicks, "nof": "never-reached", "nsd_gate": gate, "nsd_tolerance": 2.0}
    header = {
        "benchmark": "b",
        "effective": {
            "protocol": rules,
            "metrics": ["iou", "dice", "nsd-surfel"],
            "models": [{"label": "m", "name": "m"}],
            "datasets": [{"label": "d", "name": "d"}],
            "users": [{"label": "u", "name": "robot", "options": {}}],
        },
    }
    units = pd.DataFrame({"dataset": ["d"], "model": ["m"], "sample": ["s"], "clicks": [1]})
    return Runs(pd.DataFrame(rows), units, pd.DataFrame(), header)


def test_objects_are_averaged_within_a_volume_first() -> None:
    played = runs({("a", "1"): [0.2, 0.4], ("a", "2"): [0.4, 0.6], ("b", "1"): [0.9, 1.0]}, 2)
    (row,) = volume_table(played).frame.to_dict("records")
    assert (row["volumes"], row["n"]) == (2, 3)
    assert row["DSC@1"] == pytest.approx((0.3 + 0.9) / 2)
    assert row["DSC final"] == pytest.approx((0.5 + 1.0) / 2)
    assert row["DSC-AUC"] == row["DSC-AUC full"] == pytest.approx((0.4 + 0.95) / 2)
    assert row["NSD final"] == pytest.approx((0.75 + 1.0) / 2)
    assert row["s/interaction"] == 1.5


def test_a_box_is_left_out_of_the_areas_but_for_the_full_one() -> None:
    (row,) = volume_table(runs({("a", "1"): [0.0, 0.5, 1.0]}, 3, box=True)).frame.to_dict("records")
    assert (row["DSC@box"], row["DSC@1"]) == (0.0, 0.5)
    assert (row["DSC-AUC"], row["DSC-AUC full"]) == (0.75, 0.5)


def test_a_trajectory_that_stopped_keeps_its_value() -> None:
    (row,) = volume_table(runs({("a", "1"): [0.5, 1.0]}, 4)).frame.to_dict("records")
    assert row["DSC-AUC"] == 2.75
    assert row["DSC final"] == 1.0


def test_the_forced_zero_of_the_challenge() -> None:
    scores = {("a", "1"): [0.1, 0.2, 0.21]}
    assert [round(v, 6) for v in gated(runs(scores, 3).records, 0.2)["nsd-surfel"]] == [0, 0, 0.605]
    (row,) = volume_table(runs(scores, 3, gate=0.2)).frame.to_dict("records")
    assert (row["NSD@1"], row["NSD final"]) == (0, pytest.approx(0.605))
    (free,) = volume_table(runs(scores, 3)).frame.to_dict("records")
    assert free["NSD@1"] == pytest.approx(0.55)


def test_clicks_counted_by_dice() -> None:
    played = runs({("a", "1"): [0.5, 0.75, 0.8], ("a", "2"): [0.1, 0.2, 0.3]}, 3)
    (row,) = make_table(played, "noc", Threshold("dice", 0.7)).frame.to_dict("records")
    assert row["NoC@70"] == 2.5
    assert row["NoF@70"] == 1
    assert row["Dice@1"] == pytest.approx(0.3)
    assert "NoC@90" not in row
    with pytest.raises(
        ProtocolError, match="cannot be counted with the metric 'hd95-surfel'; these runs allow iou, dice, nsd-surfel"
    ):
        make_table(played, "noc", Threshold("hd95-surfel"))
    with pytest.raises(ProtocolError, match="the threshold is 70"):
        make_table(played, "noc", Threshold("dice", 70))
    with pytest.raises(ProtocolError, match="counts no clicks"):
        make_table(played, "volumes", Threshold("dice"))


def test_records_older_than_a_column_are_read(tmp_path: object) -> None:
    store = RunStore(tmp_path)
    store.write_header({"identity": "x"})
    row = {"model": "m", "sample": "s", "object": "1", "round": 1, "iou": 0.5, "unit": "k", "group": "", "user": "u"}
    store.write_unit("k", [row], [], {})
    file = next((tmp_path / "shards").glob("*.parquet"))
    table = pq.ParquetFile(file).read()
    pq.write_table(table.drop_columns(["region", "nsd-surfel"]), file)
    frame = load_records(tmp_path)
    assert frame["iou"].tolist() == [0.5]
    assert frame["nsd-surfel"].isna().all()
    assert list(frame.columns[: len(SCHEMA)]) == SCHEMA.names or set(SCHEMA.names) <= set(frame.columns)
    assert pa.types.is_binary(SCHEMA.field("region").type)
