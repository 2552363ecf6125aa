"""What an administrator may ask for keys."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import anyio
import pytest

from app.access.register import Page
from app.errors import InvalidRequest
from app.serving.admin import Admin
from app.store.database import open_database
from app.store.migrate import ensure_schema
from app.store.teams import StoredRegister


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59-12:00", "9999-12-31T23:59:59.999999Z"])
async def test_a_moment_that_no_calendar_can_give_back_is_refused(
    tmp_path: Path, moment: str
) -> None:
    async with open_database(f"sqlite+aiosqlite:///{tmp_path}/moa.db") as database:
        await ensure_schema(database)
        admin = Admin(StoredRegister(database), now=lambda: datetime(2026, 11, 24, tzinfo=UTC))
        with pytest.raises(InvalidRequest, match="century"):
            await admin.create_key({"name": "far", "expires": datetime.fromisoformat(moment)})
        assert await admin.keys(Page()) == []


async def test_of_two_changes_at_once_neither_takes_the_other_back(tmp_path: Path) -> None:
    async with open_database(f"sqlite+aiosqlite:///{tmp_path}/moa.db") as database:
        await ensure_schema(database)
        admin = Admin(StoredRegister(database))
        for number in range(5):
            name = f"key {number}"
            await admin.create_key({"name": name, "budget": Decimal(100)})
            await admin.create_team({"name": name, "budget": Decimal(100)})
            async with anyio.create_task_group() as tasks:
                for change in (admin.change_key, admin.change_team):
                    tasks.start_soon(change, name, {"budget": Decimal(1)})
                    tasks.start_soon(change, name, {"models": ("a",)})
                    tasks.start_soon(change, name, {})
            for one in (await admin.key(name), await admin.team(name)):
                assert (one.limits.budget, one.models) == (1, ("a",))
