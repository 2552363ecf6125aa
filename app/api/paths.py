"""The path that decides which route is taken, and the paths open to everybody."""

from __future__ import annotations

from starlette._utils import get_route_path
from starlette.types import Scope

POLICY_VIOLATION = 1008  # RFC 6455 §7.4.1
OPEN_PATHS = frozenset({"/health/live", "/health/ready"})


def route_path(scope: Scope) -> str:
    """The path as the router sees it: a guard that looked at another one could be walked around."""
    return get_route_path(scope)
