"""kill -9 of the real server under load, on SQLite: after a restart the books balance."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import anyio
import pytest

from app.upstream.fake_server import FakeUpstream, running
from tests.cli.serving import Server, serving
from tests.e2e.audit import books_at
from tests.e2e.books import bearing, database_in, first_key
from tests.e2e.crowd import CONFIG
from tests.e2e.killing import SLOW, Findings, ask_until, check, make_clients

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
KILLS = 2
ANSWERS = 30
"""So many are answered before each kill."""


def kill(server: Server) -> None:
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait()


async def test_a_killed_server_leaves_books_that_balance_after_its_restart(tmp_path: Path) -> None:
    address = database_in(tmp_path)
    admin = await anyio.to_thread.run_sync(first_key, address)
    config = tmp_path / "gateway.yaml"
    with ExitStack() as stack:
        upstream = stack.enter_context(running(FakeUpstream(default=SLOW, log_size=100_000)))
        config.write_text(CONFIG.format(base_url=upstream.base_url))
        serve = stack.enter_context(serving(tmp_path))
        start = partial(serve, "--config", config, DATABASE_URL=address)
        server = start()
        with bearing(server.url, admin) as client:
            clients = make_clients(client)
        for _ in range(KILLS):
            await ask_until(clients, [server.url], ANSWERS, partial(kill, server))
            left = await books_at(address)
            left.check()
            assert left.reservations
            server = start()
            assert (await books_at(address)).reservations == []
        await ask_until(clients, [server.url], 10**6, lambda: None)
        assert all(client.is_refused for client in clients)
        assert server.stop(signal.SIGTERM) == 0
        books = await books_at(address)
        found = check(books, clients, upstream.log.entries)
    print("", Findings.HEAD, found.row(f"the only server, SQLite, {KILLS} times"), sep="\n")  # noqa: T201 (a finding)
    assert found.lost > 0
