"""A limit on the requests under way: one more is turned away at once, so the others keep pace."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet

from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.paths import route_path
from app.errors import Overloaded

RETRY_AFTER = 1.0
"""Seconds after which a request that was turned away may be sent again."""


class Concurrency:
    """Raises Overloaded where `limit` requests are under way in this process.

    Nobody waits here: a queue would only hide the load from who could send elsewhere.
    `exempt_paths` are always served and not counted. `observe` learns every new count. All mutable
    state: the count.
    """

    def __init__(
        self,
        app: ASGIApp,
        limit: int,
        exempt_paths: AbstractSet[str],
        observe: Callable[[int], None],
    ) -> None:
        self._app = app
        self._limit = limit
        self._exempt_paths = exempt_paths
        self._observe = observe
        self._count = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http" or route_path(scope) in self._exempt_paths:
            await self._app(scope, receive, send)
            return
        if self._count >= self._limit:
            raise Overloaded(
                "The gateway is working on as many requests as it may; try again",
                retry_after=RETRY_AFTER,
                detail=f"{self._count} requests are under way (MOA_MAX_CONCURRENT_REQUESTS)",
            )
        self._change(1)
        try:
            await self._app(scope, receive, send)
        finally:
            self._change(-1)

    def _change(self, by: int) -> None:
        self._count += by
        self._observe(self._count)
