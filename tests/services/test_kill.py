"""kill -9 of one of two servers on one PostgreSQL, under load: the other one settles its books."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from pathlib import Path

import anyio
import pytest

from tests.cli.serving import Server
from tests.e2e.audit import books_at
from tests.e2e.books import bearing, first_key
from tests.e2e.crowd import until
from tests.e2e.killing import SLOW, Findings, ask_until, check, make_clients
from tests.services.replicas import make_tables, replicas, tell
from tests.services.servers import PostgresProcess

pytestmark = pytest.mark.services
ANSWERS = 60
NOTICED = 16.0
"""Seconds: the others are looked at every ten, at a moment that comes every five."""


async def test_one_of_two_is_killed_and_the_other_settles_what_it_left(
    postgres_server: PostgresProcess, tmp_path: Path
) -> None:
    address = postgres_server.url
    await anyio.to_thread.run_sync(make_tables, address)
    admin = await anyio.to_thread.run_sync(first_key, address)
    with replicas(tmp_path, DATABASE_URL=address) as (start, upstream):
        upstream.default = SLOW
        killed, other = start(), start()
        with bearing(other.url, admin) as client:
            clients = make_clients(client)
        await ask_until(clients, [killed.url, other.url], ANSWERS, partial(kill, killed))
        died = time.monotonic()
        left = await books_at(address)
        left.check()
        assert left.reservations
        await all_settled(address)
        seconds = time.monotonic() - died
        await ask_until(clients, [other.url], 10**6, lambda: None)
        assert other.stop(signal.SIGTERM) == 0
        books = await books_at(address)
        found = check(books, clients, upstream.log.entries)
    tell("", Findings.HEAD, found.row("one of two, PostgreSQL"), f"noticed after {seconds:.1f} s")
    assert found.lost > 0


def kill(server: Server) -> None:
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait()


async def all_settled(address: str) -> None:
    async def is_settled() -> bool:
        return not (await books_at(address)).reservations

    await until(is_settled, NOTICED)
