"""``rclicks demo``: its options. The code is in `rclicks.demo`."""

from __future__ import annotations

from typing import Annotated

import typer

from rclicks.cli.options import NAME, DataRoot, Device, Plugins

__all__ = ["EXAMPLE", "demo"]

EXAMPLE = "rclicks demo --model geodesic --port 7860"


def demo(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar=NAME,
            help="Model at the top of the list, such as spa:checkpoint=FILE. May be repeated.",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address to listen on. 127.0.0.1 excludes other computers.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", help="TCP port.")] = 7860,
    data_root: DataRoot = None,
    device: Device = "cpu",
    plugins: Plugins = None,
) -> None:
    """Click on images in a web browser and see the masks of a model (needs the extra demo)."""
    from rclicks.demo.app import serve

    serve(
        model or [],
        ready=lambda: typer.echo(f"http://{host}:{port} - stop with Ctrl-C", err=True),
        host=host,
        port=port,
        data_root=data_root,
        device=device,
        plugins=plugins or [],
    )
