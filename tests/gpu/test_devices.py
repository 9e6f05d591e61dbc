"""What only a GPU can show: models on it agree with the CPU, in every precision, and memory errors are real."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import rclicks
from rclicks.errors import OutOfMemory
from rclicks.interaction import Click
from rclicks.models.contract import State

torch = pytest.importorskip("torch")

PLUGINS = Path(__file__).parent.parent / "plugins"
needs_sam = pytest.mark.skipif(find_spec("segment_anything") is None, reason="segment-anything is not installed")
MODELS = [
    "ritm-h18s",
    "probunet",
    pytest.param("mobilesam", marks=needs_sam),
    pytest.param("aespa", marks=needs_sam),
]

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]


@pytest.fixture(scope="module")
def sample():
    return rclicks.load_dataset("toy-set", plugins=[PLUGINS])[0].blind()


def answers(name: str, sample, device: str, batch_size: int = 2, **options) -> np.ndarray:
    model = rclicks.load_model(name, checkpoint="synthetic", device=device, **options)
    points = ((20, 30), (40, 50), (10, 10), (30, 20))
    states = [State((Click(point, True),)) for point in points]
    embedding = model.embed(sample)
    found = [s for i in range(0, len(states), batch_size) for s in model.segment(embedding, states[i : i + batch_size])]
    assert all(state.probability.dtype == np.float32 for state in found)
    return np.stack([state.probability for state in found])


@pytest.mark.parametrize("name", MODELS)
def test_float32_on_the_gpu_agrees_with_the_cpu(name: str, sample) -> None:
    difference = np.abs(answers(name, sample, "cpu") - answers(name, sample, "cuda"))
    assert difference.max() < 1e-3


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("precision", ["tf32", "bf16", "fp16"])
def test_reduced_precision_is_close_to_float32(name: str, precision: str, sample) -> None:
    exact, reduced = answers(name, sample, "cuda"), answers(name, sample, "cuda", precision=precision)
    assert np.isfinite(reduced).all()
    assert np.abs(exact - reduced).max() < 0.1
    if precision != "tf32":  # for small networks the library may have no faster way than float32
        assert (exact != reduced).any()


@pytest.mark.parametrize("name", ["ritm-h18s", pytest.param("mobilesam", marks=needs_sam)])
def test_one_lane_and_four_agree(name: str, sample) -> None:
    difference = np.abs(answers(name, sample, "cuda", batch_size=1) - answers(name, sample, "cuda", batch_size=4))
    assert difference.max() < 1e-3


def test_a_batch_that_does_not_fit_is_told_as_out_of_memory_and_less_fits_after_it(sample) -> None:
    model = rclicks.load_model("ritm-h18s", checkpoint="synthetic", device="cuda")
    embedding = model.embed(sample)
    state = State((Click((20, 30), True),))
    total = torch.cuda.get_device_properties(0).total_memory
    model.segment(embedding, [state])
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 2**28) / total)
    try:
        with pytest.raises(OutOfMemory, match="device ran out of memory"):
            model.segment(embedding, [state] * 4096)
        assert len(model.segment(embedding, [state])) == 1
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
