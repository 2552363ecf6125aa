"""All that is kept on one Redis, opened and closed together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

import anyio
from anyio.abc import TaskGroup

from app.store.limits_redis import RedisLimiter
from app.store.redis_cache import RedisCache
from app.store.redis_events import RedisEvents
from app.store.redis_scripts import Scripts
from app.store.redis_server import PATIENCE, RedisServer, connect


@dataclass(frozen=True, slots=True)
class RedisStores:
    """What a Redis is used for, and the server itself with its state."""

    server: RedisServer
    scripts: Scripts
    limiter: RedisLimiter
    cache: RedisCache
    events: RedisEvents


@asynccontextmanager
async def open_redis(
    url: str, tasks: TaskGroup, *, patience: float = PATIENCE
) -> AsyncIterator[RedisStores]:
    """The stores on the server at `url` (`REDIS_URL`), served in `tasks` while this is open.

    The server may be dead. Raises ConfigError where `url` is none.
    """
    async with aclosing(connect(url, patience)) as client:
        server = RedisServer(client, patience=patience)
        scripts = Scripts(server)
        limiter, cache, events = RedisLimiter(scripts), RedisCache(server), RedisEvents(server)
        serving = anyio.CancelScope()

        async def serve() -> None:
            with serving:
                async with anyio.create_task_group() as beside:
                    beside.start_soon(server.watch)
                    beside.start_soon(scripts.serve)

        tasks.start_soon(serve)
        try:
            yield RedisStores(server, scripts, limiter, cache, events)
        finally:
            serving.cancel()
