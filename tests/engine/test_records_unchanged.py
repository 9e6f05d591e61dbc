"""Three studies give the records that they gave before the code was put into its present order."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import rclicks
from support import REPOSITORY, SHARED

FIXTURES = REPOSITORY / "tests" / "fixtures" / "records"
TIMES = ("encode_s", "decode_s", "user_s", "metric_s")
CLASSICAL = ["graph-cut", "random-walker", "geodesic", "opencv-grabcut"]
needs_data = pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="the shared real data is absent")

STUDIES = [
    pytest.param("quickstart", {"limit": 2, "clicks": 6}, id="quickstart"),
    pytest.param(
        "raters", {"limit": 1, "models": CLASSICAL, "datasets": ["LIDC_crops", "STARE"]}, marks=needs_data, id="raters"
    ),
    pytest.param("volumes", {"limit": 1, "clicks": 4}, marks=needs_data, id="volumes"),
]


def sorted_rows(table: pa.Table) -> list[dict]:
    """Return the rows without times, in an order that does not depend on the run."""
    kept = [c for c in table.column_names if c not in TIMES]
    rows = table.select(kept).to_pylist()
    keys = ("dataset", "sample", "model", "object", "rater", "user", "group", "replicate", "round")
    return sorted(rows, key=lambda row: (*(str(row[k]) for k in keys[:-2]), row["replicate"], row["round"]))


@pytest.mark.slow
@pytest.mark.parametrize(("study", "arguments"), STUDIES)
def test_records_are_as_before(study: str, arguments: dict, tmp_path: Path) -> None:
    frame = rclicks.evaluate(study, data_root=SHARED / "data", out=tmp_path / "run", **arguments)
    assert frame.attrs["failures"] == []
    now = pq.read_table(tmp_path / "run" / "records.parquet")
    before = pq.read_table(FIXTURES / f"{study}.parquet")
    assert now.schema.remove_metadata().equals(before.schema.remove_metadata())
    found, expected = sorted_rows(now), sorted_rows(before)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        # NaN is not equal to itself, so values are compared by what they print.
        assert {k: repr(v) for k, v in one.items()} == {k: repr(v) for k, v in other.items()}
