"""Times as they are typed into commands: spans such as 90d, days, moments. All of them in UTC."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

_SPAN = re.compile(r"([0-9]{1,6})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def span(text: str) -> timedelta:
    """A length of time such as `30m`, `12h` or `90d`. Raises ValueError."""
    match = _SPAN.fullmatch(text)
    if match is None:
        raise ValueError(text)
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def moment(text: str, now: datetime) -> datetime:
    """So long from now, or the beginning of a day, or an RFC 3339 moment. Raises ValueError."""
    if _SPAN.fullmatch(text):
        try:
            return now + span(text)
        except OverflowError:
            raise ValueError(text) from None
    found = datetime.fromisoformat(text)
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def day(text: str) -> date:
    """A day such as 2027-01-31. Raises ValueError."""
    return date.fromisoformat(text)


def shown(moment: datetime) -> str:
    """A moment for people, to the minute."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
