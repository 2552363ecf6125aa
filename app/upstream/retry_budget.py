"""How many extra calls an upstream may get: its retries and hedges must not become its storm.

Shared by all models of one upstream. Whether an extra call makes sense is for those who ask.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from app.upstream.recent import Recent

WINDOW = 10.0
"""Seconds."""
FLOOR = 3
SHARE = 0.1


class RetryBudget:
    """Lets extra calls through while they are few: fewer than `FLOOR`, or than `SHARE` of the rest.

    Both as counted over the last `WINDOW` seconds. One budget can be asked at the price of a
    clock and an addition.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first = Recent(WINDOW)
        self._extra = Recent(WINDOW)

    def called(self) -> None:
        """A call is made that would be made anyway."""
        self._first.add(self._clock())

    def allows(self) -> bool:
        """Whether one extra call may be made now; the one allowed is counted as made."""
        now = self._clock()
        if self._extra.count(now) >= max(FLOOR, SHARE * self._first.count(now)):
            return False
        self._extra.add(now)
        return True
