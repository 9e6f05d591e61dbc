"""The server of the demo; gradio is imported only when it starts."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rclicks.demo.bench import Bench
from rclicks.errors import PluginError, RunError
from rclicks.registry import Registry

__all__ = ["serve", "start"]


def start(
    folder: Path,
    models: Sequence[str] = (),
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    data_root: Path | None = None,
    device: str = "cpu",
    plugins: Sequence[Path] = (),
) -> Any:
    """Start the server in separate threads. With the default `host` it can be reached only from this machine.

    Parameters
    ----------
    folder : Path
        Folder for saved files.
    models : sequence of str
        Specs of models that are listed first, such as "spa:checkpoint=FILE".
    host : str
        Network address of the server.
    port : int
        Port of the server.
    data_root : Path or None
        Folder that contains the folders of the data sets.
    device : str
        "cpu", "cuda" or "cuda:1".
    plugins : sequence of Path
        Folders with plug-ins.

    Returns
    -------
    gradio.Blocks
        Page of the demo; its method `close` stops the server.

    Raises
    ------
    PluginError
        If gradio is not installed.
    UnknownNameError, ProtocolError
        If a model does not exist or cannot be used in the demo.
    RunError
        If the port is already in use.
    """
    bench = Bench(Registry.discover(plugins), models, device)
    if importlib.util.find_spec("gradio") is None:
        raise PluginError("the demo needs gradio: pip install 'rclicks[demo]'")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "0"  # gradio reads it during its import
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from rclicks.demo._page import LAUNCH, build

    page = build(bench, folder, data_root)
    try:
        page.launch(server_name=host, server_port=port, prevent_thread_lock=True, **LAUNCH)
    except OSError as error:
        raise RunError(f"the demo cannot listen on {host}:{port}: {error}; choose another --port") from error
    return page


def serve(models: Sequence[str] = (), *, ready: Callable[[], None], **options: Any) -> None:
    """Start the server, call `ready`, and wait until interrupted; other parameters and errors are those of `start`."""
    with tempfile.TemporaryDirectory(prefix="rclicks-demo-") as folder:
        page = start(Path(folder), models, **options)
        ready()
        page.block_thread()
