"""One log line per request: who, what, how it ended, how long it took. No prompts, no keys."""

from __future__ import annotations

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api import exchange
from app.api.exchange import Exchange

_log = logging.getLogger("moa.access")


class AccessLog:
    """Logs when the response is over, also if the client left or the handler broke."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        here = exchange.current(scope)
        started = time.perf_counter()

        async def send_and_note(message: Message) -> None:
            if message["type"] == "http.response.start":
                here.status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        finally:
            if _log.isEnabledFor(logging.INFO):
                seconds = time.perf_counter() - started
                _log.info("request", extra={"fields": _fields(scope, here, seconds)})


def _fields(scope: Scope, here: Exchange, seconds: float) -> dict[str, object]:
    fields: dict[str, object] = {
        "request_id": here.request_id,
        "method": scope["method"],
        "path": scope["path"],
        "status": here.status,
        "seconds": round(seconds, 4),
    }
    if scope.get("client"):
        fields["client"] = scope["client"][0]
    if here.caller:
        fields["caller"] = here.caller
    if here.client_left:
        fields["client_left"] = True
    if here.error is not None:
        fields["error"] = here.error.kind
    if here.run is not None:
        record = here.run.record
        fields |= {
            "run_id": record.run_id,
            "model": record.model,
            "calls": len(record.calls),
            "outcome": record.outcome.value,
        }
        if record.degraded:
            fields["degraded"] = list(record.degraded)
    return fields
