"""Import torchvision beside a CPU build of torch.

Some published torchvision wheels link CUDA libraries. Beside a torch without CUDA their compiled part does not load,
and the import then fails because the operator ``torchvision::nms`` was never declared. Declaring it (without giving it
a body) is enough for everything that the adapters use: transforms, interpolation, models. Calling ``nms`` itself still
fails, and torchvision's own message then says why.

The plain import is tried first, and nothing is declared if it works: a healthy torchvision declares the operator
itself, and torch refuses a second declaration.
"""

from __future__ import annotations

import importlib
import sys

__all__ = ["import_torchvision"]

_SYMPTOM = "operator torchvision::nms does not exist"
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def import_torchvision() -> None:
    """Import torchvision, declaring its missing operators only if that is why it fails; again is free.

    Raises
    ------
    ImportError
        If torch or torchvision is not installed.
    RuntimeError
        If torchvision fails for another reason, or beside a torch with CUDA, where its compiled part must load.
    """
    if "torchvision" in sys.modules:
        return
    import torch

    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if torch.version.cuda is not None or _SYMPTOM not in str(error):
            raise
    else:
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        library.define(schema)
    # The declaration lives as long as the library object; tie it to the module that needs it.
    vars(importlib.import_module("torchvision"))["_rclicks_declared"] = library
