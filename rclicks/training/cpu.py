"""Settings of torch that decide how fast a training on a CPU is, and the last bits of its result."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["cpu_settings"]


@contextmanager
def cpu_settings(threads: int) -> Iterator[None]:
    """Use so many threads of torch and flush denormal numbers to 0, with which a CPU takes a hundred times as long.

    The settings before are put back at the end.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.set_flush_denormal(False)
