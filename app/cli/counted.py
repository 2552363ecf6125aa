"""How many virtual keys a server will find at its start."""

from __future__ import annotations

from dataclasses import dataclass, replace

from app.access.keyring import utc_now
from app.access.register import Page
from app.cli.desk import opened_database
from app.config import Settings
from app.main import with_database
from app.store.migrate import ensure_schema
from app.store.teams import StoredRegister

_PAGE = 500


@dataclass(frozen=True, slots=True)
class KeyCount:
    """Virtual keys that work now, and whether one was ever made: then a key is always needed."""

    working: int = 0
    ever: bool = False


NO_KEYS = KeyCount()


async def count_keys(settings: Settings) -> KeyCount:
    """Count them. Raises ConfigError, StoreUnavailable."""
    async with opened_database(with_database(settings)) as database:
        await ensure_schema(database)
        register = StoredRegister(database)
        if not await register.any_created():
            return NO_KEYS
        working, page = 0, Page(_PAGE)
        while part := await register.keys(page):
            working += sum(key.works(utc_now()) for key in part)
            page = replace(page, after=part[-1].id)
        return KeyCount(working, ever=True)
