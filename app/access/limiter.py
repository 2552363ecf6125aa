"""Rate limits: what is asked of whoever counts, and what comes back. Types only, no counting.

Requests and tokens are counted over any 60 seconds, requests under way by leases that run out. A
key and its team are checked together: every check passes and is counted, or none is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

LimitKind: TypeAlias = Literal["requests", "tokens", "concurrent"]

WINDOW = 60
"""Seconds a request or a token is counted for."""


@dataclass(frozen=True, slots=True)
class Check:
    """`amount` more of `kind` for `scope` (`key:ID`, `team:ID`), at most `limit` in all.

    One request is `amount` 1 of `requests` and of `concurrent`; of `tokens` it is what the request
    may take, corrected later. A request has one check at most for each scope and kind.
    """

    scope: str
    kind: LimitKind
    limit: int
    amount: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of the checks; `refused` is the one that takes the longest to pass.

    `retry_after` is in seconds, 0.0 where allowed, infinite where no wait helps because the amount
    alone is above the limit. `remaining` and `reset`, by scope and kind, are what is left of a
    limit after these checks and the seconds until all of it is; nobody knows when a request under
    way ends, so `concurrent` has no `reset`. `taken_at` is the counter's own clock, for `correct`.
    """

    allowed: bool
    refused: Check | None
    retry_after: float
    remaining: Mapping[tuple[str, str], int]
    reset: Mapping[tuple[str, str], float]
    taken_at: float


class Limiter(Protocol):
    """Counts, for one process or for all that share a server."""

    async def take(self, request_id: str, checks: Sequence[Check], lease: float) -> Verdict:
        """Count one request if every check passes; `concurrent` for `lease` seconds at most.

        Raises StoreUnavailable where nobody answers; then nothing is to be released.
        """

    async def correct(self, request_id: str, scope: str, delta: int, taken_at: float) -> None:
        """Add `delta` tokens to those counted at `taken_at`, if they still count. Never raises."""

    async def release(self, request_id: str, scopes: Collection[str]) -> None:
        """The request has ended: give its leases back. Never raises; a lost one runs out."""


def window_second(now: float) -> int:
    """The second that what happens now is counted in."""
    return int(now // 1)


def window_end(second: int) -> int:
    """When what was counted in `second` stops to count: 60 s after the last moment of it."""
    return second + WINDOW + 1
