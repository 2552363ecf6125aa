"""Every error answer is made here: one table from exceptions to `MoaError`, one response."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from app.api import exchange
from app.errors import (
    CallerError,
    GraphFailed,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    MoaError,
    PayloadTooLarge,
    RouteNotFound,
    UnsupportedMedia,
)
from app.protocol.error_body import error_bytes, error_headers

_log = logging.getLogger("moa.error")

_BY_STATUS: Mapping[int, tuple[type[CallerError], str]] = {
    404: (RouteNotFound, "No such address; this API is under /v1"),
    405: (MethodNotAllowed, "This address does not accept this method"),
    413: (PayloadTooLarge, "The body is too large"),
    415: (UnsupportedMedia, "The body must be JSON"),
}


def to_moa_error(failure: Exception) -> MoaError:
    """The error a client may see; anything unknown is a bug of ours and says nothing."""
    if isinstance(failure, MoaError):
        return failure
    if isinstance(failure, RequestValidationError):
        param = ".".join(str(step) for error in failure.errors()[:1] for step in error["loc"][1:])
        return InvalidRequest("A parameter of the request is not valid", param=param or None)
    if isinstance(failure, HTTPException) and failure.status_code < 500:  # noqa: PLR2004 - HTTP
        kind, message = _BY_STATUS.get(failure.status_code, (InvalidRequest, "Not a valid request"))
        return kind(message)
    return InternalError("The gateway failed; its log knows why, under the x-request-id")


def error_response(scope: Mapping[str, object], failure: Exception) -> Response:
    """OpenAI's error shape with the right status and headers; leaves one line in the log."""
    error = to_moa_error(failure)
    here = exchange.current(dict(scope))
    here.error = error
    log_failure(here.request_id, error, failure)
    headers = error_headers(error)
    if isinstance(failure, HTTPException) and "Allow" in (failure.headers or {}):
        allowed = (failure.headers or {})["Allow"]
        headers["allow"] = "GET, HEAD" if allowed == "GET" else allowed
    if here.run is not None:
        headers |= here.run.headers()
    return Response(error_bytes(error), error.status, headers, media_type="application/json")


async def handle(request: Request, failure: Exception) -> Response:
    """The one exception handler of the application."""
    return error_response(request.scope, failure)


def log_failure(request_id: str, error: MoaError, failure: Exception) -> None:
    """Bugs with their trace, other failures of ours or of upstreams with what only we may know."""
    if isinstance(error, InternalError):
        _log.error("bug", exc_info=failure, extra={"fields": {"request_id": request_id}})
    elif not isinstance(error, CallerError):
        fields: dict[str, object] = {
            "request_id": request_id,
            "kind": error.kind,
            "detail": error.detail,
        }
        if isinstance(error, GraphFailed):
            fields["nodes"] = [
                {"node": each.node, "kind": each.error.kind, "detail": each.error.detail}
                for each in error.failures
            ]
        _log.warning(error.message, extra={"fields": fields})
