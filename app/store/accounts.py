"""Rows of keys and teams, read into `app.access.caller`'s types and written from them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import RowMapping, Select, Table, Update, select, tuple_, update

from app.access.caller import Limits, Right, Team, VirtualKey
from app.access.money import to_pico, to_usd
from app.access.register import Page
from app.store.tables import keys, revision, teams

CHANGED: Update = update(revision).values(number=revision.c.number + 1)
"""Part of every change of keys and teams, so that other processes see it."""

_TEAM = "of_team_"


def keys_with_teams(*others: Any) -> Select[Any]:
    """Every key with its team's columns beside it, which `key_of` reads."""
    of_team = [column.label(_TEAM + column.name) for column in teams.c]
    return select(keys, *of_team, *others)


def key_of(row: RowMapping, replaced_until: float | None = None) -> VirtualKey:
    """The key of a row."""
    has_team = row[keys.c.team_id] is not None
    team = {column.name: row[_TEAM + column.name] for column in teams.c}
    own = {column.name: row[column] for column in keys.c}
    return VirtualKey(
        id=own["id"],
        name=own["name"],
        prefix=own["prefix"],
        created=moment(own["created"]),
        team=team_of(team) if has_team else None,
        limits=_limits_of(own),
        models=tuple(orjson.loads(own["models"])),
        vendors=tuple(orjson.loads(own["vendors"])),
        rights=frozenset(map(Right, orjson.loads(own["rights"]))),
        expires=moment_or_none(own["expires"]),
        revoked=moment_or_none(own["revoked"]),
        replaced_until=moment_or_none(replaced_until),
        labels=orjson.loads(own["labels"]),
    )


def team_of(row: Any) -> Team:
    """The team of a row, or of what else has its columns' names."""
    return Team(
        id=row["id"],
        name=row["name"],
        created=moment(row["created"]),
        limits=_limits_of(row),
        models=tuple(orjson.loads(row["models"])),
        vendors=tuple(orjson.loads(row["vendors"])),
    )


def _limits_of(row: Any) -> Limits:
    budget = row["budget"]
    return Limits(
        requests_per_minute=row["requests_per_minute"],
        tokens_per_minute=row["tokens_per_minute"],
        concurrent=row["concurrent"],
        budget=None if budget is None else to_usd(budget),
        budget_window=row["budget_window"],
    )


def owner_row(owner: VirtualKey | Team) -> dict[str, object]:
    """What keys and teams have in common, as columns."""
    limits = owner.limits
    return {
        "name": owner.name,
        "requests_per_minute": limits.requests_per_minute,
        "tokens_per_minute": limits.tokens_per_minute,
        "concurrent": limits.concurrent,
        "budget": None if limits.budget is None else to_pico(limits.budget),
        "budget_window": limits.budget_window,
        "models": written(list(owner.models)),
        "vendors": written(list(owner.vendors)),
    }


def key_row(key: VirtualKey) -> dict[str, object]:
    """What may change about a key, as columns; a rotation alone changes its prefix."""
    return {
        **owner_row(key),
        "team_id": key.team.id if key.team else None,
        "rights": written(sorted(key.rights)),
        "labels": written(dict(key.labels)),
        "expires": key.expires.timestamp() if key.expires else None,
        "revoked": key.revoked.timestamp() if key.revoked else None,
    }


def changed(row: dict[str, object], was: dict[str, object] | None) -> dict[str, object]:
    """The columns that are not as they were; all of them where nobody says how they were."""
    return {name: value for name, value in row.items() if was is None or was[name] != value}


def written(value: object) -> str:
    """JSON."""
    return orjson.dumps(value).decode()


def moment(seconds: float) -> datetime:
    """A moment in UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def moment_or_none(seconds: float | None) -> datetime | None:
    """A moment in UTC, if there is one."""
    return None if seconds is None else moment(seconds)


def page_of(query: Select[Any], table: Table, page: Page) -> Select[Any]:
    """The part of a list of keys or teams that is wanted."""
    place = (table.c.created, table.c.id)
    if page.after is not None:
        after = select(*place).where(table.c.id == page.after).correlate(None)
        query = query.where(tuple_(*place) < after.scalar_subquery())
    return query.order_by(*(column.desc() for column in place)).limit(page.limit)
