"""Keys, checked before the body is read. Everything needs one, except the open paths."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from starlette.types import ASGIApp, Receive, Scope, Send

from app.access.keys import StaticKeys, presented_key
from app.api import exchange
from app.api.paths import POLICY_VIOLATION, route_path
from app.errors import Unauthenticated


class Authentication:
    """Raises Unauthenticated, the same for a wrong and for a missing key's status."""

    def __init__(self, app: ASGIApp, keys: StaticKeys, open_paths: AbstractSet[str]) -> None:
        self._app = app
        self._keys = keys
        self._open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": POLICY_VIOLATION})
            return
        if scope["type"] == "http" and route_path(scope) not in self._open_paths:
            self._authenticate(scope)
        await self._app(scope, receive, send)

    def _authenticate(self, scope: Scope) -> None:
        presented = presented_key(
            exchange.header(scope, b"authorization"),
            exchange.header(scope, b"x-api-key"),
            exchange.header(scope, b"api-key"),
        )
        if presented is None:
            raise Unauthenticated(
                "No API key: send one as 'Authorization: Bearer KEY' or 'x-api-key: KEY'"
            )
        caller = self._keys.find(presented)
        if caller is None:
            raise Unauthenticated("This API key is not known here")
        exchange.current(scope).caller = caller.id
