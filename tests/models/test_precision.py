"""The option `precision`: what is refused, what it changes, and that it leaves torch's settings as they were."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import rclicks
from rclicks.analysis.runs import load_runs, warnings_of
from rclicks.errors import ProtocolError
from rclicks.interaction import Click
from rclicks.models.contract import State
from rclicks.models.precision import _formats, _read_switches, _set_switches, network_precision
from rclicks.records.store import load_units

torch = pytest.importorskip("torch")

PLUGINS = Path(__file__).parent.parent / "plugins"
RITM = "ritm-h18s:checkpoint=synthetic"


def answer(model, sample):
    embedding = model.embed(sample)
    states = [State((Click(point, True),)) for point in ((20, 30), (40, 50))]
    return model.segment(embedding, states)


@pytest.fixture(scope="module")
def sample():
    return rclicks.load_dataset("toy-set", plugins=[PLUGINS])[0].blind()


def test_without_the_option_nothing_of_it_is_in_the_identity(sample) -> None:
    plain = rclicks.load_model(RITM)
    assert plain.precision == "float32"
    assert "precision" not in plain.options


def test_float32_given_gives_equal_answers_and_stands_in_the_options(sample) -> None:
    plain, given = rclicks.load_model(RITM), rclicks.load_model(RITM, precision="float32")
    assert given.options["precision"] == "float32"
    for a, b in zip(answer(plain, sample), answer(given, sample), strict=True):
        assert np.array_equal(a.probability, b.probability)


@pytest.mark.parametrize("name", ["ritm-h18s", "litemedsam", "aespa:size=128", "probunet"])
def test_bfloat16_changes_a_little_and_answers_in_float32(sample, name: str) -> None:
    if name != "ritm-h18s" and find_spec("segment_anything") is None:  # imported, it would load torchvision too early
        pytest.skip("segment-anything is not installed")
    exact, coarse = (
        rclicks.load_model(name, checkpoint="synthetic", precision=precision) for precision in ("float32", "bf16")
    )
    for a, b in zip(answer(exact, sample), answer(coarse, sample), strict=True):
        assert b.probability.dtype == np.float32
        difference = np.abs(a.probability - b.probability).max()
        assert 0 < difference < 0.1


@pytest.mark.parametrize(
    ("name", "precision", "words"),
    [
        (RITM, "half", "allowed is one of float32, tf32, bf16, fp16"),
        (RITM, "fp16", "is not supported on the device 'cpu', which allows float32, bf16"),
        (RITM, "tf32", "is not supported on the device 'cpu'"),
        (RITM + ",brs=f-brs-b", "bf16", "this model allows float32, tf32"),
        ("geodesic", "bf16", "this model allows no precision; leave the option out"),
    ],
)
def test_what_cannot_be_is_refused(name: str, precision: str, words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        rclicks.load_model(name, precision=precision)


def _user_sets_nothing() -> None:
    pass


def _user_sets_the_older_switches() -> None:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True


def _user_sets_a_word() -> None:
    torch.set_float32_matmul_precision("medium")


def _user_sets_a_format() -> None:
    torch.backends.cudnn.conv.fp32_precision = "ieee"


@pytest.mark.parametrize(
    "user", [_user_sets_nothing, _user_sets_the_older_switches, _user_sets_a_word, _user_sets_a_format]
)
def test_products_of_float32_are_exact_on_cuda_and_the_settings_come_back(user) -> None:
    start = _read_switches(torch)
    try:
        user()
        before = _read_switches(torch)
        for precision, inside in (("float32", "ieee"), ("tf32", "tf32")):
            with network_precision(precision, "cuda:0"):
                assert [holder.fp32_precision for holder in _formats(torch)][:3] == [inside] * 3
                assert torch.backends.cudnn.allow_tf32 == (inside == "tf32")
                assert torch.get_float32_matmul_precision() == {"ieee": "highest", "tf32": "high"}[inside]
            assert _read_switches(torch) == before
    finally:
        _set_switches(torch, start)


def test_the_settings_come_back_after_an_error() -> None:
    before = _read_switches(torch)
    with pytest.raises(ValueError, match="inside"), network_precision("float32", "cuda"):
        raise ValueError("inside")
    assert _read_switches(torch) == before


def test_a_run_and_its_tables_name_the_precision(tmp_path: Path) -> None:
    study = tmp_path / "study.yaml"
    study.write_text("summary: s\nmodels: [toy]\ndatasets: [toy-set]\nprotocol: {clicks: 1}\n")
    frame = rclicks.evaluate(
        study,
        models=[f"{RITM},zoom_size=none", f"{RITM},zoom_size=none,precision=bf16,label=short"],
        plugins=[PLUGINS],
        limit=1,
        out=tmp_path / "run",
    )
    assert frame.attrs["failures"] == []
    assert set(frame["model"]) == {"ritm-h18s:zoom_size=none", "short"}
    assert len(set(load_units(tmp_path / "run")["unit"])) == 2
    notes = warnings_of(load_runs([tmp_path / "run"]))
    assert "short computed in bf16, not in float32 (option precision)" in notes
    assert not any("ritm-h18s:zoom_size=none computed" in note for note in notes)
