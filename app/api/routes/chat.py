"""`POST /v1/chat/completions`.

A plain ASGI endpoint: FastAPI's parameter machinery costs more than the rest of the server does
for one call, so the body is documented in `openapi.py` instead.
"""

from __future__ import annotations

import secrets

from starlette.types import Receive, Scope, Send

from app.api import exchange
from app.api.body import read_body
from app.api.services import services
from app.api.streaming import EventStream, send_whole
from app.errors import InvalidRequest, LoopDetected
from app.protocol.request import parse_chat

PATH = "/v1/chat/completions"
MAX_HOPS = 3


class ChatCompletions:
    """The endpoint; raises a MoaError for what is wrong before the answer begins."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        here = exchange.current(scope)
        passed = hops(scope)
        own = services(scope)
        body = await read_body(receive, own.body_patience)
        if body is None:
            here.client_left = True
            return
        if not body and exchange.header(scope, b"upgrade"):
            # llhttp takes what follows the head of such a request for the other protocol.
            raise InvalidRequest(
                "The body is lost with the header 'Upgrade': set the client to HTTP/1.1"
            )
        call = parse_chat(body)
        run_id, caller = secrets.token_hex(12), here.caller or ""
        run = own.chat.open(call, run_id=run_id, hops=passed, caller=caller)
        here.run = run
        if call.request.stream:
            stream = EventStream(run, own.timing, include_usage=call.include_usage)
            await stream(scope, receive, send)
        else:
            await send_whole(run, scope, receive, send)


def hops(scope: Scope) -> int:
    """How many gateways the request has passed. Raises LoopDetected above three."""
    value = exchange.header(scope, b"x-moa-hops")
    if value is None:
        return 0
    if not value.isdigit() or len(value) > 4:  # noqa: PLR2004 - more digits than any number of hops
        raise InvalidRequest("The header x-moa-hops must be a whole number", param="x-moa-hops")
    if int(value) > MAX_HOPS:
        raise LoopDetected(
            f"The request has passed more than {MAX_HOPS} gateways: most likely one calls itself"
        )
    return int(value)
