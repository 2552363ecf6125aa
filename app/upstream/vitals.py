"""How one deployment is doing, as far as this process knows: load, speed, and whether it rests.

A pool chooses by it and a hedge waits by it. Whether a deployment is broken is the breaker's
business.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable

SAMPLES = 64
ENOUGH = 20
"""Fewer samples say nothing about a quantile."""
KEPT = 0.7
"""The share of what was known that a new answer leaves of it."""
HALF_LIFE = 10.0
"""Seconds in which what is known of the latency counts for half."""
FORGOTTEN = 60.0
"""Seconds after which nothing is known of it."""


class Vitals:
    """What was seen of one deployment; every time is in seconds of `clock`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.in_flight = 0
        self._clock = clock
        self._latency = 0.0
        self._seen = -math.inf
        self._rests_until = -math.inf
        self._shunned_until = -math.inf
        self._streamed: deque[float] = deque(maxlen=SAMPLES)
        self._whole: deque[float] = deque(maxlen=SAMPLES)

    def began(self) -> float:
        """A call begins; returns its start."""
        self.in_flight += 1
        return self._clock()

    def ended(self) -> None:
        """A call is over, however it ended."""
        self.in_flight -= 1

    def answered(self, seconds: float, *, streamed: bool) -> None:
        """So long after its start a call gave its first token (streamed) or its whole answer."""
        (self._streamed if streamed else self._whole).append(seconds)
        now = self._clock()
        age = now - self._seen
        kept = KEPT * 0.5 ** (age / HALF_LIFE) if age < FORGOTTEN else 0.0
        self._latency = kept * self._latency + (1 - kept) * seconds
        self._seen = now

    @property
    def latency(self) -> float:
        """Seconds an answer takes, the latest counting most; 0.0 where nothing is known.

        It shrinks while no answer comes, so that a deployment once slow is tried again.
        """
        age = self._clock() - self._seen
        return self._latency * 0.5 ** (age / HALF_LIFE) if age < FORGOTTEN else 0.0

    def quantile(self, q: float, *, streamed: bool) -> float | None:
        """The seconds that a share `q` of the last answers of a kind took at most (nearest rank).

        None where too few have come to tell.
        """
        samples = self._streamed if streamed else self._whole
        if len(samples) < ENOUGH:
            return None
        return sorted(samples)[max(math.ceil(q * len(samples)), 1) - 1]

    def rest(self, seconds: float) -> None:
        """The upstream asked for no calls for so long."""
        self._rests_until = max(self._rests_until, self._clock() + seconds)

    def shun(self, seconds: float) -> None:
        """For so long it is to be chosen last."""
        self._shunned_until = max(self._shunned_until, self._clock() + seconds)

    @property
    def resting(self) -> float:
        """Seconds in which the upstream wants no calls; 0.0 where it takes them."""
        return max(0.0, self._rests_until - self._clock())

    @property
    def shunned(self) -> bool:
        """Whether it is to be chosen last."""
        return self._shunned_until > self._clock()
