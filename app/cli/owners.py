"""Keys and teams as a terminal shows them: facts as pairs, and columns for many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal

import orjson
from pydantic import BaseModel

from app.access.caller import Limits, Team, VirtualKey
from app.access.money import to_usd
from app.cli.spans import shown
from app.cli.terminal import stdout
from app.serving.usage import BudgetState


def key_facts(key: VirtualKey, budget: BudgetState | None) -> Iterator[tuple[str, str]]:
    """Label and text of each line about a key."""
    yield "key", key.name
    yield "id", key.id
    yield "begins with", key.prefix
    yield "state", state(key)
    yield "team", key.team.name if key.team else "none"
    yield from _limit_facts(key, budget)
    yield "rights", ", ".join(sorted(key.rights)) or "none"
    if key.labels:
        yield "labels", ", ".join(f"{name}={value}" for name, value in key.labels.items())
    yield "created", shown(key.created)


def team_facts(team: Team, budget: BudgetState | None) -> Iterator[tuple[str, str]]:
    """Label and text of each line about a team."""
    yield "team", team.name
    yield "id", team.id
    yield from _limit_facts(team, budget)
    yield "created", shown(team.created)


def state(key: VirtualKey) -> str:
    """Whether a key works, and until when."""
    if key.revoked is not None:
        return f"revoked {shown(key.revoked)}"
    if key.expires is None:
        return "works"
    ended = key.expires <= datetime.now(UTC)
    return f"{'expired' if ended else 'works until'} {shown(key.expires)}"


def key_row(key: VirtualKey) -> tuple[str, ...]:
    """A key's line in a list."""
    team = key.team.name if key.team else ""
    return key.name, key.id, key.prefix, team, limits(key.limits), state(key)


def team_row(team: Team) -> tuple[str, ...]:
    """A team's line in a list."""
    return team.name, team.id, limits(team.limits)


KEY_HEAD = ("NAME", "ID", "BEGINS WITH", "TEAM", "LIMITS", "STATE")
TEAM_HEAD = ("NAME", "ID", "LIMITS")


def limits(limits: Limits) -> str:
    """All limits in short."""
    counts = (
        (limits.requests_per_minute, "requests/min"),
        (limits.tokens_per_minute, "tokens/min"),
        (limits.concurrent, "at once"),
    )
    told = [f"{count} {what}" for count, what in counts if count is not None]
    if limits.budget is not None:
        told.insert(0, _budget(limits))
    return ", ".join(told) or "none"


def usd(pico: int) -> str:
    """Picodollars as they are shown to people: to the millionth, rounded."""
    return f"${to_usd(pico).quantize(Decimal('0.000001')):f}"


def _budget(limits: Limits) -> str:
    each = f" a {limits.budget_window}" if limits.budget_window else " in all"
    return f"${limits.budget:f}{each}"


def _limit_facts(owner: VirtualKey | Team, budget: BudgetState | None) -> Iterator[tuple[str, str]]:
    yield "limits", limits(owner.limits)
    if budget is not None:
        spent, reserved = budget.standing.spent, budget.standing.reserved
        until = f" until {shown(budget.resets)}" if budget.resets else ""
        yield (
            "budget",
            f"{usd(spent)} spent, {usd(reserved)} reserved, {usd(budget.left)} left{until}",
        )
    yield "models", ", ".join(owner.models) or "all"
    yield "vendors", ", ".join(owner.vendors) or "all"


def show_facts(facts: Iterator[tuple[str, str]]) -> None:
    """Print lines about one thing."""
    for label, text in facts:
        stdout().print(f"{label}: {text}")


def show_rows(head: Sequence[str], rows: Sequence[Sequence[str]], right: int | None = None) -> None:
    """Print columns as wide as they need to be, none cut off; from `right` on they are numbers."""
    lines = [head, *rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(head))]
    first = len(head) if right is None else right
    for line in lines:
        cells = [
            cell.rjust(width) if at >= first else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        stdout().print("  ".join(cells).rstrip())


def show_json(value: BaseModel | Sequence[BaseModel]) -> None:
    """Print what the admin API would answer."""
    told = (
        value.model_dump(mode="json", by_alias=True)
        if isinstance(value, BaseModel)
        else [each.model_dump(mode="json", by_alias=True) for each in value]
    )
    stdout().out(orjson.dumps(told, option=orjson.OPT_INDENT_2).decode())
