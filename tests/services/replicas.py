"""Several `moa serve` processes on the same stores, each with a folder of its own for its log."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import httpx

from app.store.database import open_database
from app.store.migrate import upgrade
from app.upstream.fake_server import FakeUpstream, running
from tests.cli.serving import Server, serving
from tests.e2e.audit import Books, books_at
from tests.e2e.crowd import CONFIG, Answer, ask, made

_numbers = itertools.count()
Replica: TypeAlias = Callable[..., Server]


def make_tables(address: str) -> None:
    """What `moa db upgrade` does."""

    async def make() -> None:
        async with open_database(address) as database:
            await upgrade(database)

    anyio.run(make)


@contextmanager
def replicas(folder: Path, **stores: str) -> Iterator[tuple[Replica, FakeUpstream]]:
    """`start(*arguments, **variables)`: one server more, in front of one upstream for them all."""
    with ExitStack() as stack:
        upstream = stack.enter_context(running(FakeUpstream(log_size=100_000)))
        config = folder / "gateway.yaml"
        config.write_text(CONFIG.format(base_url=upstream.base_url))
        count = 0

        def start(*arguments: object, **variables: str) -> Server:
            nonlocal count
            count += 1
            own = folder / f"replica-{count}"
            own.mkdir()
            serve = stack.enter_context(serving(own))
            return serve("--config", config, *arguments, **{**stores, **variables})

        yield start, upstream


@dataclass
class Pair:
    """Two servers and an administrator at the first."""

    servers: tuple[Server, Server]
    upstream: FakeUpstream
    admin: httpx.Client
    start: Replica
    stores: dict[str, str]
    clients: list[httpx.AsyncClient] = field(default_factory=list)

    def key(self, **wanted: object) -> dict[str, Any]:
        return dict(made(self.admin, "/admin/keys", name=f"k{next(_numbers)}", **wanted))

    def team(self, **wanted: object) -> str:
        return str(made(self.admin, "/admin/teams", name=f"t{next(_numbers)}", **wanted)["name"])

    def keys_under(self, owner: str, **limits: object) -> list[str]:
        """Secrets of what is limited: one key's, or those of two keys of a team."""
        if owner == "key":
            return [self.key(team=self.team(), **limits)["key"]]
        team = self.team(**limits)
        return [self.key(team=team)["key"] for _ in range(2)]

    async def ask(self, secret: str, at: int = 0) -> Answer:
        return await ask(self.clients[at], secret, f"ask-{next(_numbers):05}")

    async def crowd(
        self, secrets: list[str], count: int, answers: list[Answer] | None = None
    ) -> list[Answer]:
        """So many requests at once, half of them at each server; answers as they come."""
        answers = [] if answers is None else answers

        async def one(number: int) -> None:
            secret = secrets[number // 2 % len(secrets)]
            answers.append(await self.ask(secret, number % 2))

        async with anyio.create_task_group() as tasks:
            for number in range(count):
                tasks.start_soon(one, number)
        return answers

    async def books(self) -> Books:
        return await books_at(self.stores["DATABASE_URL"])


def tell(*lines: str) -> None:
    """Print a finding: it is what the test was run for (`make test-services ARGS=-s`)."""
    for line in lines:
        print(line, flush=True)  # noqa: T201 (see above)
