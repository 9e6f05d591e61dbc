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
    """Start the server in threads of its own; nothing leaves this machine unless `host` is changed.

    Parameters
    ----------
    folder : Path
        Where saved files go.
    models : sequence of str
        Models to offer first, with options, such as "spa:checkpoint=FILE".
    host, port : str, int
        Where to listen.
    data_root : Path or None
        Folder that holds the data sets' folders.
    device : str
    plugins : sequence of Path

    Returns
    -------
    gradio.Blocks
        The page; `close` stops the server.

    Raises
    ------
    PluginError
        If gradio is not installed.
    UnknownNameError, ProtocolError
        If a model does not exist or is not for the demo.
    RunError
        If the port is taken.
    """
    bench = Bench(Registry.discover(plugins), models, device)
    if importlib.util.find_spec("gradio") is None:
        raise PluginError("the demo needs gradio: pip install 'rclicks[demo]'")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "0"  # read when gradio is imported
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from rclicks.demo._page import LAUNCH, build

    page = build(bench, folder, data_root)
    try:
        page.launch(server_name=host, server_port=port, prevent_thread_lock=True, **LAUNCH)
    except OSError as error:
        raise RunError(f"the demo cannot listen on {host}:{port}: {error}; choose another --port") from error
    return page


def serve(models: Sequence[str] = (), *, ready: Callable[[], None], **options: Any) -> None:
    """Start the server, call `ready`, and stay until interrupted; other parameters and errors are those of `start`."""
    with tempfile.TemporaryDirectory(prefix="rclicks-demo-") as folder:
        page = start(Path(folder), models, **options)
        ready()
        page.block_thread()
