"""The click model from mmsegmentation's blocks: equal to our own if installed, and a clear error if not."""

import importlib.util

import pytest

from rclicks.clickability.segnext import CARDS, load
from rclicks.errors import PluginError, ProtocolError

INSTALLED = all(importlib.util.find_spec(name) for name in ("mmseg", "mmengine", "mmcv"))


@pytest.mark.skipif(not INSTALLED, reason="mmsegmentation is not installed")
@pytest.mark.parametrize("variant", ["t", "s"])
def test_same_keys_and_same_map(variant: str) -> None:
    import torch

    from rclicks.clickability.networks.mmseg import MmsegNetwork
    from rclicks.clickability.networks.segnext import ClickabilityNetwork
    from rclicks.models.weights import synthetic_state

    own, theirs = ClickabilityNetwork(variant).eval(), MmsegNetwork(variant).eval()
    state = synthetic_state(own)
    assert set(own.state_dict()) == set(theirs.state_dict())
    own.load_state_dict(state)
    theirs.load_state_dict(state)
    torch.manual_seed(0)
    image, masks = torch.randn(1, 3, 96, 128), torch.rand(2, 2, 96, 128)
    with torch.inference_mode():
        torch.testing.assert_close(own(image, masks), theirs(image, masks), atol=1e-4, rtol=0)


@pytest.mark.skipif(INSTALLED, reason="mmsegmentation is installed")
def test_without_it_the_error_says_what_to_install() -> None:
    with pytest.raises(PluginError, match="Install mmsegmentation 1.2.2"):
        load(CARDS[2], checkpoint="synthetic", blocks="mmsegmentation")


def test_other_blocks_are_refused() -> None:
    with pytest.raises(ProtocolError, match="allowed: own, mmsegmentation"):
        load(CARDS[2], checkpoint="synthetic", blocks="mm")
