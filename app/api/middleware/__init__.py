"""The middleware, as one ordered list with the reason for each place. All of it is pure ASGI.

Starlette's `BaseHTTPMiddleware` is not used: it costs more than the rest of the server per chunk
and hides that a client left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.middleware import Middleware

from app.access.keyring import KeyRing
from app.api.middleware.access_log import AccessLog
from app.api.middleware.authentication import Authentication
from app.api.middleware.body_limit import BodyLimit
from app.api.middleware.concurrency import Concurrency
from app.api.middleware.error_catcher import ErrorCatcher
from app.api.middleware.head import Head
from app.api.middleware.idempotency import Idempotency
from app.api.middleware.open_mode import OpenMode
from app.api.middleware.proxies import Network, Proxies
from app.api.middleware.request_id import RequestId
from app.api.paths import METRICS_PATH, OPEN_PATHS


@dataclass(frozen=True, slots=True)
class Load:
    """How many requests may be under way at once, and who learns how many are."""

    limit: int = 1000
    observe: Callable[[int], None] = lambda _: None


ANY_LOAD = Load()


def ordered_middleware(
    keys: KeyRing,
    *,
    max_body: int,
    insecure: bool,
    load: Load,
    proxies: Sequence[Network] = (),
) -> list[Middleware]:
    """From the outside in; `max_body` is in bytes, `proxies` are those whose word is taken."""
    return [
        Middleware(Proxies, trusted=proxies),  # outermost: all others look at the client's address
        Middleware(RequestId),  # outside of the rest: every answer and every log line has the id
        Middleware(AccessLog),  # sees the status of all that happens further in
        Middleware(Head),  # inside the log, which shows what was asked; outside of every answer
        Middleware(ErrorCatcher),  # inside the log, so that refusals and bugs are logged too
        # Before anything reads the body: strangers cost nothing.
        Middleware(Authentication, keys=keys, open_mode=OpenMode(insecure)),
        Middleware(  # inside the door: strangers take no place; outside of all that costs memory
            Concurrency,
            limit=load.limit,
            observe=load.observe,
            exempt_paths=OPEN_PATHS | {METRICS_PATH},  # an overload must be seen from outside
        ),
        Middleware(BodyLimit, limit=max_body),  # outside of all that reads the body
        Middleware(Idempotency),  # innermost: it sees whole answers, errors of routes included
    ]
