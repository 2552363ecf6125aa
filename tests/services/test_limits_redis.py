"""Limits counted on a real Redis: the rules all limiters share, and exactness among processes."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import anyio
import pytest
from anyio.abc import Process
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from app.access.limiter import Check
from app.store.limits_redis import RedisLimiter
from app.store.redis import RedisStores, open_redis
from tests.services.hammer import AMOUNT, PLACES, REQUESTS, ROUNDS, TOKENS, WORKERS
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

pytestmark = pytest.mark.services
ROOT = Path(__file__).parents[2]
some_examples = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
async def stores(redis_url: str) -> AsyncIterator[RedisStores]:
    async with anyio.create_task_group() as tasks, open_redis(redis_url, tasks) as opened:
        yield opened


def fresh(stores: RedisStores, clock: Callable[[], float] | None) -> RedisLimiter:
    """One that has counted nothing yet."""
    return RedisLimiter(stores.scripts, clock=clock, prefix=f"test:{{{uuid4()}}}:")


@some_examples
@given(steps())
@example(NOTHING_AND_THEN_SOME)
async def test_it_behaves_like_the_model(stores: RedisStores, each: list[object]) -> None:
    hand = Hand()
    await behaves_like_the_model(fresh(stores, hand), hand, each)


@some_examples
@given(PAUSES, st.integers(1, 5))
async def test_never_more_than_the_limit_in_any_minute(
    stores: RedisStores, pauses: list[float], limit: int
) -> None:
    hand = Hand()
    await never_more_in_any_minute(fresh(stores, hand), hand, pauses, limit)


@some_examples
@given(PAUSES, st.integers(1, 10))
async def test_waiting_as_told_is_enough_and_less_is_not(
    stores: RedisStores, pauses: list[float], amount: int
) -> None:
    hand = Hand()
    await waiting_as_told_is_enough_and_less_is_not(fresh(stores, hand), hand, pauses, amount)


async def test_a_refused_request_counts_for_nobody(stores: RedisStores) -> None:
    await a_refused_request_counts_for_nobody(fresh(stores, None))


async def test_a_lease_runs_out_by_itself(stores: RedisStores) -> None:
    hand = Hand()
    await a_lease_runs_out_by_itself(fresh(stores, hand), hand)


async def test_time_is_the_servers_and_nothing_is_kept_for_ever(stores: RedisStores) -> None:
    scope = f"key:{uuid4()}"
    kinds = ("requests", "tokens", "concurrent")
    before = await stores.server.client.time()
    verdict = await stores.limiter.take("r", [Check(scope, kind, 9, 1) for kind in kinds], 20)
    after = await stores.server.client.time()
    assert before[0] - 1 <= verdict.taken_at <= after[0] + 1
    for kind in kinds:
        lives = await stores.server.client.ttl(f"moa:{{limits}}:{kind}:{scope}")
        assert 0 < lives <= 62


async def test_a_clock_that_went_back_a_little_lets_nobody_in_twice(stores: RedisStores) -> None:
    hand = Hand()
    limiter, asked = fresh(stores, hand), [Check("key:a", "requests", 1, 1)]
    assert (await limiter.take("r1", asked, 1)).allowed
    hand.now -= 20
    assert not (await limiter.take("r2", asked, 1)).allowed
    hand.now += 20 + 59
    assert not (await limiter.take("r3", asked, 1)).allowed


async def test_a_clock_that_went_back_far_locks_nobody_out(stores: RedisStores) -> None:
    hand = Hand()
    limiter, asked = fresh(stores, hand), [Check("key:a", "requests", 1, 1)]
    assert (await limiter.take("r1", asked, 1)).allowed
    hand.now -= 86_400
    assert (await limiter.take("r2", asked, 1)).allowed


async def test_two_processes_at_once_are_let_in_as_often_as_allowed(redis_url: str) -> None:
    (one, _), (other, _) = await hammer(redis_url, str(uuid4()), "rate")
    assert one + other == min(REQUESTS, TOKENS // AMOUNT)


async def test_two_processes_at_once_never_have_more_under_way_than_allowed(
    redis_url: str, stores: RedisStores
) -> None:
    run = str(uuid4())
    (one, most), (other, more) = await hammer(redis_url, run, "places")
    assert one == other == WORKERS * ROUNDS
    assert 1 < max(most, more) <= PLACES
    left = await stores.limiter.take("r", [Check(f"team:{run}", "concurrent", PLACES, 1)], 60)
    assert left.remaining[f"team:{run}", "concurrent"] == PLACES - 1


async def hammer(url: str, run: str, what: str) -> list[tuple[int, int]]:
    """What each of two processes reports."""
    async with hammering(url, run, what) as one, hammering(url, run, what) as other:
        return [await report(one), await report(other)]


@asynccontextmanager
async def hammering(url: str, run: str, what: str) -> AsyncIterator[Process]:
    command = [sys.executable, "-m", "tests.services.hammer", url, run, what]
    async with await anyio.open_process(command, cwd=ROOT, stderr=None) as process:
        yield process


async def report(process: Process) -> tuple[int, int]:
    assert process.stdout is not None
    with anyio.fail_after(60):
        allowed, most = (await process.stdout.receive()).split()
    return int(allowed), int(most)
