"""Devices without importing torch until one is asked for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rclicks.errors import OutOfMemory

__all__ = ["synchronise", "translate_memory_errors"]


# What the libraries say: torch on CUDA, torch on Windows and Linux CPUs.
_WORDS = ("out of memory", "not enough memory", "can't allocate memory")


@contextmanager
def translate_memory_errors() -> Iterator[None]:
    """Turn MemoryError and torch's out-of-memory errors into `OutOfMemory`, which makes the engine halve its lanes."""
    try:
        yield
    except MemoryError as error:
        raise OutOfMemory(f"the machine ran out of memory: {error}") from error
    except RuntimeError as error:
        kind = type(error).__name__
        if kind == "OutOfMemoryError" or any(words in str(error) for words in _WORDS):
            _free_cache()
            raise OutOfMemory(f"the device ran out of memory: {error}") from error
        raise


def _free_cache() -> None:
    """Give back what torch keeps for later, so that a smaller batch has a chance."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def synchronise(device: str) -> None:
    """Wait for `device` to finish its queued work; nothing to do on the CPU."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize(device)
    elif device.startswith("mps"):
        import torch

        torch.mps.synchronize()
