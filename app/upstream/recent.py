"""A count of what happened in the last seconds, in constant time and space.

Knows nothing of what it counts, and no clock.
"""

from __future__ import annotations

_PARTS = 10


class Recent:
    """How often something happened in the last `seconds`, exact to a tenth of them.

    All mutable state: one count for each tenth. `now` is in seconds and never goes back.
    """

    __slots__ = ("_counts", "_length", "_tick", "_total")

    def __init__(self, seconds: float) -> None:
        self._length = seconds / _PARTS
        self._counts = [0] * _PARTS
        self._tick = 0
        self._total = 0

    def add(self, now: float) -> None:
        """It happened once more."""
        self._forget(now)
        self._counts[self._tick % _PARTS] += 1
        self._total += 1

    def count(self, now: float) -> int:
        """How often it happened lately."""
        self._forget(now)
        return self._total

    def clear(self) -> None:
        """Nothing has happened."""
        self._counts = [0] * _PARTS
        self._total = 0

    def _forget(self, now: float) -> None:
        tick = int(now / self._length)
        passed = tick - self._tick
        if passed <= 0:
            return
        for old in range(self._tick + 1, self._tick + 1 + min(passed, _PARTS)):
            self._total -= self._counts[old % _PARTS]
            self._counts[old % _PARTS] = 0
        self._tick = tick
