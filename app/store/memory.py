"""A `Cache` in this process's memory: bounded, and gone with the process.

What is cached, for whom and for how long is decided by those who use it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

MAX_ENTRIES = 20_000
MAX_BYTES = 64 * 1024 * 1024
ENTRY_BYTES = 300
"""What an entry takes beside its key and value, estimated."""


@dataclass(frozen=True, slots=True)
class _Entry:
    value: bytes
    ends: float
    size: int


class MemoryCache:
    """Keeps what was used last, within a number of entries and of bytes; every step is O(1).

    `clock` tells seconds. A value that alone is above `max_bytes` is not kept. All mutable state:
    the entries, the one used longest ago first, and their size in bytes.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        max_entries: int = MAX_ENTRIES,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._clock = clock
        self._max_entries, self._max_bytes = max_entries, max_bytes
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size(self) -> int:
        """Bytes in use: keys, values and `ENTRY_BYTES` for each."""
        return self._size

    async def get(self, key: str) -> bytes | None:
        """What was set, None if nothing was or its time is over."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.ends <= self._clock():
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return entry.value

    async def set(self, key: str, value: bytes, ttl: float) -> None:
        """Keep for `ttl` seconds at most; what was used longest ago makes room."""
        self._drop(key)
        size = ENTRY_BYTES + len(key.encode()) + len(value)
        if ttl <= 0 or size > self._max_bytes:
            return
        self._entries[key] = _Entry(value, self._clock() + ttl, size)
        self._size += size
        while len(self._entries) > self._max_entries or self._size > self._max_bytes:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._size -= entry.size
