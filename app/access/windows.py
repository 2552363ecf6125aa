"""Windows of budgets: calendar-aligned, in UTC. A window is named by the moment it starts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias

BudgetWindow: TypeAlias = Literal["hour", "day", "week", "month"]

FOR_EVER = 0
"""The name of the window of a budget that never starts anew; the others are unix seconds."""


def window_start(window: BudgetWindow, now: datetime) -> datetime:
    """When the window of this moment began; a week begins on Monday (ISO 8601)."""
    hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if window == "hour":
        return hour
    day = hour.replace(hour=0)
    if window == "day":
        return day
    return day - timedelta(days=day.weekday()) if window == "week" else day.replace(day=1)


def window_end(window: BudgetWindow, now: datetime) -> datetime:
    """When the next window begins, the first moment that is not in this one."""
    start = window_start(window, now)
    if window == "month":
        return (start + timedelta(days=31)).replace(day=1)
    return start + {"hour": _HOUR, "day": _DAY, "week": 7 * _DAY}[window]


_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)


def window_id(window: BudgetWindow | None, now: datetime) -> int:
    """The name of the window of this moment in the books."""
    return FOR_EVER if window is None else int(window_start(window, now).timestamp())
