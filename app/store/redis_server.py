"""One Redis, asked with time-outs and left alone while it is dead.

Nothing is asked twice on a request's way. After a few failures in a row every question fails at
once, and a task of its own asks for a sign of life, so no request pays for finding out. What is
kept there, and what a caller does without it, is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from logging import getLogger
from typing import TypeVar

import anyio
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from app.errors import ConfigError, StoreUnavailable

PATIENCE = 0.5
"""Seconds a question may take in all: a place in the pool, a connection, the answer."""
CONNECTIONS = 32
FAILURES = 2
"""Failures in a row after which the server is held to be dead."""
SHORTEST_REST, LONGEST_REST = 0.2, 2.0
"""Seconds between two signs of life asked for."""
GONE = (RedisConnectionError, RedisTimeoutError, TimeoutError, OSError)

T = TypeVar("T")
_log = getLogger("moa.store")


class RedisServer:
    """A Redis and whether it is alive. `watch` has to run beside it, else it stays dead.

    All mutable state: the failures in a row, and whether it is held to be dead.
    """

    def __init__(self, client: Redis, *, patience: float = PATIENCE) -> None:
        self.client = client
        self.patience = patience
        self._failures = 0
        self._died = anyio.Event()

    @property
    def is_alive(self) -> bool:
        """Whether it is asked at all."""
        return not self._died.is_set()

    async def ask(self, question: Callable[[Redis], Awaitable[T]]) -> T:
        """The answer to one question; raises StoreUnavailable.

        Not cancelled half way, which takes `PATIENCE` at most: it would be unknown what was done.
        """
        if not self.is_alive:
            raise unavailable("held to be dead")
        try:
            with anyio.fail_after(self.patience, shield=True):
                answer = await question(self.client)
        except GONE as error:
            self._failed(error)
            raise unavailable(repr(error)) from error
        except RedisError as error:
            raise unavailable(repr(error)) from error
        self._failures = 0
        return answer

    async def watch(self) -> None:
        """For ever: while it is dead, ask for a sign of life."""
        while True:
            await self._died.wait()
            rest = SHORTEST_REST
            while not await self._answers():
                await anyio.sleep(rest)
                rest = min(rest * 2, LONGEST_REST)
            self._failures, self._died = 0, anyio.Event()
            _log.info("Redis answers again")

    async def _answers(self) -> bool:
        try:
            with anyio.fail_after(self.patience):
                await self.client.ping()
        except (*GONE, RedisError):
            return False
        return True

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        if self._failures >= FAILURES and self.is_alive:
            _log.warning("Redis does not answer (%s); it is asked again by itself", error)
            self._died.set()


def connect(url: str, patience: float = PATIENCE) -> Redis:
    """A client of the server at `url`, which may be dead; raises ConfigError where it is no URL."""
    try:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=patience,
            socket_timeout=patience,
            socket_connect_timeout=patience,
            retry=Retry(NoBackoff(), 0),
            protocol=2,  # any server speaks it, and nothing here needs more
        )
    except ValueError as error:
        raise ConfigError("REDIS_URL must be redis://, rediss:// or unix://") from error
    return Redis.from_pool(pool)


def unavailable(why: str) -> StoreUnavailable:
    """The error of a question that was not answered; `why` is for logs."""
    return StoreUnavailable("The store of limits does not answer.", detail=f"Redis: {why}")
