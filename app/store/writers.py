"""Which writer a database has."""

from __future__ import annotations

from app.store.database import Database
from app.store.sqlite_writer import SqliteWriter
from app.store.transactions import Writer


def writer_of(database: Database) -> Writer:
    """A writer with a connection of its own, not open yet."""
    if database.is_sqlite:
        return SqliteWriter(database.url.database or "")
    # 3 MB that SQLite does not need.
    from app.store.postgres_writer import PostgresWriter  # noqa: PLC0415

    _, options = database.engine.dialect.create_connect_args(database.url)
    return PostgresWriter(options)
