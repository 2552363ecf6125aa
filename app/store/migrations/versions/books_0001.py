"""Keys, teams and the books."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make it so."""
    _accounts()
    _books()
    op.execute("INSERT INTO revision (id, number) VALUES (1, 0)")


def _accounts() -> None:
    op.create_table(
        "teams",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        *_limits(),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("deleted", sa.Double),
    )
    _names_are_unique("teams", "deleted IS NULL")
    op.create_table(
        "keys",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("prefix", sa.String(32), nullable=False),
        sa.Column("team_id", sa.String(64), sa.ForeignKey("teams.id")),
        *_limits(),
        sa.Column("rights", sa.Text, nullable=False),
        sa.Column("labels", sa.Text, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("expires", sa.Double),
        sa.Column("revoked", sa.Double),
    )
    _names_are_unique("keys", "revoked IS NULL")
    op.create_table(
        "key_secrets",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("key_id", sa.String(64), sa.ForeignKey("keys.id"), nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("replaced_until", sa.Double),
    )
    op.create_index("ix_key_secrets_key_id", "key_secrets", ["key_id"])
    op.create_table(
        "revision",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, nullable=False),
    )


def _limits() -> list[sa.Column[object]]:
    return [
        sa.Column("requests_per_minute", sa.Integer),
        sa.Column("tokens_per_minute", sa.BigInteger),
        sa.Column("concurrent", sa.Integer),
        sa.Column("budget", sa.BigInteger),
        sa.Column("budget_window", sa.String(8)),
        sa.Column("models", sa.Text, nullable=False),
        sa.Column("vendors", sa.Text, nullable=False),
    ]


def _names_are_unique(table: str, where: str) -> None:
    op.create_index(
        f"{table}_by_name",
        table,
        ["name"],
        unique=True,
        sqlite_where=sa.text(where),
        postgresql_where=sa.text(where),
    )


def _books() -> None:
    op.create_table(
        "processes",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("pid", sa.BigInteger, nullable=False),
        sa.Column("seen", sa.Double, nullable=False),
    )
    op.create_table(
        "budgets",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("window_start", sa.BigInteger, nullable=False),
        sa.Column("spent", sa.BigInteger, nullable=False),
        sa.Column("reserved", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "reservations",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("process_id", sa.String(64), nullable=False),
        *_request(),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("key_window", sa.BigInteger),
        sa.Column("team_window", sa.BigInteger),
    )
    op.create_table(
        "requests",
        sa.Column("id", sa.String(64), primary_key=True),
        *_request(),
        sa.Column("reserved", sa.BigInteger, nullable=False),
        sa.Column("ended", sa.Double, nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("error_kind", sa.Text),
        sa.Column("cost", sa.BigInteger, nullable=False),
        sa.Column("is_estimate", sa.Boolean, nullable=False),
        sa.Column("unpriced", sa.Integer, nullable=False),
        *_tokens(),
        sa.Column("calls", sa.Text, nullable=False),
    )
    op.create_table(
        "spend",
        sa.Column("day", sa.String(10), primary_key=True),
        sa.Column("key_id", sa.String(64), primary_key=True),
        sa.Column("team_id", sa.String(64), primary_key=True),
        sa.Column("graph", sa.Text, primary_key=True),
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("calls", sa.BigInteger, nullable=False),
        *_tokens(),
        sa.Column("cost", sa.BigInteger, nullable=False),
    )


def _request() -> list[sa.Column[object]]:
    return [
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("key_id", sa.String(64), nullable=False),
        sa.Column("team_id", sa.String(64)),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("caller", sa.Text, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
    ]


def _tokens() -> list[sa.Column[object]]:
    return [
        sa.Column("tokens_in", sa.BigInteger, nullable=False),
        sa.Column("tokens_out", sa.BigInteger, nullable=False),
        sa.Column("tokens_cached", sa.BigInteger, nullable=False),
    ]
