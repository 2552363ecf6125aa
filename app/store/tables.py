"""The tables, as SQLAlchemy Core knows them; `migrations/` is what makes them in a database.

Money is picodollars, moments are unix seconds, lists and maps are JSON in text.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    insert,
    text,
)
from sqlalchemy.dialects import sqlite

metadata = MetaData()


def _limits() -> list[Column[object]]:
    return [
        Column("requests_per_minute", Integer),
        Column("tokens_per_minute", BigInteger),
        Column("concurrent", Integer),
        Column("budget", BigInteger),
        Column("budget_window", String(8)),
        Column("models", Text, nullable=False),
        Column("vendors", Text, nullable=False),
    ]


teams = Table(
    "teams",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", Text, nullable=False),
    *_limits(),
    Column("created", Double, nullable=False),
    Column("deleted", Double),
)
Index(
    "teams_by_name",
    teams.c.name,
    unique=True,
    sqlite_where=text("deleted IS NULL"),
    postgresql_where=text("deleted IS NULL"),
)

keys = Table(
    "keys",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", Text, nullable=False),
    Column("prefix", String(32), nullable=False),
    Column("team_id", String(64), ForeignKey("teams.id")),
    *_limits(),
    Column("rights", Text, nullable=False),
    Column("labels", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("expires", Double),
    Column("revoked", Double),
)
Index(
    "keys_by_name",
    keys.c.name,
    unique=True,
    sqlite_where=text("revoked IS NULL"),
    postgresql_where=text("revoked IS NULL"),
)

key_secrets = Table(
    "key_secrets",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("key_id", String(64), ForeignKey("keys.id"), nullable=False, index=True),
    Column("created", Double, nullable=False),
    Column("replaced_until", Double),
)
"""What keys are found by: one digest a secret, several while a rotation overlaps."""

revision = Table(
    "revision",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
)
"""One row: how often keys and teams were changed."""

processes = Table(
    "processes",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("host", Text, nullable=False),
    Column("pid", BigInteger, nullable=False),
    Column("seen", Double, nullable=False),
)

budgets = Table(
    "budgets",
    metadata,
    Column("id", Text, primary_key=True),
    Column("scope", Text, nullable=False),
    Column("window_start", BigInteger, nullable=False),
    Column("spent", BigInteger, nullable=False),
    Column("reserved", BigInteger, nullable=False),
)
"""A row for each window of each budget; `id` is `scope@window_start`."""

reservations = Table(
    "reservations",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("process_id", String(64), nullable=False),
    Column("request_id", Text, nullable=False),
    Column("key_id", String(64), nullable=False),
    Column("team_id", String(64)),
    Column("model", Text, nullable=False),
    Column("caller", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("key_window", BigInteger),
    Column("team_window", BigInteger),
)
"""Requests under way; a small table, so that what waits for it is short."""

requests = Table(
    "requests",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("request_id", Text, nullable=False),
    Column("key_id", String(64), nullable=False),
    Column("team_id", String(64)),
    Column("model", Text, nullable=False),
    Column("caller", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("reserved", BigInteger, nullable=False),
    Column("ended", Double, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("error_kind", Text),
    Column("cost", BigInteger, nullable=False),
    Column("is_estimate", Boolean, nullable=False),
    Column("unpriced", Integer, nullable=False),
    Column("tokens_in", BigInteger, nullable=False),
    Column("tokens_out", BigInteger, nullable=False),
    Column("tokens_cached", BigInteger, nullable=False),
    Column("calls", Text, nullable=False),
)
"""Requests that have ended; the first half of an id is the time, so they lie in order."""

spend = Table(
    "spend",
    metadata,
    Column("day", String(10), primary_key=True),
    Column("key_id", String(64), primary_key=True),
    Column("team_id", String(64), primary_key=True),
    Column("graph", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("calls", BigInteger, nullable=False),
    Column("tokens_in", BigInteger, nullable=False),
    Column("tokens_out", BigInteger, nullable=False),
    Column("tokens_cached", BigInteger, nullable=False),
    Column("cost", BigInteger, nullable=False),
)
"""The sums of `requests`; "" stands for no team, no key, or a model nobody knows any more."""


def insertion(table: Table) -> str:
    """The statement that makes a whole row, with `?` for each column in its order here."""
    return str(insert(table).compile(dialect=sqlite.dialect()))
