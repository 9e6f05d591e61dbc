"""Numerical precision of network calls: one option for all torch models, and one context for their networks.

``precision`` is an option of every model that lists values in `Model.precisions`: "float32" (the default, with the full
24-bit significand everywhere), "tf32" (matrix products and convolutions with an 11-bit significand, CUDA only), "bf16"
and "fp16" (torch's autocast). Weights, click maps, memories and all outputs of a model stay float32.

By default PyTorch computes convolutions on CUDA in TF32. Results on a GPU would then differ from those on a CPU without
notice, so the models here always set the precision.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from rclicks.errors import ProtocolError

if TYPE_CHECKING:
    from rclicks.cards import ModelCard
    from rclicks.models.contract import Model

__all__ = [
    "OPTION",
    "PRECISIONS",
    "allowed_precisions",
    "check_precision",
    "network_precision",
    "set_precision",
    "split_precision",
]

OPTION = "precision"
PRECISIONS = ("float32", "tf32", "bf16", "fp16")
# Precisions of each kind of device. fp16 on a CPU is slower than float32, and only NVIDIA GPUs have TF32.
_OF_DEVICE = {"cuda": PRECISIONS, "cpu": ("float32", "bf16"), "mps": ("float32",)}


def split_precision(options: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
    """Return the options of a spec without ``precision``, and the value of ``precision`` (None if it is not given).

    >>> split_precision({"flip": False, "precision": "bf16"})
    ({'flip': False}, 'bf16')
    """
    rest = dict(options)
    return rest, rest.pop(OPTION, None)


def check_precision(card: ModelCard, precision: object, device: str) -> None:
    """Refuse a value of the option `precision` before the model is loaded; None, the default, is always allowed.

    Raises
    ------
    ProtocolError
        If the precision is unknown, the device cannot compute in it, or the model has no network.
    """
    if precision is None:
        return
    if precision not in PRECISIONS:
        raise ProtocolError(
            f"model {card.name}: option 'precision' is {precision!r}; allowed is one of {', '.join(PRECISIONS)}"
        )
    if not card.parameters:
        raise ProtocolError(f"model {card.name} has no network, so it has no option 'precision'; leave the option out")
    allowed = _OF_DEVICE.get(device.partition(":")[0], ("float32",))
    if precision not in allowed:
        raise ProtocolError(
            f"model {card.name}: precision {precision!r} makes no sense on the device {device!r}, which allows "
            f"{', '.join(allowed)}; choose one of them or another device"
        )


def allowed_precisions(model: Model) -> tuple[str, ...]:
    """Return the precisions that a model supports on its device; empty for models without such a network."""
    of_device = _OF_DEVICE.get(model.device.partition(":")[0], ("float32",))
    return tuple(name for name in PRECISIONS if name in model.precisions and name in of_device)


def set_precision(model: Model, precision: object) -> None:
    """Set the precision of `model` and add it to the options of the model; None changes nothing.

    Raises
    ------
    ProtocolError
        If the precision is unknown, or the model or its device does not support it.
    """
    if precision is None:
        return
    name = model.card.name
    if precision not in PRECISIONS:
        raise ProtocolError(
            f"model {name}: option 'precision' is {precision!r}; allowed is one of {', '.join(PRECISIONS)}"
        )
    if precision not in model.precisions:
        allowed = ", ".join(model.precisions) or "no precision; leave the option out"
        raise ProtocolError(f"model {name} cannot compute in precision {precision!r}; this model allows {allowed}")
    if precision not in (allowed_here := allowed_precisions(model)):
        raise ProtocolError(
            f"model {name}: precision {precision!r} is not supported on the device {model.device!r}, which allows "
            f"{', '.join(allowed_here)}; choose one of them or another device"
        )
    model.precision = str(precision)
    model.options = {**model.options, OPTION: str(precision)}


@contextmanager
def network_precision(precision: str, device: str) -> Iterator[None]:
    """Compute in `precision` on `device` within the context; torch's settings are restored after it.

    Parameters
    ----------
    precision : str
        One of `PRECISIONS`. With "bf16" and "fp16" the outputs of a network may have this type; convert them to
        float32.
    device : str
        "cpu", "cuda", "cuda:1" or "mps".
    """
    kind = device.partition(":")[0]
    with ExitStack() as stack:
        if kind == "cuda":
            stack.enter_context(_float32_products("tf32" if precision == "tf32" else "ieee"))
        if precision in ("bf16", "fp16"):
            import torch

            stack.enter_context(torch.autocast(kind, torch.bfloat16 if precision == "bf16" else torch.float16))
        yield


@contextmanager
def _float32_products(how: str) -> Iterator[None]:
    """Compute products of float32 numbers on CUDA in the format "ieee" (full precision) or "tf32"."""
    torch = sys.modules.get("torch")
    if torch is None:  # torch is not loaded, so no network can be called
        yield
        return
    before = _read_switches(torch)
    fast = how == "tf32"
    try:
        _set_switches(torch, {"matrices": "high" if fast else "highest", "cudnn": fast, "formats": [how] * 3})
        yield
    finally:
        _set_switches(torch, before)


def _read_switches(torch: Any) -> dict[str, Any]:
    """Return torch's settings of float32 products: the older settings, and the named formats of torch 2.9 and later.

    torch refuses to read an older setting that contradicts a named format; the value is then None.
    """
    found: dict[str, Any] = {"formats": [holder.fp32_precision for holder in _formats(torch)]}
    older = {"matrices": torch.get_float32_matmul_precision, "cudnn": lambda: torch.backends.cudnn.allow_tf32}
    for name, read in older.items():
        try:
            found[name] = read()
        except RuntimeError:
            found[name] = None
    return found


def _set_switches(torch: Any, values: Mapping[str, Any]) -> None:
    """Set the values that `_read_switches` returned. The older settings come first, because they reset the formats."""
    if values["matrices"] is not None:
        torch.set_float32_matmul_precision(values["matrices"])
    if values["cudnn"] is not None:
        torch.backends.cudnn.allow_tf32 = values["cudnn"]
    for holder, value in zip(_formats(torch), values["formats"], strict=False):
        holder.fp32_precision = value


def _formats(torch: Any) -> list[Any]:
    """Return torch's objects that have a named format; empty before torch 2.9.

    They are those of matrix products, convolutions and recurrent cells on CUDA, and of matrix products on a CPU.
    """
    backends = torch.backends
    if not hasattr(backends.cudnn, "conv") or not hasattr(backends.cudnn.conv, "fp32_precision"):
        return []
    return [backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn, backends.mkldnn.matmul]
