"""A database for each test: a SQLite file, and PostgreSQL where `MOA_TEST_POSTGRES` names one."""

import os
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import make_url

from app.store.database import Database, open_database
from app.store.migrate import upgrade


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.services)])
async def address(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    if request.param == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path / 'moa.db'}"
        return
    server = make_url(os.environ["MOA_TEST_POSTGRES"]).set(drivername="postgresql")
    name = f"moa_{uuid.uuid4().hex}"
    connection = await asyncpg.connect(server.render_as_string(hide_password=False))
    try:
        await connection.execute(f"CREATE DATABASE {name}")
        own = server.set(drivername="postgresql+asyncpg", database=name)
        yield own.render_as_string(hide_password=False)
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()


@pytest.fixture
async def database(address: str) -> AsyncIterator[Database]:
    async with open_database(address) as opened:
        await upgrade(opened)
        yield opened
