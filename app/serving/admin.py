"""What an administrator does to keys and teams, over HTTP or in a terminal: make, change, end them.

A new secret is returned once and kept nowhere. What a request may use is decided elsewhere.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from app.access.caller import Limits, Team, VirtualKey
from app.access.keyring import utc_now
from app.access.keys import digest_of, new_secret
from app.access.register import Page, Register
from app.errors import InvalidRequest, NotRegistered, StoreUnavailable

LONGEST = timedelta(days=36_525)
"""How far ahead a key may expire: databases and calendars end somewhere."""
OVERLAP = timedelta(hours=1)
"""How long a former secret goes on beside the new one, where nobody says."""

Owner = TypeVar("Owner", VirtualKey, Team)
_LIMITS = tuple(each.name for each in fields(Limits))
_log = logging.getLogger("moa.admin")


async def _tell_nobody() -> None:
    return


@dataclass(frozen=True, slots=True)
class Admin:
    """Keeps the register; `changed` tells whoever remembers keys.

    Changes are the fields of a key or team and of its limits, by name; only those that are there
    are changed. A key's `team` is the team's id or name.
    """

    register: Register
    pepper: bytes | None = None
    changed: Callable[[], Awaitable[None]] = _tell_nobody
    now: Callable[[], datetime] = utc_now

    async def create_key(self, changes: Mapping[str, Any]) -> tuple[VirtualKey, str]:
        """A new key and its secret. Raises NameTaken, or InvalidRequest with the field."""
        secret, prefix = new_secret()
        blank = VirtualKey(id=_new_id("key"), name="", prefix=prefix, created=self.now())
        key = await self._key_with(blank, changes)
        await self.register.add_key(key, digest_of(secret.encode(), self.pepper))
        await self._tell("created", key)
        return key, secret

    async def key(self, named: str) -> VirtualKey:
        """The key with this id or name. Raises NotRegistered."""
        found = await self.register.key(named)
        if found is None:
            raise NotRegistered("There is no such key")
        return found

    async def keys(self, page: Page, team: str | None = None) -> list[VirtualKey]:
        """A page of keys; of one team, where it is named. Raises NotRegistered for that."""
        return await self.register.keys(page, (await self.team(team)).id if team else None)

    async def change_key(self, named: str, changes: Mapping[str, Any]) -> VirtualKey:
        """Change some of a key. Raises NotRegistered, NameTaken, InvalidRequest."""
        was = _working(await self.key(named))
        key = await self._key_with(was, changes)
        await self.register.change_key(key, was)
        await self._tell("changed", key)
        return key

    async def rotate_key(self, named: str, overlap: timedelta = OVERLAP) -> tuple[VirtualKey, str]:
        """Another secret for a key; the former one works until the overlap is over."""
        key = _working(await self.key(named))
        secret, prefix = new_secret()
        digest = digest_of(secret.encode(), self.pepper)
        await self.register.rotate_key(key.id, digest, prefix, self.now() + overlap)
        await self._tell("rotated", key)
        return replace(key, prefix=prefix), secret

    async def revoke_key(self, named: str) -> VirtualKey:
        """End a key, for ever; a second time changes nothing."""
        key = await self.key(named)
        if key.revoked is None:
            was, key = key, replace(key, revoked=self.now())
            await self.register.change_key(key, was)
            await self._tell("revoked", key)
        return key

    async def create_team(self, changes: Mapping[str, Any]) -> Team:
        """A new team. Raises NameTaken, or InvalidRequest with the field."""
        team = _changed(Team(id=_new_id("team"), name="", created=self.now()), changes)
        await self.register.add_team(team)
        await self._tell("created", team)
        return team

    async def team(self, named: str) -> Team:
        """The team with this id or name. Raises NotRegistered."""
        found = await self.register.team(named)
        if found is None:
            raise NotRegistered("There is no such team")
        return found

    async def teams(self, page: Page) -> list[Team]:
        """A page of teams."""
        return await self.register.teams(page)

    async def change_team(self, named: str, changes: Mapping[str, Any]) -> Team:
        """Change some of a team. Raises NotRegistered, NameTaken, InvalidRequest."""
        was = await self.team(named)
        team = _changed(was, changes)
        await self.register.change_team(team, was)
        await self._tell("changed", team)
        return team

    async def delete_team(self, named: str) -> Team:
        """End a team, and its keys with it."""
        team = await self.team(named)
        await self.register.delete_team(team.id, self.now())
        await self._tell("deleted", team)
        return team

    async def _key_with(self, key: VirtualKey, changes: Mapping[str, Any]) -> VirtualKey:
        expires = changes.get("expires")
        if expires is not None and expires <= self.now():
            raise InvalidRequest("expires: this moment is over", param="expires")
        if expires is not None and expires - self.now() > LONGEST:
            raise InvalidRequest("expires: more than a century ahead", param="expires")
        if "team" in changes:
            changes = {**changes, "team": await self._team_of(changes["team"])}
        return _changed(key, changes)

    async def _team_of(self, named: str | None) -> Team | None:
        if named is None:
            return None
        found = await self.register.team(named)
        if found is None:
            raise InvalidRequest("team: there is no such team", param="team")
        return found

    async def _tell(self, what: str, owner: VirtualKey | Team) -> None:
        _log.info("%s %s", what, owner.id)
        try:
            await self.changed()
        except StoreUnavailable:
            _log.warning("it is done, but this process will hear of it later")


def _new_id(kind: str) -> str:
    return f"{kind}_{secrets.token_hex(16)}"


def _working(key: VirtualKey) -> VirtualKey:
    if key.revoked is not None:
        raise InvalidRequest("This key is revoked, for ever: create another one")
    return key


def _changed(owner: Owner, changes: Mapping[str, Any]) -> Owner:
    own = {name: value for name, value in changes.items() if name not in _LIMITS}
    new = {name: value for name, value in changes.items() if name in _LIMITS}
    limits = replace(owner.limits, **new)
    if limits.budget_window is not None and limits.budget is None:
        raise InvalidRequest(
            "budget_window: there is no budget that could start anew", param="budget_window"
        )
    return replace(owner, limits=limits, **own)
