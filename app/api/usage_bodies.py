"""What was spent and is left, as JSON and as CSV. Money is USD, as numbers in JSON."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, Field

from app.access.caller import Limits
from app.access.money import to_usd
from app.access.register import GroupBy, Period, Spent
from app.api.admin_bodies import LimitsTold
from app.serving.usage import BudgetState, Usage

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def _iso_day(value: object) -> object:
    """A number would be taken for the seconds since 1970."""
    if isinstance(value, str) and not _ISO_DAY.fullmatch(value):
        raise ValueError("expected a day such as 2026-01-31")
    return value


_ISO_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
Day: TypeAlias = Annotated[date, BeforeValidator(_iso_day)]
"""A day in a query: ISO 8601, with hyphens."""


class Sums(BaseModel):
    """What calls came to."""

    calls: int
    tokens_in: int
    tokens_out: int
    tokens_cached: int
    cost: float


class Line(Sums):
    """The same of one key, team, graph or model; "" for static keys, no team, unknown models."""

    id: str
    name: str


class SpendTold(BaseModel):
    """What was spent, in days of UTC, both included; the lines add up to `total`."""

    object: Literal["list"] = "list"
    first: date = Field(serialization_alias="from")
    last: date = Field(serialization_alias="to")
    by: GroupBy
    data: list[Line]
    total: Sums


class BudgetTold(BaseModel):
    """A budget in its present window; `resets` is null where it never starts anew."""

    limit: float
    window: str | None
    spent: float
    reserved: float
    left: float
    starts: datetime | None
    resets: datetime | None


class UsageTold(BaseModel):
    """What a key or team spent, and what is left to it."""

    object: Literal["usage"] = "usage"
    of: Literal["key", "team"]
    id: str
    name: str
    first: date = Field(serialization_alias="from")
    last: date = Field(serialization_alias="to")
    total: Sums
    models: list[Line]
    limits: LimitsTold
    budget: BudgetTold | None


def spend_told(period: Period, by: GroupBy, lines: Sequence[Spent]) -> SpendTold:
    """A report as JSON."""
    return SpendTold(
        first=period.first,
        last=period.last,
        by=by,
        data=[_line(line) for line in lines],
        total=_total(lines),
    )


def spend_csv(by: GroupBy, lines: Sequence[Spent]) -> str:
    """A report as CSV (RFC 4180); a name that a spreadsheet would take for a formula is quoted."""
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow([by, "name", "calls", "tokens_in", "tokens_out", "tokens_cached", "cost_usd"])
    for each in lines:
        sums = (each.calls, each.tokens_in, each.tokens_out, each.tokens_cached)
        rows.writerow([_harmless(each.id), _harmless(each.name), *sums, f"{to_usd(each.cost):f}"])
    return text.getvalue()


def usage_told(of: Literal["key", "team"], owner: tuple[str, str], usage: Usage) -> UsageTold:
    """The usage of one key or team, by its id and name."""
    return UsageTold(
        of=of,
        id=owner[0],
        name=owner[1],
        first=usage.period.first,
        last=usage.period.last,
        total=_total(usage.by_model),
        models=[_line(line) for line in usage.by_model],
        limits=_limits(usage.limits),
        budget=_budget(usage.budget, usage.limits) if usage.budget else None,
    )


def _limits(limits: Limits) -> LimitsTold:
    return LimitsTold(
        requests_per_minute=limits.requests_per_minute,
        tokens_per_minute=limits.tokens_per_minute,
        concurrent=limits.concurrent,
        budget=None if limits.budget is None else float(limits.budget),
        budget_window=limits.budget_window,
    )


def _budget(state: BudgetState, limits: Limits) -> BudgetTold:
    return BudgetTold(
        limit=_usd(state.limit),
        window=limits.budget_window,
        spent=_usd(state.standing.spent),
        reserved=_usd(state.standing.reserved),
        left=_usd(state.left),
        starts=state.starts,
        resets=state.resets,
    )


def _line(spent: Spent) -> Line:
    return Line(
        id=spent.id,
        name=spent.name,
        calls=spent.calls,
        tokens_in=spent.tokens_in,
        tokens_out=spent.tokens_out,
        tokens_cached=spent.tokens_cached,
        cost=_usd(spent.cost),
    )


def _total(lines: Sequence[Spent]) -> Sums:
    return Sums(
        calls=sum(line.calls for line in lines),
        tokens_in=sum(line.tokens_in for line in lines),
        tokens_out=sum(line.tokens_out for line in lines),
        tokens_cached=sum(line.tokens_cached for line in lines),
        cost=_usd(sum(line.cost for line in lines)),
    )


def _usd(pico: int) -> float:
    return float(to_usd(pico))


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text
