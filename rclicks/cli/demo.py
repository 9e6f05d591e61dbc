"""``rclicks demo``: its options; the work is in `rclicks.demo`."""

from __future__ import annotations

from typing import Annotated

import typer

from rclicks.cli.options import DataRoot, Plugins

__all__ = ["demo"]


def demo(
    model: Annotated[
        list[str] | None, typer.Option("--model", help="Offered first, such as spa:checkpoint=FILE; may be repeated.")
    ] = None,
    host: Annotated[str, typer.Option(help="Where to listen; others can connect if it is not this machine.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(help="TCP port.")] = 7860,
    data_root: DataRoot = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:1.")] = "cpu",
    plugins: Plugins = None,
) -> None:
    """Click on images in the browser and watch what a model answers (needs the extra demo)."""
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
