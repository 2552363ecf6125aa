"""What every endpoint that runs a model takes of a request before it looks at its meaning."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from starlette.types import Receive, Scope

from app.access.caller import Caller
from app.api import exchange
from app.api.body import take_body
from app.api.services import services
from app.errors import InvalidRequest, LoopDetected

MAX_HOPS = 3


@dataclass(frozen=True, slots=True)
class Arrival:
    """The body, who sent it (`caller` is his id, "" in open mode), how many gateways it passed.

    `run_id` is the id its run will have.
    """

    body: bytes
    caller: str
    who: Caller | None
    hops: int
    run_id: str


async def arrival(scope: Scope, receive: Receive) -> Arrival | None:
    """The whole request; None if the client left before it was sent.

    Raises LoopDetected, before the body is read, InvalidRequest and RequestTimeout.
    """
    passed = hops(scope)
    body = await take_body(scope, receive, services(scope).body_patience)
    if body is None:
        return None
    here = exchange.current(scope)
    return Arrival(body, here.caller, here.who, passed, secrets.token_hex(12))


def hops(scope: Scope) -> int:
    """How many gateways the request has passed. Raises LoopDetected above three."""
    value = exchange.header(scope, b"x-moa-hops")
    if value is None:
        return 0
    if not value.isdigit() or len(value) > 4:  # noqa: PLR2004 - more digits than any number of hops
        raise InvalidRequest("The header x-moa-hops must be a whole number", param="x-moa-hops")
    if int(value) > MAX_HOPS:
        raise LoopDetected(
            f"The request has passed more than {MAX_HOPS} gateways: most likely one calls itself",
            should_retry=False,
        )
    return int(value)
