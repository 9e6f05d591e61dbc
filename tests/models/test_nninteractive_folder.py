"""Model folders: the official session loads and uses them, nothing in them can run code, bad networks are refused."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("dynamic_network_architectures")

from rclicks.adapters.nninteractive.folder import (  # noqa: E402
    CHECKPOINT,
    CONFIGURATION,
    Design,
    build_network,
    write_folder,
    write_synthetic_folder,
)
from rclicks.errors import ProtocolError, WeightsError  # noqa: E402
from rclicks.models.weights import read_checkpoint  # noqa: E402
from support import SHARED, needs_shared  # noqa: E402

TINY = SHARED / "reference/nninteractive/tiny_model"
SMALL = Design(features=(4, 8), strides=(1, 2), patch=(64, 56, 50))


def official(folder: Path, **options: Any) -> Any:
    """Return the official session with the model of a folder."""
    module = pytest.importorskip("nnInteractive.inference.inference_session")
    with contextlib.redirect_stdout(io.StringIO()):
        session = module.nnInteractiveInferenceSession(device=torch.device("cpu"), torch_n_threads=1, **options)
        session.initialize_from_trained_model_folder(str(folder))
    return session


def click(session: Any, image: np.ndarray, point: tuple[int, int, int]) -> np.ndarray:
    answer = np.zeros(image.shape, np.uint8)
    with contextlib.redirect_stdout(io.StringIO()):
        session.set_image(image[None])
        session.set_target_buffer(answer)
        session.add_point_interaction(point, True)
    session.executor.shutdown()
    return answer


def test_the_official_session_loads_a_synthetic_folder_and_answers(tmp_path: Path) -> None:
    session = official(write_synthetic_folder(tmp_path))
    assert session.license == "CC0-1.0"
    assert session.interaction_decay == 0.9
    assert list(session.preferred_scribble_thickness) == [2, 2, 2]
    assert list(session.configuration_manager.patch_size) == [64, 64, 64]
    assert session.supported_interactions["points"]
    image = np.random.default_rng(0).normal(size=(70, 66, 68)).astype(np.float32)
    answer = click(session, image, (30, 30, 30))  # AutoZoom is on
    assert 0 < answer.mean() < 0.1


def test_the_session_computes_with_the_weights_and_the_design_given(tmp_path: Path) -> None:
    network = build_network(SMALL, seed=3)
    folder = write_folder(tmp_path, network.state_dict(), SMALL, licence="My licence\nand its text")
    session = official(folder, do_autozoom=False)
    assert session.license == "My licence"
    given = torch.randn(1, 8, *SMALL.patch, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        made = session.network(given)
        assert made.shape == (1, 2, *SMALL.patch)
        assert torch.equal(made, network(given))


def test_a_folder_without_a_licence_says_so(tmp_path: Path) -> None:
    write_folder(tmp_path, build_network(SMALL, 0).state_dict(), SMALL)
    assert not (tmp_path / "LICENSE").exists()


def test_nothing_in_the_checkpoint_can_run_code(tmp_path: Path) -> None:
    state = {k: torch.nn.Parameter(v) for k, v in build_network(SMALL, 0).state_dict().items()}
    held = read_checkpoint(write_folder(tmp_path, state, SMALL) / CHECKPOINT)  # refuses all but plain values
    assert held["trainer_name"] == "nnInteractiveTrainer_stub"
    assert held["init_args"] == {"configuration": CONFIGURATION}
    assert all(type(v) is torch.Tensor and not v.requires_grad for v in held["network_weights"].values())
    assert not list(tmp_path.rglob("*.partial"))


def test_weights_that_have_several_names_are_stored_once(tmp_path: Path) -> None:
    network = build_network(Design(), 0)
    file = write_folder(tmp_path, network.state_dict(), Design()) / CHECKPOINT
    weights = 4 * sum(p.numel() for p in network.parameters())
    assert weights < file.stat().st_size < 1.2 * weights


@needs_shared
def test_the_files_are_those_of_a_folder_that_is_known_to_work(tmp_path: Path) -> None:
    network = build_network(Design(), 0)
    weights = torch.load(TINY / CHECKPOINT, weights_only=True)["network_weights"]
    network.load_state_dict(weights)  # strict: the same network
    write_folder(tmp_path, network.state_dict(), Design(), licence="CC0-1.0")
    for name in ("plans.json", "dataset.json", "inference_info.json"):
        own, known = (json.loads((folder / name).read_text()) for folder in (tmp_path, TINY))
        if name == "plans.json":
            for plans in (own, known):
                plans["configurations"][CONFIGURATION]["architecture"]["_kw_requires_import"].sort()
        assert own == known


def test_the_seed_alone_decides_the_weights(tmp_path: Path) -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    paths = [write_synthetic_folder(tmp_path / str(i), seed=s) / CHECKPOINT for i, s in enumerate((0, 0, 1))]
    assert torch.equal(torch.random.get_rng_state(), before)
    first, again, other = (read_checkpoint(p)["network_weights"] for p in paths)
    key = "encoder.stages.0.0.convs.0.conv.weight"
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first[key], other[key])


def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "dynamic_network_architectures.architectures.unet", None)
    with pytest.raises(WeightsError, match="dynamic-network-architectures"):
        build_network(SMALL, 0)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"patch": (48, 48, 48)}, "at least 49"),
        ({"patch": (64, 64, 48)}, "at least 49"),
        ({"patch": (64, 64)}, "three edges"),
        ({"patch": (64, 64, 60)}, "multiples of 8"),
        ({"features": (8, 16)}, "equal numbers"),
        ({"features": (8,), "strides": (1,)}, "two or more"),
        ({"features": (8, 0, 8, 8)}, "above 0"),
        ({"strides": (2, 2, 2, 2)}, "first stride"),
        ({"convolutions": 0}, "at least 1"),
    ],
)
def test_networks_that_the_session_could_not_use_are_refused(bad: dict[str, Any], words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        Design(**bad)
