"""What is kept on a real Redis, while it lives, hangs, dies and comes back."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from uuid import uuid4

import anyio
import pytest

from app.access.limiter import Check
from app.errors import StoreUnavailable
from app.interfaces import Cache
from app.store.redis import RedisStores, open_redis
from app.store.redis_events import RedisEvents
from tests.services.servers import RedisProcess

pytestmark = pytest.mark.services
PATIENCE = 0.2


@pytest.fixture
async def stores(redis_server: RedisProcess) -> AsyncIterator[RedisStores]:
    async with (
        anyio.create_task_group() as tasks,
        open_redis(redis_server.url, tasks, patience=PATIENCE) as opened,
    ):
        yield opened


async def take(stores: RedisStores) -> bool:
    asked = [Check("key:a", "requests", 1_000, 1), Check("key:a", "concurrent", 1_000, 1)]
    return (await stores.limiter.take(str(uuid4()), asked, 60)).allowed


async def die(stores: RedisStores) -> None:
    """Ask until it is held to be dead; every failure on the way is of the one kind."""
    with anyio.fail_after(20):
        while stores.server.is_alive:
            with pytest.raises(StoreUnavailable):
                await take(stores)


async def revive(stores: RedisStores) -> None:
    with anyio.fail_after(20):
        while not stores.server.is_alive:  # noqa: ASYNC110 (there is no event to wait for)
            await anyio.sleep(0.01)


async def test_what_was_cached_is_found_until_its_time_is_over(stores: RedisStores) -> None:
    cache: Cache = stores.cache
    key = str(uuid4())
    assert await cache.get(key) is None
    await cache.set(key, b"\x00\xff", 30)
    assert await cache.get(key) == b"\x00\xff"
    assert 29_000 < await stores.server.client.pttl(f"moa:cache:{key}") <= 30_000


@pytest.mark.parametrize("ttl", [0, -1])
async def test_no_time_forgets(stores: RedisStores, ttl: float) -> None:
    await stores.cache.set("k", b"1", 30)
    await stores.cache.set("k", b"2", ttl)
    assert await stores.cache.get("k") is None


async def test_a_dead_server_finds_and_keeps_nothing_and_nobody_fails(
    stores: RedisStores, redis_server: RedisProcess
) -> None:
    await stores.cache.set("k", b"1", 30)
    redis_server.kill()
    for _ in range(4):
        assert await stores.cache.get("k") is None
        await stores.cache.set("k", b"1", 30)
        await stores.events.tell("news", b"1")
        await stores.limiter.release("r", ["key:a"])
        await stores.limiter.correct("r", "key:a", 1, 0.0)
    assert not stores.server.is_alive


@pytest.mark.parametrize("how", ["pause", "kill"])
async def test_a_server_that_is_gone_fails_fast_and_comes_back_by_itself(
    stores: RedisStores, redis_server: RedisProcess, how: str
) -> None:
    assert await take(stores)
    (redis_server.pause if how == "pause" else redis_server.kill)()
    await die(stores)
    started = time.perf_counter()
    for _ in range(100):
        with pytest.raises(StoreUnavailable):
            await take(stores)
    assert time.perf_counter() - started < PATIENCE
    (redis_server.resume if how == "pause" else redis_server.start)()
    await revive(stores)
    assert await take(stores)


async def test_a_restart_loses_the_scripts_and_no_request(
    stores: RedisStores, redis_server: RedisProcess
) -> None:
    assert await take(stores)
    await anyio.to_thread.run_sync(redis_server.restart)
    assert await take(stores)


async def test_a_crowd_waits_for_a_hanging_server_once(
    stores: RedisStores, redis_server: RedisProcess
) -> None:
    redis_server.pause()
    failed = 0

    async def one() -> None:
        nonlocal failed
        with pytest.raises(StoreUnavailable):
            await take(stores)
        failed += 1

    started = time.perf_counter()
    async with anyio.create_task_group() as crowd:
        for _ in range(200):
            crowd.start_soon(one)
    assert failed == 200
    assert time.perf_counter() - started < 5 * PATIENCE


async def test_what_one_tells_the_other_hears_also_after_a_restart(
    stores: RedisStores, redis_server: RedisProcess
) -> None:
    send, receive = anyio.create_memory_object_stream[bytes | None](10)
    teller = RedisEvents(stores.server)
    with send, receive:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stores.events.listen, "news", send.send_nowait)
            with anyio.fail_after(20):
                assert await receive.receive() is None
                await teller.tell("other news", b"0")
                await teller.tell("news", b"1")
                assert await receive.receive() == b"1"
                redis_server.restart()
                assert await receive.receive() is None
                await revive(stores)
                await teller.tell("news", b"2")
                assert await receive.receive() == b"2"
            tasks.cancel_scope.cancel()
