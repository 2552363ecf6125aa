"""The command `moa`: one file per command, thin over serving and config. No logic of its own."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.ask import ask
from app.cli.attacks import attacks
from app.cli.check import check
from app.cli.db import db
from app.cli.keys import keys
from app.cli.serve import serve
from app.cli.spend import spend
from app.cli.teams import teams
from app.cli.version import version, version_flag

app = typer.Typer(
    name="moa",
    help="An OpenAI-compatible server that answers with a Mixture-of-Agents graph of many models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(serve)
app.command()(check)
app.command()(ask)
app.command()(attacks)
app.add_typer(keys, name="keys")
app.add_typer(teams, name="teams")
app.command()(spend)
app.add_typer(db, name="db")
app.command()(version)


@app.callback()
def _moa(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=lambda value: version_flag(wanted=value),
            is_eager=True,
            help="Say which version this is.",
        ),
    ] = False,
) -> None:
    """An OpenAI-compatible server that answers with a Mixture-of-Agents graph of many models."""


def main() -> None:
    """The entry point."""
    app()
