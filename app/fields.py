"""Field types and the base class of every configuration spec.

The specs themselves live in the package that reads them.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema

from app.protocol.duration import DURATION_SCHEMA, parse_duration

__all__ = ["Duration", "Spec", "parse_duration"]


class Spec(BaseModel):
    """A piece of the configuration file: unknown fields are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


Duration = Annotated[float, BeforeValidator(parse_duration), WithJsonSchema(DURATION_SCHEMA)]
"""Seconds as a float; add `Field(ge=…)` where zero or more is not enough."""
