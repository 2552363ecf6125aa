"""OpenAI's error object and the headers that go with it. Shows only what is safe for clients."""

from __future__ import annotations

import math

import orjson

from app.errors import GraphFailed, MoaError
from app.protocol.json_types import JsonObject


def error_object(error: MoaError) -> JsonObject:
    """The whole body, `{"error": {…}}`; a failed graph also says why, node by node."""
    body: JsonObject = {
        "message": error.message,
        "type": error.type,
        "param": error.param,
        "code": error.code,
    }
    if isinstance(error, GraphFailed) and error.failures:
        body["nodes"] = [
            {"node": each.node, "message": each.error.message, "code": each.error.code}
            for each in error.failures
        ]
    return {"error": body}


def error_bytes(error: MoaError) -> bytes:
    """`error_object` as JSON."""
    return orjson.dumps(error_object(error))


def error_headers(error: MoaError) -> dict[str, str]:
    """What tells an SDK whether and when to try again.

    `Retry-After` is in whole seconds (RFC 9110 §10.2.3); `retry-after-ms` and `x-should-retry`
    are read by OpenAI's SDKs.
    """
    headers: dict[str, str] = {}
    if error.retry_after is not None:
        seconds = max(error.retry_after, 0.0)
        headers["retry-after"] = str(math.ceil(seconds))
        headers["retry-after-ms"] = str(math.ceil(seconds * 1000))
    if error.should_retry is not None:
        headers["x-should-retry"] = "true" if error.should_retry else "false"
    if error.status == 401:  # noqa: PLR2004 - RFC 9110 §15.5.2 asks for the header with this status
        headers["www-authenticate"] = "Bearer"
    if error.status == 408:  # noqa: PLR2004 - RFC 9110 §15.5.9: what is left of the body is not read
        headers["connection"] = "close"
    return headers
