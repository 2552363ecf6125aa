"""When a Redis is held to be dead, and how it comes back: no server needed."""

from __future__ import annotations

from typing import cast

import anyio
import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from app.errors import ConfigError, StoreUnavailable
from app.store.redis_server import FAILURES, RedisServer, connect


class Scripted:
    """A client whose server is up or down as told."""

    def __init__(self) -> None:
        self.is_up = False
        self.asked = 0

    async def ping(self) -> bool:
        self.asked += 1
        if not self.is_up:
            raise RedisConnectionError("down")
        return True


def scripted() -> tuple[RedisServer, Scripted]:
    client = Scripted()
    return RedisServer(cast("Redis", client), patience=0.05), client


async def ping(client: Redis) -> object:
    return await client.ping()


async def fail(server: RedisServer, times: int) -> None:
    for _ in range(times):
        with pytest.raises(StoreUnavailable):
            await server.ask(ping)


async def test_after_failures_in_a_row_it_is_not_asked_any_more() -> None:
    server, client = scripted()
    await fail(server, FAILURES + 5)
    assert not server.is_alive
    assert client.asked == FAILURES


async def test_a_success_between_failures_keeps_it_alive() -> None:
    server, client = scripted()
    for _ in range(5):
        await fail(server, FAILURES - 1)
        client.is_up = True
        await server.ask(ping)
        client.is_up = False
    assert server.is_alive


async def test_a_silent_server_fails_in_time() -> None:
    server, _ = scripted()

    async def hang(_: Redis) -> None:
        await anyio.sleep_forever()

    with anyio.fail_after(5), pytest.raises(StoreUnavailable):
        await server.ask(hang)


async def test_a_server_that_refuses_is_unavailable_but_not_dead() -> None:
    server, _ = scripted()

    async def refuse(_: Redis) -> None:
        raise ResponseError("OOM command not allowed")

    for _ in range(FAILURES + 1):
        with pytest.raises(StoreUnavailable) as caught:
            await server.ask(refuse)
        assert "OOM" not in caught.value.message
    assert server.is_alive


async def test_it_comes_back_by_itself() -> None:
    server, client = scripted()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.watch)
        await fail(server, FAILURES)
        assert not server.is_alive
        client.is_up = True
        with anyio.fail_after(5):
            while not server.is_alive:  # noqa: ASYNC110 (there is no event to wait for)
                await anyio.sleep(0.01)
        assert await server.ask(ping)
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("url", ["", "http://user:s3cret@host", "s3cret"])
def test_what_is_no_address_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ConfigError, match="REDIS_URL") as caught:
        connect(url)
    assert "s3cret" not in caught.value.message
