"""``rclicks data agreement`` prints the inter-rater agreement of the shared data, equal to the reference figures."""

import csv
import json
import os
import subprocess
import sys

import pytest

from support import SHARED, needs_shared

COLUMNS = {
    "pairwise dice": "mean_pairwise_dice",
    "min pairwise dice": "mean_of_min_pairwise_dice",
    "pairwise iou": "mean_pairwise_iou",
    "rater distance": "ged_rater_term_d_yy_iou_with_diagonal",
    "rater vs others dice": "mean_rater_vs_leave_one_out_majority_dice",
    "foreground": "mean_foreground_fraction",
    "vote entropy bits": "mean_vote_entropy_bits_per_pixel",
}


def command(*words: str) -> subprocess.CompletedProcess:
    whole = [sys.executable, "-m", "rclicks", "data", "agreement", *words]
    return subprocess.run(whole, capture_output=True, text=True, env=os.environ | {"NO_COLOR": "1"})


@needs_shared
def test_equal_to_the_reference() -> None:
    reference = {r["set"]: r for r in csv.DictReader((SHARED / "reference" / "aespa" / "human_ceiling.csv").open())}
    sets = ["QUBIQ_brain_growth", "LIDC_crops"]
    done = command(*sets, "--no-staple", "--data-root", str(SHARED / "data"), "--format", "json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    rows = rows["rows"] if isinstance(rows, dict) else rows
    assert [row["dataset"] for row in rows] == sets
    for row, name in zip(rows, ("qubiq_brain_growth", "lidc_71_all4slots"), strict=True):
        for ours, theirs in COLUMNS.items():
            assert float(row[ours]) == pytest.approx(float(reference[name][theirs]), abs=1e-4), (name, ours)


def test_what_cannot_be_measured() -> None:
    done = command("quickstart")
    assert done.returncode == 6
    assert "no object with at least two raters" in done.stderr
    done = command("quickstart", "--raters", "some")
    assert done.returncode == 6
    assert "present, nonempty, all" in done.stderr.replace("'", "")
