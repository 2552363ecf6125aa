"""Brings a database's tables up to this version of the gateway, or says that somebody has to."""

from __future__ import annotations

from sqlalchemy import Connection, inspect, text

from app.errors import ConfigError
from app.store.database import Database

NEWEST = "0001"
"""The last of the files in `migrations/versions`."""

_VERSIONS = "alembic_version"
_OLDER = "DATABASE_URL: the database's tables are not up to date: run `moa db upgrade`"
_NEWER = "DATABASE_URL: the database was made by a newer gateway: run that one, or a newer one"
_LOCK = 7_305_816_404
"""A number of ours among PostgreSQL's advisory locks: of two that migrate, one waits."""


async def ensure_schema(database: Database) -> None:
    """Have the tables there; on SQLite they are made, elsewhere `moa db upgrade` makes them.

    Raises ConfigError where that was not done or a newer gateway was here, StoreUnavailable.
    """
    if database.is_sqlite:
        await upgrade(database)
        return
    found = await version_of(database)
    if found != newest_version():
        raise ConfigError(_wrong(found))


async def upgrade(database: Database) -> str:
    """Make what is missing, all of it or nothing; returns the version there is then.

    Raises ConfigError where a newer gateway was here, StoreUnavailable.
    """
    async with database.writing() as connection:
        if not database.is_sqlite:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _LOCK})
        await connection.run_sync(_upgrade)
    return newest_version()


async def version_of(database: Database) -> str | None:
    """The version of its tables, None where there are none. Raises StoreUnavailable."""
    async with database.reading() as connection:
        return await connection.run_sync(_version)


def newest_version() -> str:
    """The version this gateway works with."""
    return NEWEST


def _upgrade(connection: Connection) -> None:
    found = _version(connection)
    if found == NEWEST:
        return
    # 9 MB and half a second that hardly any start needs.
    from app.store import migrating  # noqa: PLC0415

    if found is not None and not migrating.is_known(found):
        raise ConfigError(_NEWER)
    migrating.upgrade(connection)


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table(_VERSIONS):
        return None
    found: str | None = connection.execute(text(f"SELECT version_num FROM {_VERSIONS}")).scalar()  # noqa: S608
    return found


def _wrong(found: str | None) -> str:
    """Versions are numbers in order, so a higher one is of a later gateway."""
    return _OLDER if found is None or found < NEWEST else _NEWER
