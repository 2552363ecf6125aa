"""`moa version`."""

from __future__ import annotations

import typer

from app import __version__
from app.cli.terminal import stdout


def version() -> None:
    """Say which version this is."""
    stdout().print(f"moa-gateway {__version__}")


def version_flag(*, wanted: bool) -> None:
    """The same as an option, which ends the command line."""
    if wanted:
        version()
        raise typer.Exit
