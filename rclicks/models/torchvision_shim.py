"""Import torchvision beside a CPU build of torch.

The published torchvision wheels link CUDA libraries. Beside a torch without CUDA their compiled part does not load, and
the plain import then fails because the operator ``torchvision::nms`` was never declared. Declaring it (without giving
it a body) is enough for everything that the adapters use: transforms, interpolation, models. Nothing is done where the
plain import works or where torch has CUDA.
"""

from __future__ import annotations

import importlib
import sys

__all__ = ["import_torchvision"]

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def import_torchvision() -> None:
    """Import torchvision, declaring its missing operators first if that is why it fails.

    Raises
    ------
    ImportError
        If torch or torchvision is not installed.
    RuntimeError
        If torchvision fails for another reason.
    """
    if "torchvision" in sys.modules:
        return
    import torch

    if torch.version.cuda is None and not hasattr(torch.ops.torchvision, "nms"):
        library = torch.library.Library("torchvision", "FRAGMENT")
        for schema in _SCHEMAS:
            library.define(schema)
        importlib.import_module("torchvision")
        # The declaration lives as long as the library object; tie it to the module that needs it.
        sys.modules["torchvision"].__dict__["_rclicks_declared"] = library
    else:
        importlib.import_module("torchvision")
