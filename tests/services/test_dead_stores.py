"""Redis and PostgreSQL hang, die and start anew under load, in front of a server of each mode.

What callers are told then, how long they wait, when all is well again, and what the books say.
"""

from __future__ import annotations

import itertools
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio
import httpx
import pytest

from app.upstream.fake_server import FakeUpstream
from tests.cli.serving import Server
from tests.e2e.audit import Books, books_at
from tests.e2e.books import bearing, first_key
from tests.e2e.crowd import BILLED, Answer, ask, billed, made, until
from tests.e2e.crowd import bearing as crowd_of
from tests.services.replicas import make_tables, replicas, tell
from tests.services.servers import PostgresProcess, RedisProcess
from tests.services.servers import Server as Store

pytestmark = pytest.mark.services
MODES = ("closed", "open")
CLIENTS = 5
"""At the server of each mode."""
HANGING = DEAD = 2.5
"""Seconds: longer than any deadline of a question to a store."""
LONGEST = 5.0
"""Seconds of the longest request: two for the database, half a one for Redis each time it is asked,
and what two busy cores add."""
RECOVERY = 5.0
"""Seconds until every client is answered again."""
REST = 0.05
HEAD = "| store | fault | mode | answers | longest | well again after | booked |"


@dataclass
class Crowd:
    """The clients of one server, each with a key of one team; what they were told so far."""

    mode: str
    client: httpx.AsyncClient
    secrets: Sequence[str]
    answers: list[Answer] = field(default_factory=list)
    is_over: bool = False

    async def ask_on(self, secret: str) -> None:
        for number in itertools.count():
            text = f"ask-{self.mode}-{self.secrets.index(secret)}-{number}"
            answer = await ask(self.client, secret, text, model="a" if number % 4 else "duo")
            self.answers.append(answer)
            if self.is_over:
                return
            if answer.status != httpx.codes.OK:
                await anyio.sleep(REST)

    async def well_since(self, moment: float) -> float:
        """Seconds until each client had an answer to what it asked after that moment."""
        firsts: list[float | None] = []

        async def all_are_answered() -> bool:
            firsts[:] = [self._first(at, moment) for at in range(CLIENTS)]
            return all(firsts)

        await until(all_are_answered, 4 * RECOVERY)
        return max(filter(None, firsts)) - moment

    def _first(self, client: int, moment: float) -> float | None:
        prefix = f"ask-{self.mode}-{client}-"
        good = (each for each in self.answers if each.status == httpx.codes.OK)
        mine = (each for each in good if each.text.startswith(prefix) and each.began > moment)
        return next((each.ended for each in mine), None)


async def hangs(store: Store) -> float:
    store.pause()
    await anyio.sleep(HANGING)
    store.resume()
    return time.monotonic()


async def dies(store: Store) -> float:
    await anyio.to_thread.run_sync(store.kill)
    await anyio.sleep(DEAD)
    await anyio.to_thread.run_sync(store.start)
    return time.monotonic()


async def starts_anew(store: Store) -> float:
    await anyio.to_thread.run_sync(store.restart)
    return time.monotonic()


FAULTS: dict[str, Callable[[Store], Awaitable[float]]] = {
    "hangs 2.5 s (SIGSTOP)": hangs,
    "killed, back after 2.5 s": dies,
    "restarted": starts_anew,
}


@dataclass(frozen=True)
class Told:
    """What the clients of one mode were told from the fault until all was well."""

    store: str
    fault: str
    mode: str
    answers: Sequence[Answer]
    recovery: float

    @property
    def longest(self) -> float:
        return max(each.seconds for each in self.answers)

    def row(self, books: Books) -> str:
        """A line of the table; a request is booked if it has its row in the books."""
        counted = Counter((each.status, each.retry_after) for each in self.answers)
        answers = ", ".join(
            f"{count} x {status}{f' (Retry-After {wait})' if wait else ''}"
            for (status, wait), count in sorted(counted.items(), key=str)
        )
        rows = {row["request_id"] for row in books.requests}
        booked = sum(each.run_id in rows for each in self.answers)
        times = (f"{self.longest:.2f} s", f"{self.recovery:.2f} s")
        return (
            f"| {' | '.join((self.store, self.fault, self.mode, answers, *times, str(booked)))} |"
        )


async def test_a_store_that_is_away_is_survived_in_both_modes_and_nothing_is_lost(
    redis_server: RedisProcess, postgres_server: PostgresProcess, tmp_path: Path
) -> None:
    address = postgres_server.url
    await anyio.to_thread.run_sync(make_tables, address)
    admin = await anyio.to_thread.run_sync(first_key, address)
    with replicas(tmp_path, DATABASE_URL=address, REDIS_URL=redis_server.url) as (start, upstream):
        upstream.default = BILLED
        servers = [start(MOA_ON_STORE_FAILURE=mode) for mode in MODES]
        secrets = await anyio.to_thread.run_sync(partial(make_keys, servers[0], admin))
        async with crowds(servers, secrets) as asking:
            everything: list[Told] = []
            for name, store in (("Redis", redis_server), ("PostgreSQL", postgres_server)):
                for fault in FAULTS:
                    everything += await what_is_told(asking, name, fault, store)
        for server in servers:
            assert await anyio.to_thread.run_sync(server.stop, signal.SIGTERM) == 0
        books = await books_at(address)
        tell("", HEAD, *(told.row(books) for told in everything))
        check_books(books, upstream, [each for crowd in asking for each in crowd.answers])
    for told in everything:
        check_told(told)


def make_keys(server: Server, admin: str) -> dict[str, list[str]]:
    """Keys with every kind of limit, none of which is reached."""
    wide = {"budget": 1000, "requests_per_minute": 10**6, "tokens_per_minute": 10**9}
    with bearing(server.url, admin) as client:
        made(client, "/admin/teams", name="team", **wide, concurrent=1000)
        names = {mode: [f"{mode} {number}" for number in range(CLIENTS)] for mode in MODES}
        return {
            mode: [
                made(client, "/admin/keys", name=name, team="team", **wide, concurrent=100)["key"]
                for name in names[mode]
            ]
            for mode in MODES
        }


@asynccontextmanager
async def crowds(
    servers: list[Server], secrets: dict[str, list[str]]
) -> AsyncIterator[list[Crowd]]:
    """All clients ask all the time, inside; on leaving, what was asked is answered."""
    async with crowd_of(servers[0].url) as one, crowd_of(servers[1].url) as other:
        asking = [
            Crowd(mode, client, secrets[mode])
            for mode, client in zip(MODES, (one, other), strict=True)
        ]
        async with anyio.create_task_group() as tasks:
            for crowd in asking:
                for secret in crowd.secrets:
                    tasks.start_soon(crowd.ask_on, secret)
            for crowd in asking:
                await crowd.well_since(time.monotonic())
            yield asking
            for crowd in asking:
                crowd.is_over = True


async def what_is_told(asking: list[Crowd], name: str, fault: str, store: Store) -> list[Told]:
    began = time.monotonic()
    back = await FAULTS[fault](store)
    seconds = [await crowd.well_since(back) for crowd in asking]
    return [
        Told(name, fault, crowd.mode, [a for a in crowd.answers if a.ended > began], recovery)
        for crowd, recovery in zip(asking, seconds, strict=True)
    ]


def check_told(told: Told) -> None:
    statuses = {each.status for each in told.answers}
    assert statuses <= ({200} if told.mode == "open" else {200, 503}), told
    refused = [each for each in told.answers if each.status != httpx.codes.OK]
    assert {(each.code, each.retry_after) for each in refused} <= {("store_unavailable", "1")}
    if told.mode == "closed" and told.fault != "restarted":
        assert refused
    assert told.longest < LONGEST
    assert told.recovery < RECOVERY


def check_books(books: Books, upstream: FakeUpstream, answers: list[Answer]) -> None:
    """To the picodollar what the upstream billed, request by request; nothing is left open."""
    books.check()
    assert books.reservations == []
    assert books.lost == []
    paid = billed(upstream.log.entries)
    cost = {row["request_id"]: row["cost"] for row in books.requests}
    assert len(cost) == len(books.requests)
    good = [each for each in answers if each.status == httpx.codes.OK]
    tell(
        f"{len(answers)} requests, {len(good)} answered, {len(upstream.log.entries)} calls; "
        f"billed {sum(paid.values())}, booked {books.cost} picodollars; open reservations 0"
    )
    assert {each.text for each in good} == set(paid)
    assert {each.run_id: paid[each.text] for each in good} == cost
    assert sum(paid.values()) == books.cost
