"""What one HTTP request gathers on its way through the middleware; lives in the ASGI scope."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.types import Scope

from app.access.caller import Caller
from app.api.rights import Need
from app.errors import MoaError
from app.serving.chat import ChatRun

_KEY = "moa.exchange"


@dataclass(slots=True)
class Exchange:
    """Filled in by whoever learns it; `status` stays None until the response has begun.

    `caller` is the id of `who`, "" until the door has let him in, and in open mode; `need` is what
    the route asks of him.
    """

    request_id: str
    caller: str = ""
    who: Caller | None = None
    need: Need | None = None
    run: ChatRun | None = None
    status: int | None = None
    error: MoaError | None = None
    client_left: bool = False


def begin(scope: Scope, request_id: str) -> Exchange:
    """Start a request's exchange."""
    exchange = Exchange(request_id)
    scope[_KEY] = exchange
    return exchange


def current(scope: Scope) -> Exchange:
    """The exchange of this request."""
    found: Exchange = scope[_KEY]
    return found


def header(scope: Scope, name: bytes) -> bytes | None:
    """The first header of this (lower-case) name."""
    for known, value in scope["headers"]:
        if known == name:
            found: bytes = value
            return found
    return None
