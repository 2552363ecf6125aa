"""Errors of a whole run: the graph's, the request's limits, the gateway's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from app.errors.root import MoaError


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


class RateLimited(MoaError):
    """A key or its team sends more than its own limits allow."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"
    kind = "policy_rate_limit"


class BudgetReached(MoaError):
    """A key or its team has no money left for this request before its budget starts anew."""

    status = 429
    type = "insufficient_quota"
    code = "insufficient_quota"
    kind = "policy_budget"
    should_retry = False


class Overloaded(MoaError):
    """More concurrent work than configured; try again after `retry_after`."""

    status = 503
    code = "overloaded"
    kind = "moa_overloaded"


class StoreUnavailable(MoaError):
    """The database does not answer, so nothing can be reserved; it is asked again by itself."""

    status = 503
    code = "store_unavailable"
    kind = "moa_store"
    retry_after = 1.0


class InternalError(MoaError):
    """A bug of ours. The message says nothing; the log says all."""

    TOLD: ClassVar[str] = "The gateway failed; its log knows why, under the x-request-id"
    code = "internal_error"
