"""What one replica tells the others, through Redis: at most once, and not to who is away.

So it only ever makes known sooner what can also be read elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from app.errors import StoreUnavailable
from app.store.redis_server import GONE, LONGEST_REST, SHORTEST_REST, RedisServer

PREFIX = "moa:events:"
QUIET = 5.0
"""Seconds of silence after which the connection is asked for a sign of life."""


class RedisEvents:
    """A channel by name: `tell` what happened, `listen` to what others tell."""

    def __init__(self, server: RedisServer, *, prefix: str = PREFIX) -> None:
        self._server = server
        self._prefix = prefix

    async def tell(self, channel: str, message: bytes) -> None:
        """Tell everyone who listens now; nobody where the server is dead."""
        name = self._prefix + channel
        try:
            await self._server.ask(lambda client: client.publish(name, message))
        except StoreUnavailable:
            return

    async def listen(self, channel: str, heard: Callable[[bytes | None], None]) -> None:
        """For ever: hand on every message, and None whenever some may have been missed.

        That is after each connection, the first one too.
        """
        rest = SHORTEST_REST
        while True:
            connected = False

            def hear(message: bytes | None) -> None:
                nonlocal connected
                connected = True
                heard(message)

            try:
                await self._listen_once(self._prefix + channel, hear)
            except (*GONE, RedisError):
                rest = SHORTEST_REST if connected else min(rest * 2, LONGEST_REST)
            await anyio.sleep(rest)

    async def _listen_once(self, name: str, hear: Callable[[bytes | None], None]) -> None:
        async with self._server.client.pubsub() as pubsub:
            await pubsub.subscribe(name)
            while True:
                message = await _next(pubsub)
                if message["type"] == "subscribe":
                    hear(None)
                elif message["type"] == "message" and isinstance(message["data"], bytes):
                    hear(message["data"])


async def _next(pubsub: PubSub) -> dict[str, object]:
    """The next message; raises TimeoutError where the server gives no sign of life."""
    message: dict[str, object] | None = await pubsub.get_message(timeout=QUIET)
    if message is None:
        await pubsub.ping()
        with anyio.fail_after(QUIET):
            message = await pubsub.get_message(timeout=None)
    if message is None:
        raise TimeoutError
    return message
