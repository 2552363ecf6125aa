"""Who is let in, what is set aside for a request, and what is booked when it has ended."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import anyio
import pytest

from app.access.caller import Caller, Limits, Team, VirtualKey
from app.access.ledger import Claim, Reservation, Settlement, reservation_of
from app.access.limiter import Check, Verdict
from app.errors import BudgetReached, Forbidden, RateLimited, StoreUnavailable
from app.protocol.chat import ChatRequest, Conversation
from app.protocol.usage import Usage
from app.record import Outcome, Price, RunRecord, Step, Target
from app.serving import admission as module
from app.serving.admission import Admission, Entry, Policy, Wanted
from app.serving.runtime import runtime_of
from app.store.limits_memory import MemoryLimiter
from app.upstream.fake import FakeModel
from tests.engine.graphs import question

NOW = datetime(2026, 11, 24, 12, 30, tzinfo=UTC)
PRICE = Price(Decimal(1), Decimal(10))


class Books:
    """A ledger that remembers; `budget` is what may be set aside in all."""

    def __init__(self, budget: int = 10**18) -> None:
        self.budget = budget
        self.claims: list[Claim] = []
        self.settled: list[Settlement] = []
        self.is_away = self.is_full = False

    async def reserve(self, claim: Claim) -> Reservation:
        if self.is_away:
            raise StoreUnavailable("away")
        if claim.amount > self.budget:
            raise BudgetReached("spent")
        self.claims.append(claim)
        return reservation_of(claim)

    def settle(self, settlement: Settlement) -> None:
        self.settled.append(settlement)

    @property
    def has_room(self) -> bool:
        return not self.is_full

    async def room(self) -> None:
        if self.is_full:
            await anyio.sleep_forever()

    async def drain(self) -> None:
        """Nothing waits here."""


class DeadLimiter(MemoryLimiter):
    async def take(self, *_: object) -> Verdict:
        raise StoreUnavailable("away")


def key(limits: Limits, team: Limits | None = None) -> Caller:
    group = Team("t", "research", NOW, team) if team else None
    return Caller("digest", VirtualKey("k", "ada", "moa-abc", NOW, group, limits))


def record(run_id: str = "run") -> RunRecord:
    return RunRecord(run_id, "a", iter(range(10**6)).__next__)


def wanted(price: Price | None = PRICE, *prompts: str, **params: object) -> Wanted:
    runtime = runtime_of({"a": FakeModel("a")})
    runtime.__dict__["prices"] = {"a": price}  # what a pool of the assembly would say
    texts = prompts or ("abc" * 10,)
    requests = [question(text, **{"max_tokens": 100, **params}) for text in texts]
    return Wanted(runtime, runtime.resolve("a"), requests, 60.0)


def entry(
    who: Caller | None,
    *,
    books: Books | None = None,
    limiter: MemoryLimiter | None = None,
    policy: Policy | None = None,
    asks: Wanted | None = None,
    run: RunRecord | None = None,
) -> Entry:
    admission = Admission(books, limiter, policy or Policy(), now=lambda: NOW)
    return Entry(admission, asks or wanted(), who, run or record())


def spend(run: RunRecord, usage: Usage, price: Price | None = PRICE) -> None:
    step = Step(run)
    step.end(step.begin(Target("a", "up", "m", price)), Outcome.OK, usage=usage)
    run.close(Outcome.OK)


async def test_a_budget_is_asked_for_the_worst_case_and_answers_are_capped() -> None:
    books = Books()
    one = entry(key(Limits(budget=Decimal(5), budget_window="day")), books=books)
    await one.admit()
    prompt = one.wanted.requests[0].conversation.tokens
    (claim,) = books.claims
    assert claim.amount == prompt * 10**6 + 100 * 10**7
    assert claim.key_budget is not None
    assert claim.key_budget.limit == 5 * 10**12
    assert one.run.is_reserved


async def test_several_conversations_in_one_request_are_paid_for_each_by_its_length() -> None:
    texts, limits = ("a", "abc" * 1_000, "abc" * 50_000), Limits(budget=Decimal(5))
    together, alone = Books(), Books()
    await entry(key(limits), books=together, asks=wanted(PRICE, *texts)).admit()
    for text in texts:
        await entry(key(limits), books=alone, asks=wanted(PRICE, text)).admit()
    assert together.claims[0].amount == sum(claim.amount for claim in alone.claims)


async def test_texts_to_embed_are_part_of_what_is_set_aside() -> None:
    books = Books()
    price = Price(Decimal(1), Decimal(0))
    asks = replace(wanted(price), requests=[ChatRequest(Conversation(()), {"input": "abc" * 900})])
    await entry(key(Limits(budget=Decimal(5))), books=books, asks=asks).admit()
    assert books.claims[0].amount == 900 * 10**6


async def test_without_a_budget_the_request_is_opened_in_the_books_at_no_amount() -> None:
    books = Books()
    one = entry(key(Limits(requests_per_minute=5)), books=books, limiter=MemoryLimiter())
    await one.admit()
    assert [claim.amount for claim in books.claims] == [0]
    assert not one.run.is_reserved


async def test_a_static_key_waits_for_no_commit_and_is_booked_all_the_same() -> None:
    books = Books()
    one = entry(Caller("static"), books=books)
    await one.admit()
    spend(one.run, Usage(10, 20))
    await one.close()
    assert books.claims == []
    assert [settled.cost for settled in books.settled] == [10 * 10**6 + 20 * 10**7]


async def test_what_a_run_came_to_is_booked_once_with_its_ending() -> None:
    books = Books()
    one = entry(key(Limits(budget=Decimal(5))), books=books)
    await one.admit()
    spend(one.run, Usage(10, 20))
    await one.close()
    (settled,) = books.settled
    assert settled.outcome == "ok"
    assert settled.ended == NOW.timestamp()
    assert settled.reservation.amount == books.claims[0].amount


async def test_who_was_refused_is_not_booked_and_gets_its_tokens_and_place_back() -> None:
    books, limiter = Books(budget=0), MemoryLimiter()
    limits = Limits(tokens_per_minute=1_000, concurrent=1, budget=Decimal(1))
    for _ in range(3):
        one = entry(key(limits), books=books, limiter=limiter)
        with pytest.raises(BudgetReached):
            await one.admit()
        await one.close()
    assert books.settled == []
    after = entry(key(replace(limits, budget=None)), limiter=limiter)
    await after.admit()
    assert after.ticket.headers()["x-ratelimit-remaining-tokens"] == str(1_000 - _worst(after))


async def test_key_and_team_are_limited_together_and_the_nearer_one_is_told() -> None:
    limiter = MemoryLimiter()
    who = key(Limits(requests_per_minute=10), Limits(requests_per_minute=2))
    for left in ("1", "0"):
        one = entry(who, limiter=limiter)
        await one.admit()
        assert one.ticket.headers()["x-ratelimit-limit-requests"] == "2"
        assert one.ticket.headers()["x-ratelimit-remaining-requests"] == left
    third = entry(who, limiter=limiter)
    with pytest.raises(RateLimited, match="This team may send 2 requests per minute") as caught:
        await third.admit()
    assert caught.value.retry_after is not None
    assert 0 < caught.value.retry_after <= 61
    assert third.ticket.headers()["x-ratelimit-remaining-requests"] == "0"


async def test_tokens_are_corrected_to_what_was_used() -> None:
    limiter, who = MemoryLimiter(), key(Limits(tokens_per_minute=1_000))
    one = entry(who, limiter=limiter)
    await one.admit()
    spend(one.run, Usage(3, 4))
    await one.close()
    two = entry(who, limiter=limiter)
    await two.admit()
    assert two.ticket.headers()["x-ratelimit-remaining-tokens"] == str(1_000 - 7 - _worst(two))


async def test_a_worst_case_above_the_whole_limit_takes_all_of_it() -> None:
    limiter, who = MemoryLimiter(), key(Limits(tokens_per_minute=50))
    one, two = entry(who, limiter=limiter), entry(who, limiter=limiter)
    await one.admit()
    with pytest.raises(RateLimited):
        await two.admit()
    await one.close()
    await entry(who, limiter=limiter).admit()


async def test_a_place_is_free_once_the_request_that_had_it_is_over_even_if_cancelled() -> None:
    limiter, who = MemoryLimiter(), key(Limits(concurrent=1))
    one = entry(who, limiter=limiter)
    await one.admit()
    with pytest.raises(RateLimited, match="at the same time") as caught:
        await entry(who, limiter=limiter).admit()
    assert caught.value.retry_after
    with anyio.CancelScope() as scope:
        scope.cancel()
        await one.close()
    await entry(who, limiter=limiter).admit()


@pytest.mark.parametrize("mode", ["open", "closed"])
async def test_a_dead_store_refuses_or_lets_in_as_the_operator_wants(mode) -> None:
    books = Books()
    books.is_away = True
    policy = Policy(on_store_failure=mode)
    who = key(Limits(requests_per_minute=1, budget=Decimal(1)))
    limited = entry(who, limiter=DeadLimiter(), policy=policy)
    booked = entry(who, books=books, policy=policy)
    if mode == "closed":
        for one in (limited, booked):
            with pytest.raises(StoreUnavailable):
                await one.admit()
        return
    for one in (limited, booked):
        await one.admit()
        spend(one.run, Usage(1, 1))
        await one.close()
    assert [settled.reservation.amount > 0 for settled in books.settled] == [True]


async def test_nobody_waits_for_ever_where_no_more_can_be_booked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    books = Books()
    books.is_full = True
    with pytest.raises(StoreUnavailable):
        await entry(Caller("static"), books=books).admit()


@pytest.mark.parametrize(
    ("policy", "counts"),
    [("allow", False), ("assume_max", True)],
)
async def test_an_unknown_price_counts_as_nothing_or_as_the_dearest(policy, *, counts) -> None:
    books, asks = Books(), wanted(None)
    asks.runtime.__dict__["prices"] = {"a": None, "b": PRICE}
    one = entry(
        key(Limits(budget=Decimal(1))), books=books, policy=Policy(unknown_price=policy), asks=asks
    )
    await one.admit()
    worst = asks.requests[0].conversation.tokens * 10**6 + 100 * 10**7
    assert books.claims[0].amount == counts * worst
    spend(one.run, Usage(10, 20), price=None)
    await one.close()
    assert books.settled[0].cost == counts * (10 * 10**6 + 20 * 10**7)


async def test_an_unknown_price_is_refused_for_a_key_with_a_budget_where_that_is_wanted() -> None:
    policy = Policy(unknown_price="deny")
    with pytest.raises(Forbidden, match="price of a is not known"):
        await entry(
            key(Limits(budget=Decimal(1))), books=Books(), policy=policy, asks=wanted(None)
        ).admit()
    await entry(key(Limits()), books=Books(), policy=policy, asks=wanted(None)).admit()


def _worst(one: Entry) -> int:
    check = next(check for check in one.ticket.checks if check.kind == "tokens")
    assert isinstance(check, Check)
    return check.amount
