"""The engine on a toy model: determinism, resume, faults, batch size."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rclicks.benchmark import Benchmark
from rclicks.engine.episode import EpisodeConfig, play
from rclicks.engine.loading import load_dataset, load_model, load_user
from rclicks.engine.plan import make_plan
from rclicks.engine.pool import run_here
from rclicks.engine.run import run_plan
from rclicks.errors import DataError, OutOfMemory, ProtocolError, RunError
from rclicks.protocol import Protocol
from rclicks.records.schema import KEYS
from rclicks.records.store import RunStore, load_failures, load_records, load_run, load_units, same_records
from rclicks.registry import Registry
from rclicks.sample import Sample, Target
from rclicks.specs import parse
from support import REPOSITORY, golden, golden_arrays, needs_shared

PLUGINS = Path(__file__).parent.parent / "plugins"


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.discover([PLUGINS])


def study(model: str = "toy", data: str = "toy-set", users: tuple = ("robot",), **rules: object) -> Benchmark:
    return Benchmark(
        name="test",
        summary="",
        models=(parse(model),),
        datasets=(parse(data),),
        users=tuple(parse(u) for u in users),
        metrics=("iou", "biou"),
        protocol=Protocol.named("default", **({"clicks": 4} | rules)),
    )


def run(registry: Registry, out: Path, benchmark: Benchmark, workers: int = 1, **options: object) -> pd.DataFrame:
    run_plan(make_plan(benchmark, registry, **options), out, workers=workers)
    return load_records(out)


def test_records_are_equal_for_any_number_of_workers(registry: Registry, tmp_path: Path) -> None:
    users = ("robot", "box:jitters=[0,5],replicates=2")
    one = run(registry, tmp_path / "one", study(users=users))
    two = run(registry, tmp_path / "two", study(users=users), workers=2)
    three = run(registry, tmp_path / "three", study(users=users), workers=3)
    # The toy model takes clicks only, so the box user is left out and said to be.
    assert set(one["user"]) == {"robot"}
    assert same_records(one, two)
    assert same_records(one, three)
    assert not one.duplicated(list(KEYS)).any()
    assert list(one["sample"].unique()) == [f"s{i}" for i in range(6)]


def test_encoder_runs_once_an_image_for_all_objects_users_and_replicates(registry: Registry, tmp_path: Path) -> None:
    benchmark = study("toy-box", users=("robot", "box:jitters=[0,4],replicates=3"))
    run(registry, tmp_path / "r", benchmark)
    assert load_units(tmp_path / "r")["encoder_calls"].tolist() == [1] * 6
    model = load_model(registry, parse("toy-box"))
    users = [(s.label, load_user(registry, s, benchmark.protocol)) for s in benchmark.users]
    sample = load_dataset(registry, parse("toy-set"), None)[0]
    episode = play(model, sample, users, EpisodeConfig("toy-box", benchmark.protocol, ("iou",), 42, 4, "u"))
    assert model.embeds == 1
    # Round 1 has 2 objects x (1 robot + 1 tight + 3 jittered boxes) = 10 slots in 3 batches; rounds 2 to 4 have the
    # two robots only.
    assert model.calls == 3 + 3
    assert len(episode.rows) == 2 * (4 + 4)


def test_lanes_are_padded_to_the_canonical_count_and_recorded(registry: Registry, tmp_path: Path) -> None:
    frame = run(registry, tmp_path / "r", study(), batch_size=8)
    assert set(frame["lanes"]) == {8}
    other = run(registry, tmp_path / "s", study(), batch_size=1)
    assert np.allclose(frame["iou"], other["iou"], atol=1e-6)


def test_memory_shortage_halves_the_lanes_and_is_recorded(registry: Registry, tmp_path: Path) -> None:
    frame = run(registry, tmp_path / "r", study("toy:fits=2"), batch_size=8)
    assert set(frame["lanes"]) == {2}
    assert len(frame) == 6 * 2 * 4
    assert load_failures(tmp_path / "r").empty


@pytest.mark.parametrize(("fault", "error"), [("raise", "ValueError"), ("memory", "OutOfMemory")])
def test_a_sample_that_fails_is_recorded_and_the_run_goes_on(
    registry: Registry, tmp_path: Path, fault: str, error: str
) -> None:
    frame = run(registry, tmp_path / "r", study(f"toy:fail_on=s2,fault={fault}"))
    assert sorted(frame["sample"].unique()) == ["s0", "s1", "s3", "s4", "s5"]
    failed = load_failures(tmp_path / "r")
    assert failed["sample"].tolist() == ["s2"]
    assert failed["error"].tolist() == [error]
    assert "Traceback" in failed["traceback"][0]


def test_nan_output_fails_its_trajectory_only(registry: Registry, tmp_path: Path) -> None:
    frame = run(registry, tmp_path / "r", study("toy:fail_on=s2,fault=nan"), batch_size=4)
    assert len(frame[frame["sample"] == "s2"]) == 4  # the other object's; the first round of the failed one goes too
    failed = load_failures(tmp_path / "r")
    assert failed[["sample", "object", "error"]].to_numpy().tolist() == [["s2", "0", "InvalidPrediction"]]
    assert "NaN" in failed["message"][0]


def test_damaged_empty_and_misshapen_data_are_recorded(registry: Registry, tmp_path: Path) -> None:
    frame = run(registry, tmp_path / "r", study(data="toy-set:damaged=1,empty=3,shifted=4"))
    failed = load_failures(tmp_path / "r").set_index("sample")
    assert failed["error"].to_dict() == {"s1": "DataError", "s3": "EmptyTarget", "s4": "ValueError"}
    assert "(48, 63)" in failed.loc["s4", "message"]
    assert sorted(frame["sample"].unique()) == ["s0", "s2", "s3", "s5"]
    assert frame.loc[frame["sample"] == "s3", "object"].unique().tolist() == ["1"]


def test_a_dying_worker_is_replaced_and_its_unit_fails(registry: Registry, tmp_path: Path) -> None:
    frame = run(registry, tmp_path / "r", study("toy:fail_on=s2,fault=kill"), workers=2)
    assert sorted(frame["sample"].unique()) == ["s0", "s1", "s3", "s4", "s5"]
    failed = load_failures(tmp_path / "r")
    assert failed["error"].tolist() == ["WorkerDied"]
    assert "exit code -9" in failed["message"][0]


def test_failed_units_are_tried_again_and_forgotten_when_they_succeed(registry: Registry, tmp_path: Path) -> None:
    plan = make_plan(study(), registry)
    store = RunStore(tmp_path / "r")
    unit = plan.units[2]
    store.write_header({"identity": plan.identity, "benchmark": "test"})
    store.write_failures(unit.key, [{"sample": unit.sample, "error": "ValueError", "message": "once"}])
    run_plan(plan, tmp_path / "r")
    assert load_failures(tmp_path / "r").empty
    assert len(load_records(tmp_path / "r")) == 6 * 2 * 4


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
from test_run import PLUGINS, study
from rclicks.engine.plan import make_plan
from rclicks.engine.run import run_plan
from rclicks.registry import Registry
if __name__ == "__main__":
    plan = make_plan(study("toy:slow=0.02", "toy-set:n=24"), Registry.discover([PLUGINS]))
    run_plan(plan, Path({out!r}), workers={workers})
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_kill_minus_nine_loses_and_doubles_nothing(registry: Registry, tmp_path: Path, workers: int) -> None:
    benchmark = study("toy:slow=0.02", "toy-set:n=24")
    script, out = tmp_path / "go.py", tmp_path / "killed"
    script.write_text(SCRIPT.format(here=str(Path(__file__).parent), out=str(out), workers=workers))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")])}
    kills = 0
    for wanted in (3, 9):
        process = subprocess.Popen([sys.executable, str(script)], env=environment, start_new_session=True)
        deadline = time.monotonic() + 120
        while len(list((out / "shards").glob("*.parquet"))) < wanted:
            assert process.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
    half = load_records(out)
    assert 9 * 8 <= len(half) < 24 * 8
    resumed = run(registry, out, benchmark, workers=workers)
    undisturbed = run(registry, tmp_path / "whole", benchmark)
    assert kills == 2
    assert len(resumed) == 24 * 2 * 4
    assert same_records(resumed, undisturbed)
    assert not (out / "shards").exists()
    assert len(load_run(out)["sessions"]) == 3


def test_killed_between_merging_and_deleting_shards(registry: Registry, tmp_path: Path) -> None:
    plan = make_plan(study(), registry)
    store = RunStore(tmp_path / "r")
    store.write_header({"identity": plan.identity, "benchmark": "test"})
    run_here(plan, store, plan.units[:3], lambda report: None)
    stale = {f.name: f.read_bytes() for f in store.shards.glob("*.parquet")}
    store.compact([u.key for u in plan.units])
    store.shards.mkdir()
    for name, data in stale.items():
        (store.shards / name).write_bytes(data)
    assert len(stale) == 3
    assert len(load_records(tmp_path / "r")) == 3 * 8
    assert len(load_units(tmp_path / "r")) == 3
    assert same_records(run(registry, tmp_path / "r", study()), run(registry, tmp_path / "s", study()))


def test_a_larger_limit_goes_on_where_the_smaller_ended(registry: Registry, tmp_path: Path) -> None:
    small = study().changed(registry, limit=2)
    run(registry, tmp_path / "r", small)
    frame = run(registry, tmp_path / "r", study())
    assert same_records(frame, run(registry, tmp_path / "s", study()))
    assert list(frame["sample"].unique()) == [f"s{i}" for i in range(6)]


def test_another_plan_is_refused_and_fresh_starts_over(registry: Registry, tmp_path: Path) -> None:
    run(registry, tmp_path / "r", study())
    other = make_plan(study(clicks=2), registry)
    with pytest.raises(RunError, match="another plan"):
        run_plan(other, tmp_path / "r")
    run_plan(other, tmp_path / "r", fresh=True)
    assert load_records(tmp_path / "r")["round"].max() == 2


def test_fresh_never_deletes_a_folder_that_is_no_run(registry: Registry, tmp_path: Path) -> None:
    precious = tmp_path / "home" / "thesis.tex"
    precious.parent.mkdir()
    precious.write_text("years of work")
    plan = make_plan(study(), registry)
    for fresh in (True, False):
        with pytest.raises(RunError, match="is not a run folder"):
            run_plan(plan, precious.parent, fresh=fresh)
    assert precious.read_text() == "years of work"


def mount(folder: Path, options: str) -> None:
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip(f"cannot mount a small file system here: {made.stderr.decode().strip()}")


@pytest.mark.parametrize("workers", [1, 2])
def test_full_disk_stops_with_a_clear_error_and_resumes(registry: Registry, tmp_path: Path, workers: int) -> None:
    disk = tmp_path / "disk"
    mount(disk, "size=256k")
    try:
        plan = make_plan(study("toy", "toy-set:n=60"), registry)
        with pytest.raises(RunError, match="disk is full.*same command"):
            run_plan(plan, disk / "run", workers=workers)
        assert 0 < len(RunStore(disk / "run").done()) < 60
        assert not list((disk / "run").rglob("*.tmp"))
        subprocess.run(["mount", "-o", "remount,size=16m", str(disk)], check=True)
        run_plan(plan, disk / "run", workers=workers)
        assert same_records(load_records(disk / "run"), run(registry, tmp_path / "r", study("toy", "toy-set:n=60")))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_read_only_folder_is_one_clear_error(registry: Registry, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    mount(disk, "size=1m,ro")
    try:
        with pytest.raises(RunError, match="read-only"):
            run_plan(make_plan(study(), registry), disk / "run")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_untrained_and_impossible_prompts_are_said(registry: Registry, tmp_path: Path) -> None:
    plan = make_plan(study("toy-box", users=("robot", "box")), registry)
    assert any("not trained on click" in note for note in plan.notes)
    run_plan(plan, tmp_path / "r")
    frame = load_records(tmp_path / "r")
    assert set(frame.loc[frame["user"] == "robot", "flags"]) == {"untrained-prompt:click"}
    assert set(frame.loc[frame["user"] == "box", "flags"]) == {""}
    with pytest.raises(ProtocolError, match="toy takes click, but user box makes box"):
        make_plan(study("toy", users=("box",)), registry)


def test_header_keeps_what_decides_the_numbers(registry: Registry, tmp_path: Path) -> None:
    run(registry, tmp_path / "r", study())
    header = json.loads((tmp_path / "r" / "run.json").read_text())
    assert header["effective"]["seed"] == 42
    assert header["effective"]["lanes"] == 1
    assert header["protocol_hash"] == Protocol.named("default", clicks=4).hash
    assert header["checkpoints"] == {"toy": "none"}
    assert header["data"]["toy-set"]["samples"] == 6
    session = header["sessions"][0]
    assert session["packages"]["numpy"] == np.__version__
    assert {"processor", "cores", "memory_gib"} <= session["machine"].keys()
    if (REPOSITORY / ".git").exists():
        assert len(session["source"]["revision"]) == 40


def test_one_lane_that_does_not_fit_is_an_error_of_its_sample(registry: Registry) -> None:
    model = load_model(registry, parse("toy"), "cpu")
    model.fits = -1
    sample = load_dataset(registry, parse("toy-set"), None)[0]
    user = load_user(registry, parse("robot"), Protocol())
    model.segment = lambda embedding, states: (_ for _ in ()).throw(OutOfMemory("never fits"))
    with pytest.raises(OutOfMemory):
        play(model, sample, [("robot", user)], EpisodeConfig("toy", Protocol(), ("iou",), 42, 4, "u"))


def golden_truth(name: str) -> Sample:
    values = golden_arrays("behaviour/grabcut_masks")[name]
    image = np.zeros((*values.shape, 3), np.uint8)
    return Sample("golden", name, image, (Target("0", (values > 128,), values == 128),))


@needs_shared
def test_golden_trajectories_with_early_stop(registry: Registry) -> None:
    items = [i for i in golden("behaviour/trajectories")["items"] if i.get("base")]
    assert len(items) == 4
    for item in items:
        rules = Protocol.named("compat", stop_iou=item["max_iou_thr"], min_clicks=item["min_clicks"])
        model = load_model(registry, parse(f"toy:radius={item['radius']}"))
        users = [("robot", load_user(registry, parse("robot"), rules))]
        rows = play(
            model, golden_truth(item["mask"]), users, EpisodeConfig("toy", rules, ("iou", "biou"), 42, 1, "u")
        ).rows
        assert [[r["y"], r["x"], int(r["positive"])] for r in rows] == item["clicks_row_col_positive"]
        assert [r["iou"] for r in rows] == pytest.approx(item["iou"], abs=1e-12)
        assert [r["biou"] for r in rows] == pytest.approx(item["boundary_iou"], abs=1e-12)


@needs_shared
def test_golden_scores_of_given_user_clicks(registry: Registry, tmp_path: Path) -> None:
    for item in golden("behaviour/trajectories")["items"]:
        if "user_inputs_x_y" not in item:
            continue
        lines = [
            f"golden,{item['mask']},0,p{i},1,{y},{x},1" for i, (x, y) in enumerate(item["coords_after_clipping_x_y"])
        ]
        file = tmp_path / f"{item['mask']}.csv"
        file.write_text("dataset,sample,object,user,round,y,x,positive\n" + "\n".join(lines) + "\n")
        user = load_user(registry, parse(f"recorded:file={file}"), Protocol())
        model = load_model(registry, parse(f"toy:radius={item['radius']}"))
        rules = EpisodeConfig("toy", Protocol(), ("iou", "biou"), 42, 4, "u")
        rows = play(model, golden_truth(item["mask"]), [("people", user)], rules).rows
        assert [r["group"] for r in rows] == [f"p{i}" for i in range(len(lines))]
        assert [r["iou"] for r in rows] == pytest.approx(item["iou"], abs=1e-12)
        assert [r["biou"] for r in rows] == pytest.approx(item["boundary_iou"], abs=1e-12)


def test_times_are_shares_whose_sums_are_totals(registry: Registry, tmp_path: Path) -> None:
    run(registry, tmp_path / "r", study("toy:slow=0.01"))
    frame, units = load_records(tmp_path / "r"), load_units(tmp_path / "r")
    assert frame["decode_s"].sum() == pytest.approx(units["decode_s"].sum())
    assert frame["encode_s"].sum() == pytest.approx(units["encode_s"].sum())
    # One sleep a decoder call is the least that can have been measured.
    assert frame["decode_s"].sum() >= 0.01 * units["decoder_calls"].sum()
    assert (units["wall_s"] >= units["decode_s"]).all()
    assert units["cold"].tolist() == [True] + [False] * 5


def test_a_wrong_user_option_is_one_error_before_anything_is_played(registry: Registry) -> None:
    with pytest.raises(ProtocolError, match="no option 'foo'"):
        make_plan(study(users=("robot:foo=1",)), registry)


def test_one_bad_click_fails_its_own_trajectory_only(registry: Registry, tmp_path: Path) -> None:
    file = tmp_path / "clicks.csv"
    lines = [f"toy-set,s0,0,{name},1,{y},20,1" for name, y in (("ann", 20), ("bob", 24), ("far", 999))]
    file.write_text("dataset,sample,object,user,round,y,x,positive\n" + "\n".join(lines) + "\n")
    frame = run(registry, tmp_path / "r", study(users=(f"recorded:file={file}",)))
    assert frame["group"].tolist() == ["ann", "bob"]
    failed = load_failures(tmp_path / "r")
    assert failed["group"].tolist() == ["far"]
    assert "outside the 48 x 64 image" in failed["message"][0]


def test_models_may_be_added_to_a_run_but_labels_keep_their_meaning(registry: Registry, tmp_path: Path) -> None:
    run(registry, tmp_path / "r", study("toy"))
    run(registry, tmp_path / "r", study("toy:radius=9"))
    frame = load_records(tmp_path / "r")
    assert frame.groupby("model").size().to_dict() == {"toy": 48, "toy:radius=9": 48}
    assert set(load_run(tmp_path / "r")["checkpoints"]) == {"toy", "toy:radius=9"}
    with pytest.raises(RunError, match="other model settings under the label 'toy'"):
        run(registry, tmp_path / "r", study("toy:radius=3,label=toy"))


def test_records_name_a_data_set_by_its_label(registry: Registry, tmp_path: Path) -> None:
    frame = run(registry, tmp_path / "r", study(data="toy-set:n=2,label=mine"))
    assert set(frame["dataset"]) == {"mine"}


def test_devices_of_several_kinds_are_not_mixed(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match="several kinds"):
        make_plan(study(), registry, devices=("cpu", "cuda:0"))
    with pytest.raises(RunError, match="at least one for each of cpu, cpu"):
        run_plan(make_plan(study(), registry, devices=("cpu", "cpu")), tmp_path / "r")


def test_a_run_killed_before_merging_is_merged_by_the_next_call(registry: Registry, tmp_path: Path) -> None:
    plan = make_plan(study(), registry)
    store = RunStore(tmp_path / "r")
    store.write_header({"identity": plan.identity, "benchmark": "test"})
    run_here(plan, store, plan.units, lambda report: None)
    assert not (tmp_path / "r" / "records.parquet").exists()
    run_plan(plan, tmp_path / "r")
    assert (tmp_path / "r" / "records.parquet").exists()
    assert not store.shards.exists()
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / ".run.json.1.tmp").write_text("half")
    run_plan(plan, tmp_path / "s")
    assert same_records(load_records(tmp_path / "r"), load_records(tmp_path / "s"))


def test_what_a_stopped_worker_left_is_swept_and_finished_units_are_not(registry: Registry, tmp_path: Path) -> None:
    run(registry, tmp_path / "r", replace(study(), limit=2))
    before = load_records(tmp_path / "r")
    (tmp_path / "r" / "shards").mkdir(exist_ok=True)
    left = tmp_path / "r" / "shards" / ".0123.parquet.99.tmp"
    left.write_bytes(b"half a file")
    after = run(registry, tmp_path / "r", replace(study(), limit=3))
    assert not left.exists()
    assert same_records(before, after[after["sample"].isin(before["sample"])])
    assert after["sample"].nunique() == 3


def people_file(folder: Path) -> Path:
    file = folder / "people.csv"
    data = load_dataset(Registry.discover([PLUGINS]), parse("toy-set"), None)
    lines = ["dataset,sample,object,user,round,y,x,positive"]
    for sample in data:
        for target in sample.targets:
            inside = np.argwhere(target.masks[0])
            lines += [
                f"toy-set,{sample.id},{target.id},p{i},1,{y},{x},1"
                for i, (y, x) in enumerate(inside[:: len(inside) // 3])
            ]
    file.write_text("\n".join(lines) + "\n")
    return file


def test_click_groups_in_one_pass(registry: Registry, tmp_path: Path) -> None:
    file = people_file(tmp_path)
    users = (
        "robot",
        "sampled:model=centroid,groups=10,label=groups",
        "sampled:model=centroid,groups=1,replicates=2,label=whole",
        f"recorded:file={file},label=people",
        f"sampled:model=centroid,groups=1,match_human_count={file},label=matched",
    )
    one = run(registry, tmp_path / "one", study(users=users))
    units = load_units(tmp_path / "one")
    assert load_failures(tmp_path / "one").empty
    assert units["encoder_calls"].tolist() == [1] * 6
    assert units["click_maps_first"].tolist() == [2] * 6  # once an object, for all twelve trajectories and all people
    assert (units["click_maps_later"] <= 2 * 12 * 3).all()
    assert one.groupby("user")["group"].nunique()["groups"] == 10
    played = {user: rows.groupby(["sample", "object"]).size().tolist() for user, rows in one.groupby("user")}
    assert played["matched"] == played["people"]
    assert same_records(one, run(registry, tmp_path / "two", study(users=users), workers=2))


def test_the_click_model_and_its_files_are_part_of_the_plan(registry: Registry, tmp_path: Path) -> None:
    file = people_file(tmp_path)
    matched = f"sampled:model=uniform,groups=1,match_human_count={file},label=matched"
    plans = {name: make_plan(study(users=(f"sampled:model={name}",)), registry) for name in ("uniform", "distance")}
    assert plans["uniform"].identity != plans["distance"].identity
    before = make_plan(study(users=(matched,)), registry)
    assert before.users["matched"]["click_model"] == {"name": "uniform", "weights": "none"}
    file.write_text(file.read_text() + "toy-set,s0,0,late,1,20,20,1\n")
    after = make_plan(study(users=(matched,)), registry)
    assert before.identity != after.identity
    assert {u.key for u in before.units}.isdisjoint(u.key for u in after.units)


def test_users_without_their_files_are_left_out_and_said_to_be(registry: Registry, tmp_path: Path) -> None:
    users = ("robot", "recorded:file=absent.csv,label=people", "sampled:model=clickability,groups=2,label=groups")
    with pytest.raises(DataError, match="absent.csv does not exist"):
        make_plan(study(users=users), registry)
    plan = make_plan(study(users=users), registry, skip_missing=True)
    assert [s.label for s in plan.benchmark.users] == ["robot"]
    assert [(m.kind, m.name) for m in plan.missing] == [("user", "people"), ("user", "groups")]
    assert "clickability_model.pth" in plan.missing[1].reason
