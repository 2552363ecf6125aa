"""Every answer has an `x-request-id`: the caller's if it is a sane one, else ours.

Anthropic's SDKs look for it under another name.
"""

from __future__ import annotations

import re
import secrets

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api import exchange
from app.api.paths import speaks_anthropic

_SANE = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


class RequestId:
    """Begins the exchange and puts its id on the response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = exchange.header(scope, b"x-request-id")
        sane = given is not None and _SANE.fullmatch(given)
        request_id = given if given and sane else b"req-" + secrets.token_hex(16).encode()
        exchange.begin(scope, request_id.decode())
        ours = [(b"x-request-id", request_id)]
        if speaks_anthropic(scope):
            ours.append((b"request-id", request_id))

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *ours]
            await send(message)

        await self._app(scope, receive, send_with_id)
