"""What the routes work with. Filled in by the composition root when the start has succeeded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import Scope

from app.api.body import BODY_PATIENCE
from app.api.streaming import Timing
from app.serving.chat import ChatService
from app.serving.idempotency import Repeats
from app.serving.responses import ResponseService
from app.serving.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Services:
    """`runtime` gives the current one; `metrics` the text of all metrics.

    `body_patience` is in seconds, for the whole body of a request; `repeats` are the requests that
    a client may repeat.
    """

    chat: ChatService
    responses: ResponseService
    runtime: Callable[[], Runtime]
    timing: Timing
    metrics: Callable[[], bytes]
    repeats: Repeats
    body_patience: float = BODY_PATIENCE


def services(scope: Scope) -> Services:
    """The services of the application that serves this request."""
    found: Services = scope["app"].state.services
    return found
