"""A database for one gateway, and its first key, as a terminal would make it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import httpx

from app.access.caller import Right
from app.serving.admin import Admin
from app.store.database import open_database
from app.store.migrate import ensure_schema
from app.store.teams import StoredRegister


def database_in(folder: Path) -> str:
    return f"sqlite+aiosqlite:///{folder / 'moa.db'}"


def first_key(address: str, *rights: Right, **changes: Any) -> str:
    """Make a key beside a running gateway or before it starts; returns its secret."""

    async def make() -> str:
        async with open_database(address) as database:
            await ensure_schema(database)
            wanted = {"name": "first", "rights": frozenset(rights or Right), **changes}
            _, secret = await Admin(StoredRegister(database)).create_key(wanted)
            return secret

    return anyio.run(make)


def bearing(url: str, key: str) -> httpx.Client:
    return httpx.Client(base_url=url, headers={"authorization": f"Bearer {key}"}, trust_env=False)
