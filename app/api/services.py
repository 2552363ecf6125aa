"""What the routes work with. Filled in by the composition root when the start has succeeded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import Scope

from app.api.body import BODY_PATIENCE
from app.api.streaming import Timing
from app.errors import StoreUnavailable
from app.serving.admin import Admin
from app.serving.chat import ChatService
from app.serving.idempotency import Repeats
from app.serving.responses import ResponseService
from app.serving.runtime import Runtime
from app.serving.usage import UsageService

NO_BOOKS = "This gateway runs without a database, so it has no virtual keys and no books"


@dataclass(frozen=True, slots=True)
class Services:
    """`runtime` gives the current one; `metrics` the text of all metrics.

    `body_patience` is in seconds, for the whole body of a request; `repeats` are the requests that
    a client may repeat. Without a database there is no `admin` and no `usage`. `can_admit`: nothing
    that every request needs is away.
    """

    chat: ChatService
    responses: ResponseService
    runtime: Callable[[], Runtime]
    timing: Timing
    metrics: Callable[[], bytes]
    repeats: Repeats
    admin: Admin | None = None
    usage: UsageService | None = None
    can_admit: Callable[[], bool] = lambda: True
    body_patience: float = BODY_PATIENCE


def services(scope: Scope) -> Services:
    """The services of the application that serves this request."""
    found: Services = scope["app"].state.services
    return found


def admin(scope: Scope) -> Admin:
    """The keeper of keys and teams. Raises StoreUnavailable where there is no database."""
    found = services(scope).admin
    if found is None:
        raise StoreUnavailable(NO_BOOKS)
    return found


def usage(scope: Scope) -> UsageService:
    """The reader of the books. Raises StoreUnavailable where there is no database."""
    found = services(scope).usage
    if found is None:
        raise StoreUnavailable(NO_BOOKS)
    return found
