"""Bodies have a limit: by their declared length, or counted as they come where none is declared."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api import exchange
from app.errors import InvalidRequest, PayloadTooLarge


class BodyLimit:
    """Raises PayloadTooLarge; `limit` is in bytes."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] == "http":
            declared = exchange.header(scope, b"content-length")
            if declared is None:
                receive = self._counting(receive)
            elif not declared.isdigit():
                raise InvalidRequest("The Content-Length is no number")
            elif int(declared) > self._limit:
                raise self._too_large()
        await self._app(scope, receive, send)

    def _counting(self, receive: Receive) -> Receive:
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limit:
                raise self._too_large()
            return message

        return counted

    def _too_large(self) -> PayloadTooLarge:
        return PayloadTooLarge(f"The body is too large: up to {self._limit} bytes are accepted")
