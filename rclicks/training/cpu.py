"""Settings of torch that change the speed of a training on a CPU, and the last bits of its result."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["cpu_settings"]


@contextmanager
def cpu_settings(threads: int) -> Iterator[None]:
    """Use `threads` threads in torch, and replace denormal numbers by 0.

    A CPU computes about a hundred times slower with denormal numbers. At the end the previous number of threads is
    restored and denormal numbers are allowed again.
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
