"""The net under everything: what no handler took becomes a 500 in OpenAI's shape, logged once."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Receive, Scope, Send

from app.api import exchange
from app.api.errors import error_response, log_failure, to_moa_error
from app.errors import Overloaded

RESTART = 1.0
"""Seconds after which a gateway that stopped may be asked again."""


class ErrorCatcher:
    """Answers for errors of the middleware further in, and for bugs."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            # Only the server cancels a request: the time to drain is over.
            if exchange.current(scope).status is None:
                leaving = Overloaded("The gateway is shutting down", retry_after=RESTART)
                await error_response(scope, leaving)(scope, receive, send)
            raise
        except Exception as failure:  # noqa: BLE001 - a client must get an answer to every bug
            here = exchange.current(scope)
            if here.status is None:
                await error_response(scope, failure)(scope, receive, send)
            else:
                # An answer cut short makes the server close the connection: the client sees it.
                here.error = to_moa_error(failure)
                log_failure(here.request_id, here.error, failure)
