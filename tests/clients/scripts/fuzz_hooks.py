"""Hooks for schemathesis."""

from __future__ import annotations

import schemathesis

EXACT = 2**53
"""Whole numbers below are not changed by a conversion."""


@schemathesis.hook
def map_body(_: schemathesis.HookContext, body: object) -> object:
    """Whole numbers without a fraction: `23.0` is an integer to JSON Schema, and to no API."""
    if isinstance(body, float) and body.is_integer() and abs(body) < EXACT:
        return int(body)
    if isinstance(body, dict):
        return {key: map_body(_, value) for key, value in body.items()}
    if isinstance(body, list):
        return [map_body(_, value) for value in body]
    return body
