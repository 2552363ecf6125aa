"""Servers of a test module's own, to pause, kill and start again, and two gateways on them."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest

from tests.e2e.books import bearing, first_key
from tests.e2e.crowd import BILLED
from tests.e2e.crowd import bearing as crowd_of
from tests.services.install import install
from tests.services.replicas import Pair, make_tables, replicas
from tests.services.servers import PostgresProcess, RedisProcess


@pytest.fixture(scope="module")
def _redis_process() -> Iterator[RedisProcess]:
    install("redis-server")
    with RedisProcess() as server:
        yield server


@pytest.fixture(scope="module")
def _postgres_process() -> Iterator[PostgresProcess]:
    install("postgresql")
    with PostgresProcess() as server:
        yield server


@pytest.fixture
def redis_server(_redis_process: RedisProcess) -> Iterator[RedisProcess]:
    """A Redis; whatever the test did to it, it runs again for the next."""
    yield _redis_process
    _mend(_redis_process)


@pytest.fixture
def postgres_server(_postgres_process: PostgresProcess) -> Iterator[PostgresProcess]:
    """A PostgreSQL; whatever the test did to it, it runs again for the next."""
    yield _postgres_process
    _mend(_postgres_process)


def _mend(server: RedisProcess | PostgresProcess) -> None:
    if server.is_running:
        server.resume()
    else:
        server.start()


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis that nobody kills: the one of the whole run, or one of our own."""
    if url := os.environ.get("MOA_TEST_REDIS"):
        yield url
        return
    install("redis-server")
    with RedisProcess() as server:
        yield server.url


@pytest.fixture(scope="module")
def _servers(
    _redis_process: RedisProcess,
    _postgres_process: PostgresProcess,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Pair]:
    stores = {"DATABASE_URL": _postgres_process.url, "REDIS_URL": _redis_process.url}
    make_tables(_postgres_process.url)
    admin = first_key(_postgres_process.url)
    with replicas(tmp_path_factory.mktemp("pair"), **stores) as (start, upstream):
        servers = start(), start()
        with bearing(servers[0].url, admin) as client:
            yield Pair(servers, upstream, client, start, stores)
        for server in servers:
            assert server.stop(signal.SIGTERM) == 0


@pytest.fixture
async def pair(_servers: Pair) -> AsyncIterator[Pair]:
    """Two servers on one PostgreSQL and one Redis, the same for all tests of a module."""
    upstream = _servers.upstream
    upstream.reset()
    upstream.default = BILLED
    async with AsyncExitStack() as stack:
        _servers.clients = [
            await stack.enter_async_context(crowd_of(server.url)) for server in _servers.servers
        ]
        yield _servers
