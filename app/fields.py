"""Field types and the base class of every configuration spec.

The specs themselves live in the package that reads them.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class Spec(BaseModel):
    """A piece of the configuration file: unknown fields are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def parse_duration(value: object) -> object:
    """Seconds from `5`, `0.5`, `"500ms"`, `"5s"`, `"2m"` or `"1h"`; ValueError names the forms."""
    if not isinstance(value, str | bool):
        return value
    match = _DURATION.fullmatch(str(value).strip())
    if match is None:
        raise ValueError("expected seconds or a duration such as 500ms, 5s, 2m or 1h")
    return float(match[1]) * _SECONDS[match[2]]


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0},
                {"type": "string", "pattern": r"^\d+(\.\d+)?(ms|s|m|h)$"},
            ],
            "description": "Seconds, or a duration such as 500ms, 5s, 2m, 1h",
        }
    ),
]
"""Seconds as a float; add `Field(ge=…)` where zero or more is not enough."""
