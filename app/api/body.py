"""Reads a request's body. Its size is the body limit's business, its meaning the protocol's."""

from __future__ import annotations

import anyio
from starlette.types import Receive, Scope

from app.api import exchange
from app.errors import InvalidRequest, RequestTimeout

BODY_PATIENCE = 60.0
"""Seconds for a whole body, 32 MiB at 5 Mbit/s; half of one would hold a connection for ever."""


async def read_body(receive: Receive, patience: float = BODY_PATIENCE) -> bytes | None:
    """The whole body; None if the client left before it was sent.

    Raises RequestTimeout if it is not there after `patience` seconds.
    """
    with anyio.move_on_after(patience):
        return await _read(receive)
    raise RequestTimeout(f"The body was not whole after {patience:g} s")


async def take_body(
    scope: Scope, receive: Receive, patience: float = BODY_PATIENCE
) -> bytes | None:
    """The body of a POST; None, and noted in the exchange, if the client left before it was sent.

    Raises RequestTimeout, and InvalidRequest where the body is lost.
    """
    body = await read_body(receive, patience)
    if body is None:
        exchange.current(scope).client_left = True
    elif not body and exchange.header(scope, b"upgrade"):
        # llhttp takes what follows the head of such a request for the other protocol.
        raise InvalidRequest(
            "The body is lost with the header 'Upgrade': set the client to HTTP/1.1"
        )
    return body


async def _read(receive: Receive) -> bytes | None:
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        body: bytes = message.get("body", b"")
        return body
    parts: list[bytes] = []
    while message["type"] == "http.request":
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)
        message = await receive()
    return None
