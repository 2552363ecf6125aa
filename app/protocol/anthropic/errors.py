"""Anthropic's error object. Shows only what is safe for clients.

Source: https://docs.anthropic.com/en/api/errors
"""

from __future__ import annotations

import orjson

from app.errors import GraphFailed, MoaError
from app.protocol.json_types import JsonObject

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
_FIRST_SERVER_ERROR = 500


def error_object(error: MoaError, request_id: str) -> JsonObject:
    """The whole body; `details` has our code, and why a graph failed, node by node."""
    details: JsonObject = {}
    if error.code is not None:
        details["error_code"] = error.code
    if error.param is not None:
        details["param"] = error.param
    if isinstance(error, GraphFailed) and error.failures:
        details["nodes"] = [
            {"node": each.node, "message": each.error.message, "code": each.error.code}
            for each in error.failures
        ]
    body: JsonObject = {"type": error_type(error.status), "message": error.message}
    if details:
        body["details"] = details
    return {"type": "error", "error": body, "request_id": request_id}


def error_bytes(error: MoaError, request_id: str) -> bytes:
    """`error_object` as JSON."""
    return orjson.dumps(error_object(error, request_id))


def error_type(status: int) -> str:
    """Anthropic's word for an HTTP status."""
    general = "api_error" if status >= _FIRST_SERVER_ERROR else "invalid_request_error"
    return _TYPES.get(status, general)
