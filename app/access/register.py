"""The register of keys and teams, and what was spent: what is asked of the store. Types only.

Every method raises StoreUnavailable. A change of keys or teams makes the revision another one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal, Protocol, TypeAlias

from app.access.caller import Team, VirtualKey
from app.access.keyring import KeyStore

GroupBy: TypeAlias = Literal["key", "team", "graph", "model"]


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is wanted: so many of those after this id, the newest first."""

    limit: int = 20
    after: str | None = None


class Register(KeyStore, Protocol):
    """Keys and teams. Those that are revoked or deleted keep their id and give their name free."""

    async def add_key(self, key: VirtualKey, digest: str) -> None:
        """Enter a new key. Raises NameTaken, or NotRegistered where its team is deleted."""

    async def key(self, named: str) -> VirtualKey | None:
        """The key with this id, else the one of this name that is not revoked."""

    async def keys(self, page: Page, team_id: str | None = None) -> list[VirtualKey]:
        """Keys, revoked ones included; of one team, where it is named."""

    async def change_key(self, key: VirtualKey, was: VirtualKey | None = None) -> None:
        """Put it in place of what is known of this id; a revoked key stays revoked.

        Where it is said what it `was`, only what differs: others may change the rest meanwhile.
        Raises NameTaken, or NotRegistered where its team is deleted.
        """

    async def rotate_key(self, key_id: str, digest: str, prefix: str, until: datetime) -> None:
        """Give a key another secret; those it has stop to work at `until`."""

    async def add_team(self, team: Team) -> None:
        """Enter a new team. Raises NameTaken."""

    async def team(self, named: str) -> Team | None:
        """The team with this id, else of this name; None too where it was deleted."""

    async def teams(self, page: Page) -> list[Team]:
        """Teams that are not deleted."""

    async def change_team(self, team: Team, was: Team | None = None) -> None:
        """The same for a team. Raises NameTaken."""

    async def delete_team(self, team_id: str, now: datetime) -> None:
        """Delete a team and revoke its keys."""


@dataclass(frozen=True, slots=True)
class Period:
    """Days, in UTC, both included."""

    first: date
    last: date


@dataclass(frozen=True, slots=True)
class Spent:
    """What one key, team, graph or model came to; `cost` is picodollars.

    `id` and `name` are "" for static keys and open mode, for no team, and for a model nobody
    knows any more.
    """

    id: str
    name: str
    calls: int
    tokens_in: int
    tokens_out: int
    tokens_cached: int
    cost: int


@dataclass(frozen=True, slots=True)
class Standing:
    """How a budget stands in one of its windows, in picodollars."""

    spent: int = 0
    reserved: int = 0


class Books(Protocol):
    """What was spent."""

    async def spent(
        self, period: Period, by: GroupBy, *, key_id: str | None = None, team_id: str | None = None
    ) -> list[Spent]:
        """The sums for a period, the dearest first; of one key or team, where it is named."""

    async def standing(self, scope: str, window: int) -> Standing:
        """The standing of `key:ID` or `team:ID` in the window of this name."""
