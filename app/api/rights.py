"""What each route asks of a caller, declared on the route: one that declares nothing is shut.

The door finds the route as the router does and reads its need; no path is compared with a list.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any, TypeAlias

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Scope

from app.access.caller import Right


class Anyone(StrEnum):
    """Needs that are no right: nothing at all, or a key of any kind."""

    OPEN = "open"
    WITH_KEY = "with_key"


Need: TypeAlias = Right | Anyone


class NeedingRoute(Route):
    """A route of Starlette's with its need."""

    def __init__(
        self,
        path: str,
        endpoint: ASGIApp | Callable[[Request], Awaitable[Response]],
        *,
        need: Need,
        methods: list[str],
    ) -> None:
        super().__init__(path, endpoint, methods=methods, include_in_schema=False)
        self.need = need


def needing(need: Need) -> type[APIRoute]:
    """The class of a FastAPI router's routes that all need this."""

    class Needing(APIRoute):
        def __init__(self, *args: Any, **options: Any) -> None:  # FastAPI's, handed on
            super().__init__(*args, **options)
            self.need = need

    return Needing


def declared(route: BaseRoute) -> Need | None:
    """What a route needs; None if it does not say."""
    return getattr(route, "need", None)


def need_of(scope: Scope) -> Need | None:
    """What this request needs; a key where no route takes it, None where a route says nothing."""
    for route in scope["app"].router.routes:
        if route.matches(scope)[0] is Match.FULL:
            return declared(route)
    return Anyone.WITH_KEY
