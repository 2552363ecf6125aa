"""Every error answer is made here: one table from exceptions to `MoaError`, one response."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from app.api import exchange
from app.api.paths import allowed_methods, speaks_anthropic
from app.errors import (
    BudgetReached,
    CallerError,
    CapReached,
    GraphFailed,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    MoaError,
    PayloadTooLarge,
    RateLimited,
    RouteNotFound,
    UnsupportedMedia,
    UpstreamError,
)
from app.protocol.anthropic.errors import error_bytes as anthropic_bytes
from app.protocol.error_body import error_bytes, error_headers

_log = logging.getLogger("moa.error")

_MOST_OF_A_PATH = 200
_BY_STATUS: Mapping[int, tuple[type[CallerError], str]] = {
    404: (RouteNotFound, "No such address"),
    405: (MethodNotAllowed, "This address does not accept this method"),
    413: (PayloadTooLarge, "The body is too large"),
    415: (UnsupportedMedia, "The body must be JSON"),
}


def to_moa_error(failure: Exception) -> MoaError:
    """The error a client may see; anything unknown is a bug of ours and says nothing."""
    if isinstance(failure, MoaError):
        return failure
    if isinstance(failure, RequestValidationError):
        return _invalid(failure)
    if isinstance(failure, HTTPException) and failure.status_code < 500:  # noqa: PLR2004 - HTTP
        kind, message = _BY_STATUS.get(failure.status_code, (InvalidRequest, "Not a valid request"))
        return kind(message)
    return InternalError(InternalError.TOLD)


def _invalid(failure: RequestValidationError) -> InvalidRequest:
    """The first thing that is wrong, by its field; what was sent is not repeated."""
    error = failure.errors()[0]
    if error["type"] == "json_invalid":
        return InvalidRequest("The body is no JSON")
    param = ".".join(str(step) for step in error["loc"][1:])
    reason = str(error["msg"]).removeprefix("Value error, ")
    return InvalidRequest(f"{param}: {reason}" if param else reason, param=param or None)


def error_response(scope: Mapping[str, object], failure: Exception) -> Response:
    """The address's error shape with the right status and headers; leaves one line in the log."""
    known = dict(scope)
    error = _with_address(to_moa_error(failure), known)
    here = exchange.current(known)
    here.error = error
    log_failure(here.request_id, error, failure)
    headers = error_headers(error)
    if isinstance(failure, HTTPException) and isinstance(error, MethodNotAllowed):
        headers["allow"] = allowed_methods(known)
    if here.run is not None:
        headers |= here.run.headers()
    if speaks_anthropic(known):
        body = anthropic_bytes(error, here.request_id)
    else:
        body = error_bytes(error)
    return Response(body, error.status, headers, media_type="application/json")


def _with_address(error: MoaError, scope: dict[str, object]) -> MoaError:
    if not isinstance(error, RouteNotFound):
        return error
    asked = f"{scope['method']} {str(scope['path'])[:_MOST_OF_A_PATH]}"
    return RouteNotFound(
        f"No such address: {asked}. This API is under /v1; GET /openapi.json lists all there is"
    )


async def handle(request: Request, failure: Exception) -> Response:
    """The one exception handler of the application."""
    return error_response(request.scope, failure)


def log_failure(request_id: str, error: MoaError, failure: Exception) -> None:
    """Bugs with their trace, failures of ours or of upstreams with what only we may know."""
    if isinstance(error, InternalError):
        _log.error("bug", exc_info=failure, extra={"fields": {"request_id": request_id}})
    elif not isinstance(error, CallerError | BudgetReached | CapReached | RateLimited):
        fields: dict[str, object] = {
            "request_id": request_id,
            "kind": error.kind,
            "detail": _loggable(error),
        }
        if isinstance(error, GraphFailed):
            fields["nodes"] = [
                {"node": each.node, "kind": each.error.kind, "detail": _loggable(each.error)}
                for each in error.failures
            ]
        _log.warning(error.message, extra={"fields": fields})


def _loggable(error: MoaError) -> str | None:
    """What goes into the log; an upstream's own words may repeat a prompt: only to debug."""
    if isinstance(error, UpstreamError) and error.quotes and not _log.isEnabledFor(logging.DEBUG):
        return None
    return error.detail
