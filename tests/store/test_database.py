import os
import stat
from pathlib import Path

import pytest
from sqlalchemy import text

from app.errors import ConfigError, StoreUnavailable
from app.store.database import Database, default_url, open_database, parse_url


@pytest.mark.parametrize(
    ("address", "driver"),
    [
        ("sqlite:////var/moa.db", "sqlite+aiosqlite"),
        ("sqlite+aiosqlite:///moa.db", "sqlite+aiosqlite"),
        ("postgres://u:p@h/d", "postgresql+asyncpg"),
        ("postgresql://u:p@h/d", "postgresql+asyncpg"),
        ("postgresql+asyncpg://u:p@h/d", "postgresql+asyncpg"),
    ],
)
def test_the_usual_addresses_are_understood(address: str, driver: str) -> None:
    assert parse_url(address).drivername == driver


@pytest.mark.parametrize(
    "address",
    [
        "sqlite+aiosqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:x?mode=memory",
        "mysql://u:hunter2@h/d",
        "postgresql+psycopg://u:hunter2@h/d",
        "hunter2",
        "",
    ],
)
def test_another_address_is_refused_without_being_repeated(address: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_url(address)
    assert "hunter2" not in refused.value.message


def test_the_usual_file_is_in_the_users_data_folder() -> None:
    assert default_url({"XDG_DATA_HOME": "/data"}) == "sqlite+aiosqlite:////data/moa/moa.db"
    home = str(Path.home() / ".local" / "share" / "moa" / "moa.db")
    assert default_url({}) == f"sqlite+aiosqlite:///{home}"


async def test_the_file_and_what_lies_beside_it_are_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "new" / "moa.db"
    async with open_database(f"sqlite:///{file}") as database:
        async with database.writing() as connection:
            await connection.execute(text("CREATE TABLE t (a)"))
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in file.parent.iterdir()}
    assert modes["moa.db"] == 0o600
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


@pytest.mark.skipif(os.name == "nt", reason="no such folder there")
async def test_a_file_that_cannot_be_made_is_said_with_its_name() -> None:
    with pytest.raises(ConfigError, match="cannot use the file"):
        async with open_database("sqlite:////proc/moa/moa.db"):
            pass


async def test_what_fails_in_a_transaction_leaves_nothing(database: Database) -> None:
    async def fail() -> None:
        async with database.writing() as connection:
            await connection.execute(text("UPDATE revision SET number = 7"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    async with database.reading() as connection:
        assert (await connection.execute(text("SELECT number FROM revision"))).scalar_one() == 0


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    async with open_database("postgresql://nobody@127.0.0.1:1/none") as database:
        with pytest.raises(StoreUnavailable):
            async with database.reading():
                pass
