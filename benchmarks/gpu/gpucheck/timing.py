"""Time calls on a device, and count what a call copies to and from it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

__all__ = ["copies", "free_memory", "median_ms", "peak_gib", "waits_ms"]


def wait(device: str) -> None:
    """Wait for a GPU; nothing on the CPU."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def median_ms(call: Callable[[], Any], device: str, *, repeats: int = 5, warm: int = 2, seconds: float = 5.0) -> float:
    """Return the median milliseconds of a call, the device's own work included.

    At least one call is timed after one to warm up; no more begin after `seconds`.
    """
    start = time.perf_counter()
    for _ in range(warm):
        call()
        wait(device)
        if time.perf_counter() - start > seconds / 2:
            break
    times: list[float] = []
    while len(times) < repeats and (not times or time.perf_counter() - start < seconds):
        wait(device)
        begun = time.perf_counter()
        call()
        wait(device)
        times.append(1000 * (time.perf_counter() - begun))
    return float(np.median(times))


def waits_ms(call: Callable[[], Any], synchronise: Callable[[], None], device: str) -> tuple[float, float]:
    """Return the milliseconds of a call with its own `synchronise`, and how long the device still works after that.

    The second number is near 0 if `synchronise` is honest.
    """
    call()
    wait(device)
    begun = time.perf_counter()
    call()
    synchronise()
    said = time.perf_counter()
    wait(device)
    done = time.perf_counter()
    return 1000 * (said - begun), 1000 * (done - said)


def copies(call: Callable[[], Any]) -> dict[str, int]:
    """Return how often a call copies to the GPU and back, waits for it, and asks for single numbers."""
    from torch.profiler import ProfilerActivity, profile

    call()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as found:
        call()
        torch.cuda.synchronize()
    counts = {"to GPU": 0, "from GPU": 0, "single numbers": 0, "kernels": 0}
    for event in found.events():
        if "Memcpy HtoD" in event.name:
            counts["to GPU"] += 1
        elif "Memcpy DtoH" in event.name:
            counts["from GPU"] += 1
        elif event.name == "aten::_local_scalar_dense":
            counts["single numbers"] += 1
        elif event.name == "cudaLaunchKernel" or event.name.startswith("cudaLaunchKernelExC"):
            counts["kernels"] += 1
    return counts


def peak_gib(call: Callable[[], Any], device: str) -> float | None:
    """Return the largest memory that tensors took during a call, in GiB; None on the CPU."""
    if not device.startswith("cuda"):
        call()
        return None
    torch.cuda.reset_peak_memory_stats(device)
    call()
    wait(device)
    return float(torch.cuda.max_memory_allocated(device) / 2**30)


def free_memory(device: str) -> None:
    """Give cached memory of a GPU back."""
    import gc

    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
