"""The middleware, as one ordered list with the reason for each place. All of it is pure ASGI.

Starlette's `BaseHTTPMiddleware` is not used: it costs more than the rest of the server per chunk
and hides that a client left.
"""

from __future__ import annotations

from starlette.middleware import Middleware

from app.access.keys import StaticKeys
from app.api.middleware.access_log import AccessLog
from app.api.middleware.authentication import Authentication
from app.api.middleware.body_limit import BodyLimit
from app.api.middleware.error_catcher import ErrorCatcher
from app.api.middleware.head import Head
from app.api.middleware.idempotency import Idempotency
from app.api.middleware.open_mode import OpenMode
from app.api.middleware.request_id import RequestId
from app.api.paths import OPEN_PATHS


def ordered_middleware(keys: StaticKeys, *, max_body: int, insecure: bool) -> list[Middleware]:
    """From the outside in; `max_body` is in bytes."""
    door = (
        Middleware(Authentication, keys=keys, open_paths=OPEN_PATHS)
        if keys
        else Middleware(OpenMode, open_paths=OPEN_PATHS, insecure=insecure)
    )
    return [
        Middleware(RequestId),  # outermost: every answer and every log line has the id
        Middleware(AccessLog),  # sees the status of all that happens further in
        Middleware(Head),  # inside the log, which shows what was asked; outside of every answer
        Middleware(ErrorCatcher),  # inside the log, so that refusals and bugs are logged too
        door,  # before anything reads the body: strangers cost nothing
        Middleware(BodyLimit, limit=max_body),  # outside of all that reads the body
        Middleware(Idempotency),  # innermost: it sees whole answers, errors of routes included
    ]
