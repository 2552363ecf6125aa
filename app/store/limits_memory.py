"""Rate limits counted in this process's memory: exact for one process, gone with it.

Plain synchronous steps, so no other task sees a request half counted. Who is limited to what is
decided by those who ask.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import TypeAlias

from app.access.limiter import WINDOW, Check, Verdict, window_end, window_second

RETRY_CONCURRENT = 1.0
"""Seconds to wait for a place; nobody knows when a request under way ends."""


class MemoryLimiter:
    """A `Limiter` of one process; `clock` tells seconds and never goes back.

    All mutable state: a counter for each scope and kind that was used in the last minute.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counters: dict[tuple[str, str], _Counter] = {}
        self._tidy_at = clock() + WINDOW

    def __len__(self) -> int:
        return len(self._counters)

    async def take(self, request_id: str, checks: Sequence[Check], lease: float) -> Verdict:
        """Count one request if every check passes."""
        now = self._clock()
        if now >= self._tidy_at:
            self._tidy(now)
        asked = [(check, self._counter(check.scope, check.kind)) for check in checks]
        refused, wait = None, 0.0
        for check, counter in asked:
            if counter.used(now) + check.amount > check.limit:
                longer = counter.wait(check, now)
                if refused is None or longer > wait:
                    refused, wait = check, longer
        if refused is None:
            for check, counter in asked:
                counter.add(request_id, check.amount, now, lease)
        return _verdict(asked, refused, wait, now)

    async def correct(self, request_id: str, scope: str, delta: int, taken_at: float) -> None:  # noqa: ARG002 (tokens are not kept by request)
        """Add `delta` tokens to those counted at `taken_at`, if they still count."""
        counter = self._counter(scope, "tokens")
        if isinstance(counter, _Window):
            counter.correct(window_second(taken_at), delta, self._clock())

    async def release(self, request_id: str, scopes: Collection[str]) -> None:
        """The request has ended: give its leases back."""
        for scope in scopes:
            counter = self._counters.get((scope, "concurrent"))
            if isinstance(counter, _Leases):
                counter.release(request_id)

    def _counter(self, scope: str, kind: str) -> _Counter:
        counter = self._counters.get((scope, kind))
        if counter is None:
            counter = _Leases() if kind == "concurrent" else _Window()
            self._counters[scope, kind] = counter
        return counter

    def _tidy(self, now: float) -> None:
        self._tidy_at = now + WINDOW
        self._counters = {
            name: each for name, each in self._counters.items() if not each.is_idle(now)
        }


class _Window:
    """Amounts by second, oldest first, of those that still count; `total` is their sum."""

    __slots__ = ("_seconds", "_total")

    def __init__(self) -> None:
        self._seconds: deque[list[int]] = deque()
        self._total = 0

    def used(self, now: float) -> int:
        """What counts now."""
        seconds = self._seconds
        while seconds and window_end(seconds[0][0]) <= now:
            self._total -= seconds.popleft()[1]
        return self._total

    def wait(self, check: Check, now: float) -> float:
        """Seconds until the check passes if nothing else happens."""
        over = self._total + check.amount - check.limit
        for second, amount in self._seconds:
            over -= amount
            if over <= 0:
                return window_end(second) - now
        return math.inf

    def reset(self, now: float) -> float | None:
        """Seconds until nothing counts any more."""
        return window_end(self._seconds[-1][0]) - now if self._total else 0.0

    def is_idle(self, now: float) -> bool:
        """Whether nothing is lost if it is forgotten; what was counted as 0 may be corrected."""
        self.used(now)
        return not self._seconds

    def add(self, _request_id: str, amount: int, now: float, _lease: float) -> None:
        """Count `amount` in this second."""
        second = window_second(now)
        if self._seconds and self._seconds[-1][0] == second:
            self._seconds[-1][1] += amount
        else:
            self._seconds.append([second, amount])
        self._total += amount

    def correct(self, second: int, delta: int, now: float) -> None:
        """Add `delta` to what was counted in `second`; less than nothing is nothing."""
        self.used(now)
        for entry in reversed(self._seconds):
            if entry[0] == second:
                corrected = max(0, entry[1] + delta)
                self._total += corrected - entry[1]
                entry[1] = corrected
                return


class _Leases:
    """Requests under way, each with the moment its lease runs out."""

    __slots__ = ("_ends", "_next_end")

    def __init__(self) -> None:
        self._ends: dict[str, float] = {}
        self._next_end = math.inf

    def used(self, now: float) -> int:
        """How many are under way."""
        if self._next_end <= now:
            self._ends = {held: end for held, end in self._ends.items() if end > now}
            self._next_end = min(self._ends.values(), default=math.inf)
        return len(self._ends)

    def wait(self, check: Check, _now: float) -> float:
        """Seconds after which asking again makes sense."""
        return math.inf if check.amount > check.limit else RETRY_CONCURRENT

    def reset(self, _now: float) -> float | None:
        """Nobody knows."""
        return None

    def is_idle(self, now: float) -> bool:
        """Whether nothing is lost if it is forgotten."""
        return not self.used(now)

    def add(self, request_id: str, _amount: int, now: float, lease: float) -> None:
        """Keep a place for `lease` seconds."""
        self._ends[request_id] = now + lease
        self._next_end = min(self._next_end, now + lease)

    def release(self, request_id: str) -> None:
        """Give the place back."""
        self._ends.pop(request_id, None)


_Counter: TypeAlias = _Window | _Leases


def _verdict(
    asked: list[tuple[Check, _Counter]], refused: Check | None, wait: float, now: float
) -> Verdict:
    remaining: dict[tuple[str, str], int] = {}
    reset: dict[tuple[str, str], float] = {}
    for check, counter in asked:
        name = (check.scope, check.kind)
        remaining[name] = max(0, check.limit - counter.used(now))
        seconds = counter.reset(now)
        if seconds is not None:
            reset[name] = seconds
    return Verdict(refused is None, refused, wait, remaining, reset, now)
