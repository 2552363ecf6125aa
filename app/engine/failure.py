"""What a client is told when a graph comes to nothing: one status out of many causes. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from app.errors import CapReached, GraphFailed, MoaError, NodeFailure, NodeSkipped

CALLERS_FAULT = frozenset({400, 413, 422})
RETRY_HELPS = frozenset({429, 503})
_MOST_TOLD = 12


def graph_failed(what: str, failures: Sequence[NodeFailure], *, billed: bool) -> GraphFailed:
    """The error of a graph, from the failures of its nodes.

    429 with the smallest Retry-After if all were rate limited, 503 if some were full, 504 if all
    timed out, the upstreams' own 400, 413 or 422 if all found the request wrong, else 502. Once a
    call was billed, SDKs are told not to pay for the same failure again, unless waiting helps; nor
    does a second try help where it helps none of the nodes.
    """
    causes = [failure.error for failure in failures if not isinstance(failure.error, NodeSkipped)]
    status = _status(causes)
    capped = bool(causes) and all(isinstance(cause, CapReached) for cause in causes)
    hopeless = bool(causes) and all(cause.should_retry is False for cause in causes)
    blame = causes[0] if capped or status in CALLERS_FAULT else None
    return GraphFailed(
        f"{what}: {_told(failures)}." if failures else f"{what}.",
        status=status,
        code=blame.code if blame else _code(status),
        param=blame.param if blame else None,
        failures=tuple(failures),
        retry_after=min((e.retry_after for e in causes if e.retry_after is not None), default=None)
        if status in RETRY_HELPS
        else None,
        should_retry=False
        if capped or hopeless or (billed and status not in RETRY_HELPS)
        else None,
    )


def _status(causes: Sequence[MoaError]) -> int:
    statuses = {cause.status for cause in causes}
    if len(statuses) == 1 and statuses <= RETRY_HELPS | {504}:
        return statuses.pop()
    if statuses and statuses <= RETRY_HELPS:
        return 503
    if statuses and statuses <= CALLERS_FAULT:
        return causes[0].status
    return 502


def _code(status: int) -> str | None:
    return {429: "rate_limit_exceeded", 504: "upstream_timeout"}.get(status)


def _told(failures: Sequence[NodeFailure]) -> str:
    told = "; ".join(
        f"{failure.node}: {failure.error.message.rstrip('.')}" for failure in failures[:_MOST_TOLD]
    )
    more = len(failures) - _MOST_TOLD
    return f"{told}; and {more} more" if more > 0 else told
