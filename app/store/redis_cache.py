"""A `Cache` that every replica shares, on a Redis that may be dead: then nothing is found or kept.

What is cached, for whom and for how long is decided by those who use it.
"""

from __future__ import annotations

from app.errors import StoreUnavailable
from app.store.redis_server import RedisServer

PREFIX = "moa:cache:"


class RedisCache:
    """Bytes by key for a while. How much is kept in all is the server's `maxmemory`."""

    def __init__(self, server: RedisServer, *, prefix: str = PREFIX) -> None:
        self._server = server
        self._prefix = prefix

    async def get(self, key: str) -> bytes | None:
        """What was set, None if nothing was, its time is over or the server is dead."""
        name = self._prefix + key
        try:
            found = await self._server.ask(lambda client: client.get(name))
        except StoreUnavailable:
            return None
        return found if isinstance(found, bytes) else None

    async def set(self, key: str, value: bytes, ttl: float) -> None:
        """Keep for `ttl` seconds at most; 0 forgets. A dead server keeps nothing."""
        name = self._prefix + key
        milliseconds = round(ttl * 1000)
        try:
            if milliseconds > 0:
                await self._server.ask(lambda client: client.set(name, value, px=milliseconds))
            else:
                await self._server.ask(lambda client: client.delete(name))
        except StoreUnavailable:
            return
