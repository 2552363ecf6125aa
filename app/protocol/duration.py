"""Durations as people write them, in seconds or with a unit; the same everywhere."""

from __future__ import annotations

import re

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
LONGEST = 7 * 24 * 3600
"""Seconds; whatever is longer is a slip of the keyboard, and infinity is no deadline."""
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}

DURATION_SCHEMA = {
    "anyOf": [
        {"type": "number", "minimum": 0, "maximum": LONGEST},
        {"type": "string", "pattern": r"^\d+(\.\d+)?(ms|s|m|h)$"},
    ],
    "description": "Seconds, or a duration such as 500ms, 5s, 2m, 1h",
}
"""The JSON Schema of what `parse_duration` takes."""

POSITIVE_DURATION_SCHEMA = {
    "anyOf": [
        {"type": "number", "exclusiveMinimum": 0, "maximum": LONGEST},
        {
            "type": "string",
            "pattern": r"^(?=[0-9.]*[1-9])"
            r"([0-9]{1,5}(\.[0-9]{1,3})?(ms|s)|[0-9]{1,4}m|[0-9]{1,2}h)$",
        },
    ],
    "description": "Seconds, or a duration such as 500ms, 5s, 2m, 1h; more than nothing",
}
"""The same where nothing is no duration; promises less than `parse_duration` takes."""


def parse_duration(value: object) -> object:
    """Seconds from `5`, `0.5`, `"500ms"`, `"5s"`, `"2m"` or `"1h"`; others are handed back.

    ValueError names the forms, or says that it is longer than seven days.
    """
    seconds = value
    if isinstance(value, str | bool):
        match = _DURATION.fullmatch(str(value).strip())
        if match is None:
            raise ValueError("expected seconds or a duration such as 500ms, 5s, 2m or 1h")
        seconds = float(match[1]) * _SECONDS[match[2]]
    if isinstance(seconds, int | float) and not seconds <= LONGEST:
        raise ValueError("expected a duration of seven days at most")
    return seconds
