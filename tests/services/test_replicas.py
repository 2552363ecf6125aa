"""Two servers on one PostgreSQL and one Redis, both hammered at once: they act as one gateway."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import datetime

import anyio
import httpx
import pytest

from app.upstream.fake_server import Reply
from tests.e2e.crowd import BILLED, PER_CALL, Answer, ask, body_of, until
from tests.e2e.crowd import bearing as crowd_of
from tests.services.replicas import Pair, tell

pytestmark = pytest.mark.services
CLIENTS = 12
"""At each of the two."""
PER_MINUTE = 150
PLACES, ROUNDS = 7, 5
SOON = 20.0
A_SECOND = 1.0


async def allowed_in_all(pair: Pair, secrets: list[str], expected: int) -> int:
    """Crowds until as many were allowed as should be, and two more crowds after that."""
    allowed = more = 0
    with anyio.fail_after(SOON):
        while allowed < expected or more < 2:
            more += allowed >= expected
            answers = await pair.crowd(secrets, 2 * CLIENTS)
            assert {each.status for each in answers} <= {200, 429}, answers
            allowed += sum(each.status == httpx.codes.OK for each in answers)
    return allowed


async def worst_case(pair: Pair) -> int:
    """Picodollars that are set aside for a request of these."""
    key = pair.key(budget=1)
    assert (await pair.ask(key["key"])).status == httpx.codes.OK

    async def is_booked() -> bool:
        return bool((await pair.books()).of_key(key["id"]))

    await until(is_booked, SOON)
    rows = (await pair.books()).of_key(key["id"])
    assert PER_CALL == rows[0]["cost"] < rows[0]["reserved"]
    return int(rows[0]["reserved"])


@pytest.mark.parametrize("owner", ["key", "team"])
async def test_a_budget_is_kept_to_the_last_request_that_fits(pair: Pair, owner: str) -> None:
    """The last to be let in finds n - 1 paid requests and room for its worst case."""
    worst = await worst_case(pair)
    budget = 100 * PER_CALL + worst
    fits = (budget - worst) // PER_CALL + 1
    secrets = pair.keys_under(owner, budget=budget / 10**12)
    pair.upstream.log.clear()
    allowed = await allowed_in_all(pair, secrets, fits)
    answered = len(pair.upstream.log.entries)
    tell(f"| budget of a {owner} | {fits} | {allowed} | {answered} |")
    assert allowed == answered == fits
    refused = await pair.ask(secrets[0])
    assert (refused.status, refused.code) == (429, "insufficient_quota")
    books = await pair.books()
    books.check()
    spent = [row["spent"] for row in books.budgets if row["scope"].startswith(f"{owner}:")]
    assert fits * PER_CALL in spent


@pytest.mark.parametrize("owner", ["key", "team"])
async def test_of_a_crowd_at_an_untouched_budget_as_many_get_in_as_fit(
    pair: Pair, owner: str
) -> None:
    """Both servers read it before either has set anything aside, if they do not take turns."""
    budget = 7 * await worst_case(pair) // 2
    pair.upstream.default = Reply(after=-1, then="gate")
    seen = [
        await answered_while_the_gate_is_shut(pair, pair.keys_under(owner, budget=budget / 10**12))
        for _ in range(2 * ROUNDS)
    ]
    tell(f"| a new budget of a {owner}, {2 * ROUNDS} times | 3 | {seen} | {seen} |")
    assert seen == [3] * len(seen)


@pytest.mark.parametrize("owner", ["key", "team"])
async def test_requests_per_minute_are_allowed_to_the_last_one(pair: Pair, owner: str) -> None:
    secrets = pair.keys_under(owner, requests_per_minute=PER_MINUTE)
    allowed = await allowed_in_all(pair, secrets, PER_MINUTE)
    answered = len(pair.upstream.log.entries)
    tell(f"| requests/min of a {owner} | {PER_MINUTE} | {allowed} | {answered} |")
    assert allowed == answered == PER_MINUTE


@pytest.mark.parametrize("owner", ["key", "team"])
async def test_tokens_per_minute_are_given_to_the_last_request_that_fits(
    pair: Pair, owner: str
) -> None:
    """140 tokens are counted for each that ended, its worst case for one that is let in."""
    key = pair.key(tokens_per_minute=10_000)
    headers = {"authorization": f"Bearer {key['key']}"}
    told = await pair.clients[0].post(
        "/v1/chat/completions", json=body_of("ask-00000"), headers=headers
    )
    worst = 10_000 - int(told.headers["x-ratelimit-remaining-tokens"])
    per_request, fits = BILLED.prompt_tokens + 40, 80
    assert worst > per_request
    most = (fits - 1) * per_request + worst
    secrets = pair.keys_under(owner, tokens_per_minute=most)
    pair.upstream.log.clear()
    allowed = await allowed_in_all(pair, secrets, fits)
    answered = len(pair.upstream.log.entries)
    tell(f"| tokens/min of a {owner} ({most}) | {fits} | {allowed} | {answered} |")
    assert allowed == answered == fits


@pytest.mark.parametrize("owner", ["key", "team"])
async def test_so_many_are_under_way_at_once_in_both_together(pair: Pair, owner: str) -> None:
    secrets = pair.keys_under(owner, concurrent=PLACES)
    pair.upstream.default = Reply(after=-1, then="gate")
    seen = [await answered_while_the_gate_is_shut(pair, secrets) for _ in range(ROUNDS)]
    tell(f"| under way at once of a {owner}, {ROUNDS} times | {PLACES} | {seen} | {seen} |")
    assert seen == [PLACES] * ROUNDS


async def answered_while_the_gate_is_shut(pair: Pair, secrets: list[str]) -> int:
    """How many of a crowd reach the upstream before the others are refused."""
    log = pair.upstream.log
    log.clear()
    answers: list[Answer] = []

    async def others_are_refused() -> bool:
        return len(answers) + len(log.entries) >= 2 * CLIENTS

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pair.crowd, secrets, 2 * CLIENTS, answers)
        await until(others_are_refused, SOON)
        pair.upstream.open_gate()
    allowed = sum(each.status == httpx.codes.OK for each in answers)
    assert len(log.entries) == allowed
    return allowed


async def test_a_revoked_key_is_refused_by_the_other_within_a_second(pair: Pair) -> None:
    key = pair.key()
    assert {each.status for each in await pair.crowd([key["key"]], 4)} == {200}
    assert pair.admin.delete(f"/admin/keys/{key['id']}").status_code == httpx.codes.OK
    done = time.monotonic()
    seconds = await refused_after(pair.clients[1], key["key"], done)
    tell(f"| revocation, with Redis | < 1 s | {seconds * 1000:.0f} ms | |")
    assert seconds < A_SECOND


async def test_so_it_is_without_redis_when_the_terminal_revokes(pair: Pair) -> None:
    database = pair.stores["DATABASE_URL"]
    server = pair.start(REDIS_URL="")
    key = pair.key()
    async with crowd_of(server.url) as client:
        assert (await ask(client, key["key"], "ask-0")).status == httpx.codes.OK
        command = [sys.executable, "-m", "app", "keys", "revoke", key["name"], "--json"]
        environ = {**os.environ, "DATABASE_URL": database}
        with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE) as process:  # noqa: S603, ASYNC220 (ours)
            await refused_after(client, key["key"], time.monotonic())
            now = time.time()
            process.wait(SOON)
    told = pair.admin.get(f"/admin/keys/{key['id']}").json()["revoked"]
    seconds = now - datetime.fromisoformat(told).timestamp()
    tell(f"| revocation by the CLI, PostgreSQL alone | < 1 s | {seconds * 1000:.0f} ms | |")
    assert 0 < seconds < A_SECOND
    assert server.stop(signal.SIGTERM) == 0


async def refused_after(client: httpx.AsyncClient, secret: str, since: float) -> float:
    async def is_refused() -> bool:
        return (await ask(client, secret, "ask-0")).status == httpx.codes.UNAUTHORIZED

    await until(is_refused, SOON)
    return time.monotonic() - since


async def test_a_repeated_request_is_answered_by_the_other_without_asking_again(pair: Pair) -> None:
    headers = {"authorization": f"Bearer {pair.key()['key']}", "idempotency-key": "once"}
    body = {"model": "a", "messages": [{"role": "user", "content": "ask-0"}]}
    first, second = [
        await client.post("/v1/chat/completions", json=body, headers=headers)
        for client in pair.clients
    ]
    assert first.status_code == httpx.codes.OK
    assert second.content == first.content
    assert len(pair.upstream.log.entries) == 1


async def test_a_stored_response_is_found_and_continued_at_the_other(pair: Pair) -> None:
    one, other = pair.clients
    headers = {"authorization": f"Bearer {pair.key()['key']}"}
    stored = (
        await one.post("/v1/responses", json={"model": "a", "input": "ask-1"}, headers=headers)
    ).json()
    found = await other.get(f"/v1/responses/{stored['id']}", headers=headers)
    assert found.json() == stored
    more = {"model": "a", "input": "ask-2", "previous_response_id": stored["id"]}
    assert (await other.post("/v1/responses", json=more, headers=headers)).status_code == 200
    assert "ask-1" in str(pair.upstream.log.entries[-1].body)


async def test_what_proposers_answered_one_is_not_asked_again_by_the_other(pair: Pair) -> None:
    secret = pair.key()["key"]
    asked = []
    for client in pair.clients:
        assert (await ask(client, secret, "ask-0", model="kept")).status == httpx.codes.OK
        asked.append(len(pair.upstream.log.entries))
    assert asked == [3, 4]


async def test_two_workers_with_redis_show_whole_metrics_and_share_limits(pair: Pair) -> None:
    secret = pair.key(requests_per_minute=40)["key"]
    scraper = pair.key(rights=["read_metrics"])["key"]
    server = pair.start("--workers", "2")
    statuses: list[int] = []

    async def one(number: int) -> None:
        async with crowd_of(server.url) as client:
            statuses.append((await ask(client, secret, f"ask-{number}")).status)

    async with anyio.create_task_group() as tasks:
        for number in range(80):
            tasks.start_soon(one, number)
    headers = {"authorization": f"Bearer {scraper}"}
    async with crowd_of(server.url) as client:
        shown = {(await client.get("/metrics", headers=headers)).text for _ in range(4)}
    counted = [
        sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(start))
        for text in shown
        for start in ('moa_requests_total{graph="a",outcome="ok"}', "moa_requests_total{")
    ]
    asked = len(pair.upstream.log.entries)
    tell(f"| requests/min over two workers | 40 | {statuses.count(200)} | {asked} |")
    assert statuses.count(200) == asked == 40
    assert counted == [40, 80] * len(shown)
    assert server.stop(signal.SIGTERM) == 0
