"""``rclicks train``: a model folder of volumes that the official session loads, help, and what `show` lists."""

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch")
pytest.importorskip("dynamic_network_architectures")
nibabel = pytest.importorskip("nibabel")

from rclicks.cli.main import app  # noqa: E402
from rclicks.errors import ProtocolError  # noqa: E402


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        for kind in ("images", "labels"):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            values = np.zeros((14, 15, 16), np.uint8)
            values[4:10, 4:10, 4:10] = 1
            if kind == "images":
                values = (values * 90 + rng.integers(0, 30, values.shape)).astype(np.uint8)
            nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), folder / kind / f"{name}.nii.gz")
    return folder


@pytest.mark.slow
def test_the_command_writes_a_folder_that_the_session_loads(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    spec = "nninteractive:steps=2,patch=56,features=[4 8 8 8],licence=CC0-1.0"
    options = ["train", spec, f"volumes:root={data}", "--out", str(out), "--batch-size", "1", "--seed", "5"]
    done = CliRunner().invoke(app, options)
    assert done.exit_code == 0, done.output
    assert str(out) in done.output
    told = json.loads((out / "training/settings.json").read_text())
    assert told["seed"] == 5
    assert told["recipe"]["design"]["patch"] == [56, 56, 56]
    again = CliRunner().invoke(app, options)
    assert isinstance(again.exception, ProtocolError)  # `main` turns it into an exit code
    assert "resume" in str(again.exception)
    assert CliRunner().invoke(app, [*options, "--resume"]).exit_code == 0
    official = pytest.importorskip("nnInteractive.inference.inference_session")
    with contextlib.redirect_stdout(io.StringIO()):
        session = official.nnInteractiveInferenceSession(device=torch.device("cpu"), torch_n_threads=1)
        session.initialize_from_trained_model_folder(str(out))
    assert session.license == "CC0-1.0"
    assert list(session.configuration_manager.patch_size) == [56, 56, 56]


def test_lists_of_numbers_are_checked(data: Path, tmp_path: Path) -> None:
    words = ["train", "nninteractive:features=[8 x]", f"volumes:root={data}", "--out", str(tmp_path / "m")]
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, ProtocolError)
    assert "2 to 8 integers from 1 to 4096 in brackets, such as [8 16 32 48]" in str(done.exception)
    assert not (tmp_path / "m").exists()
