"""A crowd that asks servers which are killed under it, and what their books must say after that.

Each client has a key of its own and one request at a time, so a request that broke off is found in
the books by its key; all keys are of one team, whose budget is reached in the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import anyio
import httpx

from app.access.ledger import LOST
from app.access.money import to_pico
from app.upstream.fake_log import Asked
from app.upstream.fake_server import Reply
from tests.e2e.audit import Books
from tests.e2e.crowd import NO_ANSWER, PER_CALL, Answer, ask, bearing, billed, made, text_of

CLIENTS = 12
BUDGET = Decimal("0.16")
"""USD of the team: reached within seconds."""
SLOW = Reply(
    tokens=10, first=0.01, every=0.003, joined=False, prompt_tokens=100, completion_tokens=40
)
"""What is under way for a while, so that a kill finds calls in every state."""
PATIENCE = 60.0


@dataclass
class Client:
    """One client with its key, and what it was told."""

    key: Mapping[str, Any]
    name: int
    answers: list[Answer] = field(default_factory=list)

    @property
    def is_refused(self) -> bool:
        """Whether the budget is reached."""
        return bool(self.answers) and self.answers[-1].status == httpx.codes.TOO_MANY_REQUESTS

    async def ask_on(self, client: httpx.AsyncClient) -> None:
        """Ask until the budget is reached or the connection breaks; every second time streamed."""
        broke = False
        while not (self.is_refused or broke):
            number = len(self.answers)
            text, stream = f"ask-{self.name}-{number}", number % 2 == 0
            answer = await ask(client, self.key["key"], text, model="duo", stream=stream)
            self.answers.append(answer)
            assert answer.status in {NO_ANSWER, 200, 429}, answer
            broke = answer.status == NO_ANSWER


def make_clients(admin: httpx.Client) -> list[Client]:
    """Their keys are made over the admin API."""
    made(admin, "/admin/teams", name="team", budget=float(BUDGET))
    keys = [
        made(admin, "/admin/keys", name=f"key {name}", team="team", budget=1)
        for name in range(CLIENTS)
    ]
    return [Client(key, name) for name, key in enumerate(keys)]


async def ask_until(
    clients: Sequence[Client], urls: Sequence[str], enough: int, then: Callable[[], None]
) -> None:
    """All ask, spread over the servers; once so many were answered, `then` is called.

    Returns when everybody's connection broke or was refused.
    """
    before = sum(len(client.answers) for client in clients)
    async with AsyncExitStack() as stack:
        ways = [await stack.enter_async_context(bearing(url)) for url in urls]
        tasks = await stack.enter_async_context(anyio.create_task_group())
        for number, client in enumerate(clients):
            tasks.start_soon(client.ask_on, ways[number % len(ways)])
        with anyio.fail_after(PATIENCE):
            while sum(len(client.answers) for client in clients) < before + enough:
                if all(client.is_refused for client in clients):
                    break
                await anyio.sleep(0.002)
        then()


@dataclass(frozen=True, slots=True)
class Findings:
    """Sums of one run of kills; money in picodollars."""

    told: int
    broken: int
    broken_asked: int
    broken_booked: int
    lost: int
    billed: int
    booked: int
    budget: int

    HEAD = (
        "| kills of | answered | broke off | of those asked upstream | of those booked | estimates "
        "| billed upstream | booked | budget |"
    )

    def row(self, name: str) -> str:
        facts = (self.told, self.broken, self.broken_asked, self.broken_booked, self.lost)
        money = (f"{each / 10**12:.6f}" for each in (self.billed, self.booked, self.budget))
        return f"| {' | '.join((name, *map(str, facts), *money))} |"


def check(books: Books, clients: Sequence[Client], asked: list[Asked]) -> Findings:
    """Everything the upstream was asked is in the books, at its price or above."""
    books.check()
    assert books.reservations == []
    paid, seen = billed(asked), {text_of(each) for each in asked}
    told = [_check(books, client, paid, seen) for client in clients]
    answered, broken, served, booked = (sum(column) for column in zip(*told, strict=True))
    total, budget = sum(paid.values()), to_pico(BUDGET)
    teams = [row["spent"] for row in books.budgets if row["scope"].startswith("team:")]
    assert teams == [books.cost]
    assert total <= books.cost <= budget
    return Findings(answered, broken, served, booked, len(books.lost), total, books.cost, budget)


def _check(
    books: Books, client: Client, paid: Mapping[str, int], seen: set[str]
) -> tuple[int, int, int, int]:
    rows = {row["request_id"]: row for row in books.of_key(client.key["id"])}
    answered = [each for each in client.answers if each.status == httpx.codes.OK]
    for answer in answered:
        row = rows.pop(str(answer.run_id))
        assert paid[answer.text] == 3 * PER_CALL
        if row["outcome"] == LOST:
            assert row["cost"] >= paid[answer.text]
        else:
            assert row["cost"] == paid[answer.text]
    broken = [each.text for each in client.answers if each.status == NO_ANSWER]
    served = [text for text in broken if text in seen]
    assert len(served) <= len(rows) <= len(broken)
    assert sum(paid[text] for text in served) <= sum(row["cost"] for row in rows.values())
    return len(answered), len(broken), len(served), len(rows)
