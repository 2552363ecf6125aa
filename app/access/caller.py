"""Who calls and what they may: virtual keys, teams, their limits. Frozen, no input or output."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from app.access.windows import BudgetWindow


class Right(StrEnum):
    """What a caller may do."""

    CALL = "call"
    SEE_PROPOSALS = "see_proposals"
    READ_TEAM = "read_team"
    READ_METRICS = "read_metrics"
    ADMIN = "admin"


USUAL_RIGHTS = frozenset({Right.CALL, Right.SEE_PROPOSALS})
STATIC_RIGHTS = frozenset({Right.CALL, Right.SEE_PROPOSALS, Right.READ_METRICS})
"""What the operator's own `MOA_API_KEYS` may."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a key or team may use; None is no limit.

    `budget` is USD in each `budget_window`, for ever where that is None.
    """

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent: int | None = None
    budget: Decimal | None = None
    budget_window: BudgetWindow | None = None


NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Team:
    """Keys that share limits. Empty `models` or `vendors` (names of upstreams) allow all."""

    id: str
    name: str
    created: datetime
    limits: Limits = NO_LIMITS
    models: tuple[str, ...] = ()
    vendors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VirtualKey:
    """What stands behind a secret of the form `moa-…`; the secret itself is nowhere.

    `prefix` is the public start of the newest secret. A rotation gives the same key another
    secret, so its limits and books go on; `replaced_until` is set on a key that was found by its
    former secret, and is the moment at which that stops working.
    """

    id: str
    name: str
    prefix: str
    created: datetime
    team: Team | None = None
    limits: Limits = NO_LIMITS
    models: tuple[str, ...] = ()
    vendors: tuple[str, ...] = ()
    rights: frozenset[Right] = USUAL_RIGHTS
    expires: datetime | None = None
    revoked: datetime | None = None
    replaced_until: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    def works(self, now: datetime) -> bool:
        """Whether it opens the door at this moment."""
        ends = (self.expires, self.revoked, self.replaced_until)
        return all(end is None or now < end for end in ends)


@dataclass(frozen=True, slots=True)
class Caller:
    """What a request is made by.

    `id` keeps callers apart in caches and logs; `key` is None for a static key and in open mode.
    """

    id: str
    key: VirtualKey | None = None
    rights: frozenset[Right] = STATIC_RIGHTS

    def may(self, right: Right) -> bool:
        """Whether the caller has this right."""
        return right in self.rights

    def may_use(self, model: str) -> bool:
        """Whether key and team allow this graph or pool."""
        return all(not allowed or model in allowed for allowed in self._allowed("models"))

    def may_reach(self, upstreams: Iterable[str]) -> bool:
        """Whether key and team allow every one of these upstreams."""
        reached = set(upstreams)
        return all(not allowed or reached <= set(allowed) for allowed in self._allowed("vendors"))

    def _allowed(self, what: str) -> list[tuple[str, ...]]:
        owners = (self.key, self.key.team if self.key else None)
        return [getattr(owner, what) for owner in owners if owner is not None]
