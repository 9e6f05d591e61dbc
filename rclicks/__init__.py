"""rclicks: a benchmark harness for interactive segmentation.

It measures how many clicks a model needs, and how much this number depends on where people click.

>>> import rclicks
>>> frame = rclicks.evaluate("quickstart", limit=1, models=["geodesic"])  # doctest: +SKIP
"""

from __future__ import annotations

from pathlib import Path as _Path
from typing import TYPE_CHECKING, Any

# In a checkout, adapters/, datasets/ and benchmarks/ lie beside the package. They have no __init__.py, so that the
# folder `datasets` never shadows another package of that name. A wheel installs them inside the package.
_root = _Path(__file__).resolve().parent.parent
if (_root / "pyproject.toml").is_file() and (_root / "adapters").is_dir():
    __path__.append(str(_root))

if TYPE_CHECKING:
    from rclicks.api import evaluate, load_dataset, load_model, train

__version__ = "0.1.0"
__all__ = ["__version__", "evaluate", "load_dataset", "load_model", "train"]


def __getattr__(name: str) -> Any:
    """Import the Python API at first use, so that `import rclicks` is fast."""
    if name in {"evaluate", "load_dataset", "load_model", "train"}:
        from rclicks import api

        return getattr(api, name)
    raise AttributeError(f"module 'rclicks' has no attribute {name!r}")
