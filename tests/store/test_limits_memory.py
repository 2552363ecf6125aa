"""Limits counted in memory: the rules all limiters share, and that nothing piles up."""

from __future__ import annotations

import math

from hypothesis import example, given
from hypothesis import strategies as st

from app.access.limiter import Check
from app.store.limits_memory import MemoryLimiter
from tests.store.limits_suite import (
    NOTHING_AND_THEN_SOME,
    PAUSES,
    Hand,
    a_lease_runs_out_by_itself,
    a_refused_request_counts_for_nobody,
    behaves_like_the_model,
    never_more_in_any_minute,
    steps,
    waiting_as_told_is_enough_and_less_is_not,
)


def limiter() -> tuple[MemoryLimiter, Hand]:
    hand = Hand()
    return MemoryLimiter(hand), hand


def request(scope: str = "key:a", limit: int = 2) -> list[Check]:
    return [Check(scope, "requests", limit, 1), Check(scope, "concurrent", 10, 1)]


@given(steps())
@example(NOTHING_AND_THEN_SOME)
async def test_it_behaves_like_the_model(each: list[object]) -> None:
    await behaves_like_the_model(*limiter(), each)


@given(PAUSES, st.integers(1, 5))
async def test_never_more_than_the_limit_in_any_minute(pauses: list[float], limit: int) -> None:
    await never_more_in_any_minute(*limiter(), pauses, limit)


@given(PAUSES, st.integers(1, 10))
async def test_waiting_as_told_is_enough_and_less_is_not(pauses: list[float], amount: int) -> None:
    await waiting_as_told_is_enough_and_less_is_not(*limiter(), pauses, amount)


async def test_a_refused_request_counts_for_nobody() -> None:
    await a_refused_request_counts_for_nobody(limiter()[0])


async def test_a_lease_runs_out_by_itself() -> None:
    await a_lease_runs_out_by_itself(*limiter())


async def test_more_than_the_limit_at_once_can_never_pass() -> None:
    verdict = await limiter()[0].take("big", [Check("key:a", "tokens", 10, 11)], 1)
    assert (verdict.allowed, verdict.retry_after) == (False, math.inf)


async def test_what_is_used_no_more_is_forgotten() -> None:
    counts, hand = limiter()
    for at in range(50):
        await counts.take(f"r{at}", request(f"key:{at}"), 30)
    assert len(counts) == 100
    hand.now += 130
    await counts.take("next", request("key:next"), 30)
    assert len(counts) == 2
