"""Errors of one upstream call, and of our own guards around it."""

from __future__ import annotations

from app.errors.root import MoaError


class UpstreamError(MoaError):
    """One upstream call failed. `quotes`: its `detail` holds what the upstream wrote."""

    quotes = False
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


class UpstreamConnectTimeout(UpstreamTimeout):
    """No connection in time: nothing was asked, so nothing can be billed."""


class UpstreamBusy(UpstreamError):
    """No place was free among the calls the operator allows at once; no call was made."""

    status = 503
    code = "upstream_busy"
    kind = "upstream_busy"


class UpstreamCircuitOpen(UpstreamError):
    """The upstream failed too often of late; no call was made. `retry_after` is when one may be."""

    status = 503
    code = "upstream_circuit_open"
    kind = "upstream_circuit_open"


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
