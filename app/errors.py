"""The exception tree. A class carries what the client may learn: HTTP status, OpenAI type and code.

Every message given to a `MoaError` is shown to clients, so it must hold no secret, no address and
no text written by an upstream. What only an operator may read goes into `detail`.

    MoaError
    ├── ConfigError               the start is refused; never reaches a client
    ├── CallerError               the client can mend it
    │   ├── InvalidRequest        400
    │   ├── Unauthenticated       401
    │   ├── Forbidden             403
    │   ├── ModelNotFound         404
    │   ├── RouteNotFound         404
    │   ├── ResponseNotFound      404
    │   ├── MethodNotAllowed      405
    │   ├── RequestTimeout        408
    │   ├── PayloadTooLarge       413
    │   ├── UnsupportedMedia      415
    │   ├── IdempotencyKeyReused  422
    │   └── LoopDetected          508
    ├── UpstreamError             one upstream call failed
    │   ├── UpstreamRejected      the upstream's 400, 404, 413 or 422: the request as sent was wrong
    │   ├── UpstreamDenied        502, the upstream refused our credentials
    │   ├── UpstreamRateLimited   429
    │   ├── UpstreamTimeout       504
    │   ├── UpstreamUnavailable   502, no connection, reset, 5xx
    │   ├── UpstreamMalformed     502, an answer that is no answer: garbage, cut stream
    │   └── UpstreamEmpty         502, a whole answer that says nothing
    ├── NodeSkipped               a node had nothing it could do; stays inside the engine
    ├── GraphFailed               a whole graph came to nothing; status from its causes
    ├── DeadlineExceeded          504, the request's own deadline
    ├── CapReached                429, the request's own cap on money or calls
    ├── Overloaded                503
    └── InternalError             500
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


class MoaError(Exception):
    """Root of the tree.

    `message` is safe for clients, `detail` is for logs only, `param` names the request field at
    fault, `retry_after` is in seconds, `should_retry` tells SDKs (`x-should-retry`) whether a
    second try can help; None leaves it to the status. `kind` is the closed vocabulary of metrics.
    """

    status: int = 500
    type: str = "server_error"
    code: str | None = None
    kind: ClassVar[str] = "moa_internal"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
        should_retry: bool | None = None,
        detail: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code if code is not None else type(self).code
        self.retry_after = retry_after
        self.should_retry = should_retry
        self.detail = detail


class ConfigError(MoaError):
    """A configuration that cannot be served: where, what was found, what is accepted."""

    kind = "moa_config"

    def __init__(self, message: str, *, file: str | None = None, path: str | None = None) -> None:
        self.file = file
        self.path = path
        where = ": ".join(part for part in (file, path) if part)
        super().__init__(f"{where}: {message}" if where else message)


class CallerError(MoaError):
    """The client can mend it."""

    status = 400
    type = "invalid_request_error"
    kind = "caller_invalid_request"


class InvalidRequest(CallerError):
    """A field is missing, of the wrong type or outside its range; `param` names it."""


class Unauthenticated(CallerError):
    """No key, or one that is not ours."""

    status = 401
    code = "invalid_api_key"
    kind = "caller_unauthenticated"


class Forbidden(CallerError):
    """A known caller who may not do this."""

    status = 403
    type = "permission_error"
    code = "forbidden"
    kind = "policy_forbidden"


class ModelNotFound(CallerError):
    """The name in `model` is no graph, pool or alias of ours."""

    status = 404
    code = "model_not_found"
    kind = "caller_model_not_found"


class RouteNotFound(CallerError):
    """No such address."""

    status = 404
    code = "unknown_url"
    kind = "caller_route_not_found"


class ResponseNotFound(CallerError):
    """No such response is stored for this caller."""

    status = 404
    code = "response_not_found"
    kind = "caller_response_not_found"


class MethodNotAllowed(CallerError):
    """The address exists, the method does not."""

    status = 405
    code = "method_not_allowed"
    kind = "caller_method_not_allowed"


class RequestTimeout(CallerError):
    """The body did not come in time."""

    status = 408
    code = "request_timeout"
    kind = "caller_slow_body"


class PayloadTooLarge(CallerError):
    """The body is above the limit."""

    status = 413
    code = "request_too_large"
    kind = "caller_too_large"


class UnsupportedMedia(CallerError):
    """The body is not declared as JSON."""

    status = 415
    code = "unsupported_media_type"
    kind = "caller_unsupported_media"


class IdempotencyKeyReused(CallerError):
    """The key of an earlier request, with another body: the client means something else."""

    status = 422
    type = "idempotency_error"
    code = "idempotency_key_reused"
    kind = "caller_idempotency_key_reused"


class LoopDetected(CallerError):
    """The request passed through too many gateways; most likely this one calls itself."""

    status = 508
    code = "loop_detected"
    kind = "policy_loop"


class UpstreamError(MoaError):
    """One upstream call failed. `upstream` is the operator's name for the server."""

    status = 502
    type = "upstream_error"
    code = "upstream_error"
    kind = "upstream_other"


class UpstreamRejected(UpstreamError):
    """The upstream found the request wrong (400, 404, 413, 422); `status` is the upstream's."""

    type = "invalid_request_error"
    code = "upstream_rejected"
    kind = "upstream_rejected"

    def __init__(
        self,
        message: str,
        *,
        status: int,
        param: str | None = None,
        code: str | None = None,
        detail: str | None = None,
    ) -> None:
        super().__init__(message, param=param, code=code, detail=detail)
        self.status = status


class UpstreamDenied(UpstreamError):
    """The upstream refused our credentials (401, 403): the operator's fault, never the client's."""

    code = "upstream_denied"
    kind = "upstream_denied"


class UpstreamRateLimited(UpstreamError):
    """The upstream answered 429; `retry_after` is what it asked for."""

    status = 429
    type = "rate_limit_error"
    code = "upstream_rate_limited"
    kind = "upstream_rate_limited"


class UpstreamTimeout(UpstreamError):
    """Connecting, the first token or the next token took too long."""

    status = 504
    code = "upstream_timeout"
    kind = "upstream_timeout"


class UpstreamUnavailable(UpstreamError):
    """No connection, a reset, or a 5xx answer."""

    code = "upstream_unavailable"
    kind = "upstream_unavailable"


class UpstreamMalformed(UpstreamError):
    """An answer that cannot be read as one: HTML, broken JSON, a stream cut before its end."""

    code = "upstream_malformed"
    kind = "upstream_malformed"


class UpstreamEmpty(UpstreamError):
    """A whole answer that says nothing."""

    code = "upstream_empty"
    kind = "upstream_empty"


class NodeSkipped(MoaError):
    """A node made no call, since none of the nodes it works on gave it a reference."""

    status = 502
    code = "node_skipped"
    kind = "moa_node_skipped"


@dataclass(frozen=True, slots=True)
class NodeFailure:
    """Why one node gave nothing: `node` as in the config, `error` with its safe message."""

    node: str
    error: MoaError


_TYPES = {
    400: "invalid_request_error",
    413: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    504: "timeout_error",
}


class GraphFailed(MoaError):
    """A graph came to nothing. `failures` says why, node by node; the status follows from them."""

    status = 502
    type = "upstream_error"
    code = "graph_failed"
    kind = "moa_graph_failed"

    def __init__(
        self,
        message: str,
        *,
        status: int = 502,
        code: str | None = None,
        param: str | None = None,
        failures: tuple[NodeFailure, ...] = (),
        retry_after: float | None = None,
        should_retry: bool | None = None,
    ) -> None:
        super().__init__(
            message, param=param, code=code, retry_after=retry_after, should_retry=should_retry
        )
        self.status = status
        self.type = _TYPES.get(status, type(self).type)
        self.failures = failures


class DeadlineExceeded(MoaError):
    """The request's own deadline passed before an answer."""

    status = 504
    type = "timeout_error"
    code = "deadline_exceeded"
    kind = "moa_deadline"


class CapReached(MoaError):
    """A cap on money or calls left no room for an answer; the same request would end the same."""

    status = 429
    type = "insufficient_quota"
    code = "insufficient_quota"
    kind = "policy_cap"


class Overloaded(MoaError):
    """More concurrent work than configured; try again after `retry_after`."""

    status = 503
    code = "overloaded"
    kind = "moa_overloaded"


class InternalError(MoaError):
    """A bug of ours. The message says nothing; the log says all."""

    TOLD: ClassVar[str] = "The gateway failed; its log knows why, under the x-request-id"
    code = "internal_error"
