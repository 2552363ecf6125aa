"""Alembic's part of a migration; imported by the few starts that need one.

https://alembic.sqlalchemy.org/en/latest/cookbook.html#programmatic-api-use-connection-sharing-with-asyncio
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

MIGRATIONS = Path(__file__).parent / "migrations"


def upgrade(connection: Connection) -> None:
    """Make all changes that are missing, within the connection's transaction."""
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    command.upgrade(config, "head")


def is_known(version: str) -> bool:
    """Whether this gateway has the change of this name."""
    return version in {script.revision for script in _scripts().walk_revisions()}


def newest() -> str | None:
    """The last change there is."""
    return _scripts().get_current_head()


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(MIGRATIONS))
