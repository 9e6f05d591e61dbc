"""Synchronisation and memory errors of devices; torch is imported only if a GPU is used."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rclicks.errors import OutOfMemory

__all__ = ["synchronise", "translate_memory_errors"]


# Parts of the messages of memory errors: torch on CUDA, torch on a CPU under Windows and under Linux.
_MESSAGES = ("out of memory", "not enough memory", "can't allocate memory")


@contextmanager
def translate_memory_errors() -> Iterator[None]:
    """Convert MemoryError and torch's out-of-memory errors to `OutOfMemory`; the engine then halves the batch size."""
    try:
        yield
    except MemoryError as error:
        raise OutOfMemory(f"the machine ran out of memory: {error}") from error
    except RuntimeError as error:
        kind = type(error).__name__
        if kind == "OutOfMemoryError" or any(part in str(error) for part in _MESSAGES):
            _free_cache()
            raise OutOfMemory(f"the device ran out of memory: {error}") from error
        raise


def _free_cache() -> None:
    """Release the memory that torch keeps in its cache, so that a smaller batch may fit."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def synchronise(device: str) -> None:
    """Wait until `device` has finished its queued work; returns at once for a CPU."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize(device)
    elif device.startswith("mps"):
        import torch

        torch.mps.synchronize()
