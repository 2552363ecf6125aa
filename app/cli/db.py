"""`moa db`: the tables of the database, looked at and brought up to this version."""

from __future__ import annotations

import os

import anyio
import typer

from app.cli.desk import database_shown, opened_database
from app.cli.terminal import EXIT_FAILED, endings, stdout
from app.config import Settings, load_settings
from app.main import with_database
from app.store.database import SQLITE, parse_url
from app.store.migrate import newest_version, upgrade, version_of

db = typer.Typer(help="The database that keys and books are in.", no_args_is_help=True)


@db.command("upgrade")
def upgrade_tables() -> None:
    """Make the tables that are missing. On SQLite a server does so by itself."""
    with endings():
        settings = load_settings(os.environ)
        version = anyio.run(_upgrade, settings)
    stdout().print(f"database: {database_shown(settings)}")
    stdout().print(f"tables: up to date ({version})")


@db.command()
def status() -> None:
    """Say which database it is and whether its tables are up to date; exits with 1 if not."""
    with endings():
        settings = load_settings(os.environ)
        found = anyio.run(_version, settings)
    stdout().print(f"database: {database_shown(settings)}")
    newest = newest_version()
    if found == newest:
        stdout().print(f"tables: up to date ({found})")
        return
    has = f"version {found}, this gateway has {newest}" if found else "none yet"
    stdout().print(f"tables: {has}; run `moa db upgrade`")
    raise typer.Exit(EXIT_FAILED)


async def _upgrade(settings: Settings) -> str:
    async with opened_database(settings) as database:
        return await upgrade(database)


async def _version(settings: Settings) -> str | None:
    """The version of the tables; a SQLite file that is not there is not made."""
    url = parse_url(_url(settings))
    if url.drivername == SQLITE and not await anyio.Path(url.database or "").exists():
        return None
    async with opened_database(settings) as database:
        return await version_of(database)


def _url(settings: Settings) -> str:
    url = with_database(settings).database_url
    return url.get_secret_value() if url else ""
