"""Opens what a process keeps beyond a request: database, ledger, counters, caches.

Part of the composition root: which store stands behind which interface is decided here. Without
`REDIS_URL` what replicas would share is this process's own; without a database nothing is booked.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import anyio
from anyio.abc import TaskGroup

from app.access.limiter import Limiter
from app.config import Settings
from app.interfaces import Cache
from app.store.database import Database, open_database
from app.store.ledger import StoredLedger, open_ledger
from app.store.limits_memory import MemoryLimiter
from app.store.memory import MemoryCache
from app.store.migrate import ensure_schema

if TYPE_CHECKING:
    from app.store.redis import RedisStores

KEYS_CHANNEL = "keys"
"""Where replicas tell each other that keys or teams have changed."""


@dataclass(frozen=True, slots=True)
class Stores:
    """What stands behind the interfaces; caches are apart so that none crowds out another.

    `database` and `redis` are None where there is none.
    """

    database: Database | None = None
    ledger: StoredLedger | None = None
    redis: RedisStores | None = None
    limiter: Limiter = field(default_factory=MemoryLimiter)
    proposals: Cache = field(default_factory=partial(MemoryCache, time.monotonic))
    responses: Cache = field(default_factory=partial(MemoryCache, time.monotonic))
    repeats: Cache = field(default_factory=partial(MemoryCache, time.monotonic))

    @property
    def are_up(self) -> bool:
        """Whether all of them answered when they were last asked."""
        is_up = self.ledger is None or self.ledger.is_up
        return is_up and (self.redis is None or self.redis.server.is_alive)

    async def tell_of_keys(self) -> None:
        """Let other replicas know at once that keys or teams have changed."""
        if self.redis is not None:
            await self.redis.events.tell(KEYS_CHANNEL, b"changed")

    async def hear_of_keys(self, changed: Callable[[], None]) -> None:
        """For ever: call `changed` whenever another replica changed keys or teams."""
        if self.redis is not None:
            await self.redis.events.listen(KEYS_CHANNEL, lambda _message: changed())


@asynccontextmanager
async def open_stores(settings: Settings) -> AsyncIterator[Stores]:
    """Open them all; on leaving, everything that waits to be written is written.

    Raises ConfigError for an address that is none and a database of another version,
    StoreUnavailable for a database that does not answer.
    """
    async with AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(background())
        database, ledger = None, None
        if settings.database_url is not None:
            address = settings.database_url.get_secret_value()
            database = await stack.enter_async_context(open_database(address))
            await ensure_schema(database)
            ledger = await stack.enter_async_context(open_ledger(database))
        if settings.redis_url is None:
            yield Stores(database, ledger)
            return
        # 6 MB that only a team's gateway needs.
        from app.store.redis import open_redis  # noqa: PLC0415
        from app.store.redis_cache import RedisCache  # noqa: PLC0415

        redis = await stack.enter_async_context(
            open_redis(settings.redis_url.get_secret_value(), tasks)
        )
        yield Stores(
            database,
            ledger,
            redis,
            limiter=redis.limiter,
            proposals=RedisCache(redis.server, prefix="moa:proposals:"),
            responses=RedisCache(redis.server, prefix="moa:responses:"),
            repeats=RedisCache(redis.server, prefix="moa:repeats:"),
        )


@asynccontextmanager
async def background() -> AsyncIterator[TaskGroup]:
    """Tasks that end with the context."""
    async with anyio.create_task_group() as tasks:
        yield tasks
        tasks.cancel_scope.cancel()
