from pathlib import Path

import anyio
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text

from app.errors import ConfigError
from app.store import migrating
from app.store.database import Database, open_database
from app.store.migrate import ensure_schema, newest_version, upgrade, version_of
from app.store.tables import metadata


async def test_migrations_make_the_tables_that_the_code_knows(database: Database) -> None:
    def differences(connection: Connection) -> object:
        return compare_metadata(MigrationContext.configure(connection), metadata)

    async with database.reading() as connection:
        assert await connection.run_sync(differences) == []
    assert await version_of(database) == newest_version()


async def test_a_second_time_changes_nothing(database: Database) -> None:
    async with database.writing() as connection:
        await connection.execute(text("UPDATE revision SET number = 7"))
    assert await upgrade(database) == newest_version()
    await ensure_schema(database)
    async with database.reading() as connection:
        assert (await connection.execute(text("SELECT number FROM revision"))).scalar_one() == 7


async def test_several_that_migrate_at_once_do_not_disturb_each_other(address: str) -> None:
    async def migrate() -> None:
        async with open_database(address) as database:
            await upgrade(database)

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(migrate)
    async with open_database(address) as database:
        assert await version_of(database) == newest_version()


async def test_sqlite_is_migrated_at_the_start_and_another_database_is_not(address: str) -> None:
    async with open_database(address) as database:
        if database.is_sqlite:
            await ensure_schema(database)
            assert await version_of(database) == newest_version()
            return
        with pytest.raises(ConfigError, match="moa db upgrade"):
            await ensure_schema(database)
        assert await version_of(database) is None


async def test_the_database_of_a_newer_gateway_is_left_alone(database: Database) -> None:
    async with database.writing() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigError, match="newer gateway"):
        await ensure_schema(database)
    with pytest.raises(ConfigError, match="newer gateway"):
        await upgrade(database)


def test_migrations_are_beside_the_code_that_runs_them() -> None:
    folder = Path(__file__).parents[2] / "app" / "store" / "migrations" / "versions"
    assert list(folder.glob("*_0001.py"))


def test_the_version_that_is_wanted_is_the_last_change_there_is() -> None:
    assert newest_version() == migrating.newest()
