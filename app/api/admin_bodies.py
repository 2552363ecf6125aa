"""Bodies of the admin API and of `GET /v1/usage`, asked and answered. What they do is elsewhere.

Money is USD, as numbers; moments are RFC 3339. Of what is asked, only the fields that are there
are changed, and null takes a limit away.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints
from pydantic.config import JsonDict

from app.access.caller import Right, Team, VirtualKey
from app.access.windows import BudgetWindow

Entry = TypeVar("Entry", bound=BaseModel)

_MOST = 10**9
MOST_OVERLAP = 30 * 24 * 3600
_UNSEEN = r"\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069"
"""Control characters, and those that turn writing around: a terminal would obey them."""
Name = Annotated[
    str,
    StringConstraints(
        min_length=1,
        max_length=100,
        pattern=rf"^[^\s{_UNSEEN}]([^{_UNSEEN}]*[^\s{_UNSEEN}])?$",
    ),
]
Names = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=200)], ...], Field(max_length=500)
]
Label = Annotated[str, Field(min_length=1, max_length=64)]
Count = Annotated[int, Field(ge=0, le=_MOST, strict=True)]
Money = Annotated[Decimal, Field(ge=0, le=10**6, decimal_places=12, allow_inf_nan=False)]


def _no_default(value: object, description: str) -> Any:
    """A field that may be missing, and then means nothing: the value is never used, or told."""

    def untold(schema: JsonDict) -> None:
        schema.pop("default", None)

    return Field(value, description=description, json_schema_extra=untold)


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")

    def changes(self) -> dict[str, Any]:
        """The fields that were sent, by name."""
        return {name: getattr(self, name) for name in self.model_fields_set}


class _LimitsAsked(_Asked):
    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    concurrent: Count | None = None
    budget: Money | None = Field(None, description="USD in each window.")
    budget_window: BudgetWindow | None = Field(
        None, description="Calendar-aligned in UTC; null: the budget is for ever."
    )
    models: Names = Field((), description="Graphs and models that may be used; empty: all.")
    vendors: Names = Field((), description="Upstreams that may be reached; empty: all.")


class TeamChange(_LimitsAsked):
    """What may be changed of a team."""

    name: Name = _no_default("unchanged", "Its name.")


class NewTeam(_LimitsAsked):
    """A team to be made."""

    name: Name


class _KeyAsked(_LimitsAsked):
    team: str | None = Field(None, max_length=200, description="A team's id or name.")
    rights: frozenset[Right] = _no_default(frozenset(), "What it may do.")
    expires: AwareDatetime | None = Field(None, description="When it stops to work.")
    labels: dict[Label, Annotated[str, Field(max_length=256)]] = Field({}, max_length=32)


class KeyChange(_KeyAsked):
    """What may be changed of a key."""

    name: Name = _no_default("unchanged", "Its name.")


class KeyWanted(_KeyAsked):
    """A key to be made; without `rights` it may call and see proposals."""

    name: Name


class Rotation(_Asked):
    """How a key gets another secret."""

    overlap: int = Field(
        3600, ge=0, le=MOST_OVERLAP, strict=True, description="Seconds the former one goes on."
    )


class LimitsTold(BaseModel):
    """Limits; null is none."""

    requests_per_minute: int | None
    tokens_per_minute: int | None
    concurrent: int | None
    budget: float | None
    budget_window: BudgetWindow | None


class TeamNamed(BaseModel):
    """A team, in short."""

    id: str
    name: str


class TeamTold(LimitsTold):
    """A team."""

    id: str
    object: Literal["team"] = "team"
    name: str
    models: tuple[str, ...]
    vendors: tuple[str, ...]
    created: datetime


class KeyTold(LimitsTold):
    """A key; `prefix` is the start of its newest secret."""

    id: str
    object: Literal["key"] = "key"
    name: str
    prefix: str
    team: TeamNamed | None
    models: tuple[str, ...]
    vendors: tuple[str, ...]
    rights: list[Right]
    labels: dict[str, str]
    created: datetime
    expires: datetime | None
    revoked: datetime | None


class KeyWithSecret(KeyTold):
    """A key with its secret, `key`, which is told this once."""

    key: str


class Listed(BaseModel, Generic[Entry]):
    """A page of a list; `last_id` is `after` of the next one."""

    object: Literal["list"] = "list"
    data: list[Entry]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Deleted(BaseModel):
    """A team that is no more."""

    id: str
    object: Literal["team"] = "team"
    deleted: Literal[True] = True


def _limits(owner: VirtualKey | Team) -> dict[str, Any]:
    limits = owner.limits
    return {
        "requests_per_minute": limits.requests_per_minute,
        "tokens_per_minute": limits.tokens_per_minute,
        "concurrent": limits.concurrent,
        "budget": None if limits.budget is None else float(limits.budget),
        "budget_window": limits.budget_window,
        "id": owner.id,
        "name": owner.name,
        "models": owner.models,
        "vendors": owner.vendors,
        "created": owner.created,
    }


def team_told(team: Team) -> TeamTold:
    """A team as it is answered."""
    return TeamTold(**_limits(team))


def _key(key: VirtualKey) -> dict[str, Any]:
    return {
        **_limits(key),
        "prefix": key.prefix,
        "team": TeamNamed(id=key.team.id, name=key.team.name) if key.team else None,
        "rights": sorted(key.rights),
        "labels": dict(key.labels),
        "expires": key.expires,
        "revoked": key.revoked,
    }


def key_told(key: VirtualKey) -> KeyTold:
    """A key as it is answered."""
    return KeyTold(**_key(key))


def key_with_secret(key: VirtualKey, secret: str) -> KeyWithSecret:
    """A key as it is answered once."""
    return KeyWithSecret(**_key(key), key=secret)


def listed(entries: Iterable[Entry], ids: Sequence[str], limit: int) -> Listed[Entry]:
    """A page of at most `limit` entries, made from one more where there are more."""
    return Listed(
        data=list(entries)[:limit],
        first_id=ids[0] if ids else None,
        last_id=ids[:limit][-1] if ids else None,
        has_more=len(ids) > limit,
    )
