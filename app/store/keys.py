"""Virtual keys in the database: entered, found by digest, changed, rotated. Never deleted.

No secret comes here, only digests. What a key may hold is decided by whoever enters it.
"""

from __future__ import annotations

import time
from datetime import datetime

from sqlalchemy import case, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.access.caller import VirtualKey
from app.access.register import Page
from app.errors import NameTaken, NotRegistered
from app.store.accounts import CHANGED, changed, key_of, key_row, keys_with_teams, page_of
from app.store.database import Database
from app.store.tables import key_secrets, keys, revision, teams

_JOINED = keys.outerjoin(teams, keys.c.team_id == teams.c.id)
_TAKEN = "Another key that is not revoked has this name"


class StoredKeys:
    """The keys of a database: half of `app.access.register.Register`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, digest: str) -> VirtualKey | None:
        """As in `KeyStore`."""
        until = key_secrets.c.replaced_until.label("secret_until")
        joined = _JOINED.join(key_secrets, key_secrets.c.key_id == keys.c.id)
        query = keys_with_teams(until).select_from(joined).where(key_secrets.c.digest == digest)
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).mappings().first()
        return None if row is None else key_of(row, row["secret_until"])

    async def any_created(self) -> bool:
        """As in `KeyStore`."""
        async with self._database.reading() as connection:
            return (await connection.execute(select(keys.c.id).limit(1))).first() is not None

    async def revision(self) -> int:
        """As in `KeyStore`."""
        async with self._database.reading() as connection:
            return int((await connection.execute(select(revision.c.number))).scalar_one())

    async def add_key(self, key: VirtualKey, digest: str) -> None:
        """As in `Register`; raises NotRegistered where its team is deleted."""
        created = key.created.timestamp()
        row = {**key_row(key), "id": key.id, "prefix": key.prefix, "created": created}
        try:
            async with self._database.writing() as connection:
                await _hold_team(connection, key)
                await connection.execute(insert(keys).values(row))
                await _add_secret(connection, key.id, digest, created)
        except IntegrityError:
            raise NameTaken(_TAKEN) from None

    async def key(self, named: str) -> VirtualKey | None:
        """As in `Register`."""
        live = (keys.c.name == named) & keys.c.revoked.is_(None)
        query = (
            keys_with_teams()
            .select_from(_JOINED)
            .where(or_(keys.c.id == named, live))
            .order_by(case((keys.c.id == named, 0), else_=1))
        )
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).mappings().first()
        return None if row is None else key_of(row)

    async def keys(self, page: Page, team_id: str | None = None) -> list[VirtualKey]:
        """As in `Register`."""
        query = keys_with_teams().select_from(_JOINED)
        if team_id is not None:
            query = query.where(keys.c.team_id == team_id)
        async with self._database.reading() as connection:
            rows = await connection.execute(page_of(query, keys, page))
            return [key_of(row) for row in rows.mappings()]

    async def change_key(self, key: VirtualKey, was: VirtualKey | None = None) -> None:
        """As in `Register`; whatever is put there, a revoked key stays revoked."""
        whole = key_row(key)
        row = changed(whole, key_row(was) if was else None)
        row["revoked"] = func.coalesce(keys.c.revoked, whole["revoked"])
        try:
            async with self._database.writing() as connection:
                await _hold_team(connection, key)
                await connection.execute(update(keys).where(keys.c.id == key.id).values(row))
                await connection.execute(CHANGED)
        except IntegrityError:
            raise NameTaken(_TAKEN) from None

    async def rotate_key(self, key_id: str, digest: str, prefix: str, until: datetime) -> None:
        """As in `Register`; a secret that ends before `until` already still does."""
        ends = until.timestamp()
        olds = key_secrets.c.key_id == key_id
        ends_later = func.coalesce(key_secrets.c.replaced_until, ends) >= ends
        async with self._database.writing() as connection:
            await connection.execute(
                update(key_secrets).where(olds, ends_later).values(replaced_until=ends)
            )
            await connection.execute(update(keys).where(keys.c.id == key_id).values(prefix=prefix))
            await _add_secret(connection, key_id, digest, time.time())


async def _add_secret(
    connection: AsyncConnection, key_id: str, digest: str, created: float
) -> None:
    row = {"digest": digest, "key_id": key_id, "created": created}
    await connection.execute(insert(key_secrets).values(row))
    await connection.execute(CHANGED)


async def _hold_team(connection: AsyncConnection, key: VirtualKey) -> None:
    """Keep the key's team from being deleted meanwhile: a live key has a live team."""
    if key.team is None or key.revoked is not None:
        return
    live = select(teams.c.id).where(teams.c.id == key.team.id, teams.c.deleted.is_(None))
    if (await connection.execute(live.with_for_update(read=True))).first() is None:
        raise NotRegistered("There is no such team")
