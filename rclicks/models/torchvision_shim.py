"""Import of torchvision with a CPU build of torch.

Some published torchvision wheels link CUDA libraries. With a torch without CUDA their compiled part does not load.
The import then fails because the operator ``torchvision::nms`` was never declared. It is enough to declare this
operator without an implementation: transforms, interpolation and models, which the adapters use, then work. A call of
``nms`` itself still fails with torchvision's own message.

The plain import is tried first. If it works, nothing is declared, because torchvision has then declared the operator
itself and torch refuses a second declaration.
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
    """Import torchvision; declare its operators only if the import fails because they are missing.

    A second call does nothing.

    Raises
    ------
    ImportError
        If torch or torchvision is not installed.
    RuntimeError
        If the import fails for another reason, or with a CUDA build of torch, where the compiled part must load.
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
    # The declaration exists as long as the library object, so the module that needs it keeps a reference.
    vars(importlib.import_module("torchvision"))["_rclicks_declared"] = library
