"""Write model folders that the official nnInteractive session loads.

A folder contains ``dataset.json``, ``plans.json`` (the network), ``inference_info.json`` (the prompts), ``LICENSE`` and
``fold_0/checkpoint_final.pth``. The format requires that the checkpoint is a pickle. Here it contains only tensors and
plain values, so that ``torch.load(weights_only=True)`` reads it.

Source: the folder format of nnInteractive 2.6.0. The required fields were found by leaving out fields until the session
refused the folder.

>>> Design(features=(4, 8), strides=(1, 2)).parts()["features_per_stage"]
[4, 8]
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rclicks.errors import ProtocolError, WeightsError

from .channels import CHANNELS, DECAY, RADIUS

if TYPE_CHECKING:
    import torch

__all__ = ["CHECKPOINT", "CONFIGURATION", "Design", "build_network", "write_folder", "write_synthetic_folder"]

CHECKPOINT = Path("fold_0") / "checkpoint_final.pth"
CONFIGURATION = "3d_fullres_tiny"
NETWORK = "dynamic_network_architectures.architectures.unet.PlainConvUNet"
TRAINER = "nnInteractiveTrainer_stub"
OUTPUTS = 2  # background and object
SMALLEST_PATCH = 49  # the session leaves 24 voxels on every side of a refined patch
_CLASSES = {
    "conv_op": "torch.nn.modules.conv.Conv3d",
    "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
    "dropout_op": None,
    "nonlin": "torch.nn.LeakyReLU",
}


@dataclass(frozen=True, kw_only=True)
class Design:
    """Design of a plain U-Net with instance norms and without dropout, because the session leaves it in training mode.

    Attributes
    ----------
    features : tuple of int
        Channels of each stage, the finest stage first.
    strides : tuple of int
        Stride of each stage, the same on all three axes. The first must be 1, so that the output has the patch's size.
    convolutions : int
        Number of convolutions in each stage, in the encoder and in the decoder.
    patch : tuple of int
        Edges (z, y, x) of the patch in voxels, above 48 and divisible by the product of `strides`.

    Raises
    ------
    ProtocolError
        If the official session could not use the network.
    """

    features: tuple[int, ...] = (8, 16, 32, 48)
    strides: tuple[int, ...] = (1, 2, 2, 2)
    convolutions: int = 1
    patch: tuple[int, int, int] = (64, 64, 64)

    def __post_init__(self) -> None:
        """Refuse a design that the official session could not use with a `ProtocolError`."""
        if len(self.features) < 2 or len(self.features) != len(self.strides) or min(*self.features, *self.strides) < 1:
            raise ProtocolError(
                f"a network of features {self.features} and strides {self.strides} cannot be built; expected equal "
                "numbers of features and strides, two or more, all above 0"
            )
        if self.strides[0] != 1:
            raise ProtocolError(
                f"the first stride is {self.strides[0]}; expected 1, so that the output has the size of the patch"
            )
        if self.convolutions < 1:
            raise ProtocolError(f"a stage has {self.convolutions} convolutions; expected at least 1")
        if len(self.patch) != 3 or min(self.patch) < SMALLEST_PATCH:
            raise ProtocolError(
                f"the patch is {self.patch}; expected three edges of at least {SMALLEST_PATCH} voxels, because the "
                "session cannot refine in smaller patches; 64 is a good choice"
            )
        if any(edge % self.reduction for edge in self.patch):
            raise ProtocolError(
                f"the patch {self.patch} cannot be reduced evenly; set edges that are multiples of {self.reduction}"
            )

    @property
    def reduction(self) -> int:
        """Factor by which the grid of the coarsest stage is smaller than the patch."""
        product = 1
        for stride in self.strides:
            product *= stride
        return product

    def parts(self) -> dict[str, Any]:
        """Return the arguments of the network as JSON values; classes are given by their import paths."""
        stages = len(self.features)
        return {
            "n_stages": stages,
            "features_per_stage": list(self.features),
            "kernel_sizes": [[3, 3, 3] for _ in range(stages)],
            "strides": [[s, s, s] for s in self.strides],
            "n_conv_per_stage": [self.convolutions] * stages,
            "n_conv_per_stage_decoder": [self.convolutions] * (stages - 1),
            "conv_bias": True,
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op_kwargs": None,
            "nonlin_kwargs": {"inplace": True},
            **_CLASSES,
        }


def build_network(design: Design, seed: int) -> torch.nn.Module:
    """Return a network of the official class with random weights that depend only on `seed` and the design.

    The network maps (n, 8, Z, Y, X) float32, the normalised image and seven channels of prompts, to (n, 2, Z, Y, X)
    scores of background and object.

    Raises
    ------
    WeightsError
        If the package of the network is not installed.
    """
    import torch

    module, _, name = NETWORK.rpartition(".")
    try:
        made = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise WeightsError(
            f"networks of nnInteractive need the package dynamic-network-architectures ({error}); "
            "install rclicks[nninteractive]"
        ) from error
    parts = {k: _import(v) if k in _CLASSES and v else v for k, v in design.parts().items()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = made(input_channels=1 + CHANNELS, num_classes=OUTPUTS, deep_supervision=False, **parts)
        network.apply(network.initialize)
    assert isinstance(network, torch.nn.Module)  # noqa: S101 - the class guarantees it
    return network


def _import(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def write_folder(
    folder: Path,
    state: Mapping[str, torch.Tensor],
    design: Design,
    *,
    name: str = "Dataset999_Tiny",
    licence: str = "",
) -> Path:
    """Write a model folder and return it.

    Parameters
    ----------
    folder : Path
        Folder, created if absent. Files of the same names are replaced, other files are not changed.
    state : mapping of str -> tensor
        State_dict of the network.
    design : Design
        Design of the network.
    name : str
        Name of the data set in the plans.
    licence : str
        Text of the file ``LICENSE``, of which the session shows the first line. No file is written if it is empty.
    """
    import torch

    (folder / CHECKPOINT).parent.mkdir(parents=True, exist_ok=True)
    plans = {
        "dataset_name": name,
        "plans_name": "nnUNetPlans",
        "configurations": {
            CONFIGURATION: {
                "patch_size": list(design.patch),
                "architecture": {
                    "network_class_name": NETWORK,
                    "arch_kwargs": design.parts(),
                    "_kw_requires_import": sorted(_CLASSES),
                },
            }
        },
    }
    dataset = {
        "channel_names": {"0": "image"},
        "labels": {"background": 0, "object": 1},
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }
    prompts = {
        "inference_class": "nnInteractiveInferenceSession",
        "point_radius": RADIUS,
        "preferred_scribble_thickness": [2, 2, 2],
        "interaction_decay": DECAY,
        "pad_mode_image": "constant",
    }
    for file, content in (("plans.json", plans), ("dataset.json", dataset), ("inference_info.json", prompts)):
        _write(folder / file, (json.dumps(content, indent=1) + "\n").encode())
    if licence:
        _write(folder / "LICENSE", (licence.rstrip() + "\n").encode())
    checkpoint = {
        "trainer_name": TRAINER,
        "init_args": {"configuration": CONFIGURATION},
        "network_weights": _plain(state),
    }
    partial = folder / CHECKPOINT.with_suffix(".partial")
    torch.save(checkpoint, partial)
    partial.replace(folder / CHECKPOINT)
    return folder


def _plain(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return copies without gradients. A weight that has several names in the network is copied only once."""
    copies: dict[tuple[int, torch.Size], torch.Tensor] = {}
    made = {}
    for key, value in state.items():
        place = (value.data_ptr(), value.shape)
        if place not in copies:
            copies[place] = value.detach().cpu().clone()
        made[key] = copies[place]
    return made


def _write(file: Path, content: bytes) -> None:
    partial = file.with_name(file.name + ".partial")
    partial.write_bytes(content)
    partial.replace(file)


def write_synthetic_folder(folder: Path, *, design: Design | None = None, seed: int = 0, caution: float = 3.0) -> Path:
    """Write a folder with random weights, for tests of the code around the network.

    Parameters
    ----------
    folder : Path
        Folder to write, see `write_folder`.
    design : Design or None
        Design of the network; None for a small one with about 10 000 weights.
    seed : int
        Seed of the weights.
    caution : float
        Bias towards background, in standard deviations of the scores. At 0 half of the patch would be object, also at
        its faces. The session would then zoom out and refine hundreds of patches for each prompt.
    """
    import torch

    design = design or Design(features=(4, 8, 16), strides=(1, 2, 2))
    network = build_network(design, seed)
    state = network.state_dict()
    last = f"decoder.seg_layers.{len(design.features) - 2}"
    # After an instance norm and a leaky ReLU, features have about unit size. So the bias is in standard deviations.
    weight = state[f"{last}.weight"]
    spread = float((weight[1] - weight[0]).norm())
    state[f"{last}.bias"].copy_(torch.tensor([caution * spread, 0.0]))
    return write_folder(folder, state, design, name="Dataset998_Synthetic", licence="CC0-1.0")
