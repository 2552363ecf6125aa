"""What was found out about digests of keys, and how often the store may be asked. No store here."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, islice

from app.access.caller import Caller

MOST_KNOWN = 10_000
"""Digests kept of each kind, known and unknown; whoever was not asked for longest goes first."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a digest stands for; None is nobody."""

    caller: Caller | None


class KnownKeys:
    """Findings by digest, until they are all forgotten because something was changed.

    Unknown digests have their own room, so that wrong keys cannot drive out right ones. `age`
    counts how often all was forgotten: what was asked before that must not be kept after it.
    """

    def __init__(self, most: int = MOST_KNOWN) -> None:
        self._most = most
        self._found: OrderedDict[str, Finding] = OrderedDict()
        self._unknown: OrderedDict[str, Finding] = OrderedDict()
        self._familiar: dict[str, None] = {}
        self.age = 0

    def get(self, digest: str) -> Finding | None:
        """What is known of it; None if nobody has asked."""
        for room in (self._found, self._unknown):
            if digest in room:
                room.move_to_end(digest)
                return room[digest]
        return None

    def is_familiar(self, digest: str) -> bool:
        """Whether it was a key's before all was forgotten."""
        return digest in self._familiar

    def keep(self, digest: str, finding: Finding, age: int) -> None:
        """Remember what the store said when it was asked at this age."""
        if age != self.age:
            return
        room = self._unknown if finding.caller is None else self._found
        room[digest] = finding
        if len(room) > self._most:
            room.popitem(last=False)

    def forget(self) -> None:
        """Forget all, but for which digests were those of keys."""
        self.age += 1
        familiar = islice(chain(reversed(self._found), self._familiar), self._most)
        self._familiar = dict.fromkeys(familiar)
        self._found.clear()
        self._unknown.clear()


class Rate:
    """So many a second, with as many at once after a quiet second; the rest is refused."""

    def __init__(self, per_second: float, clock: Callable[[], float]) -> None:
        self._per_second, self._clock = per_second, clock
        self._left, self._at = per_second, clock()

    def take(self) -> bool:
        """Whether one more is within the rate; counts it if so."""
        now = self._clock()
        self._left = min(self._per_second, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
