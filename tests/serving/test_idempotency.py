"""Keyed requests: who joins whom, what is kept, when a run is given up."""

from __future__ import annotations

import anyio
import pytest

from app.errors import IdempotencyKeyReused
from app.serving.idempotency import KEPT_FOR, MAX_KEPT, Flight, Repeats, Reply, fingerprint_of
from app.store.memory import MemoryCache

GOOD = Reply(200, {"content-type": "application/json"}, b'{"a":\n"b"}')
ONE, OTHER = fingerprint_of(b"one"), fingerprint_of(b"other")


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def repeats() -> tuple[Repeats, Time]:
    time = Time()
    return Repeats(MemoryCache(time)), time


async def answered(at: Repeats, reply: Reply | None = GOOD, caller: str = "ann") -> None:
    with at.flight(caller, "k", ONE) as flight:
        flight.reply = reply
        await at.keep(caller, "k", flight)


async def test_a_request_under_way_is_found_until_it_is_over() -> None:
    at, _ = repeats()
    assert await at.find("ann", "k", ONE) is None
    with at.flight("ann", "k", ONE) as flight:
        assert await at.find("ann", "k", ONE) is flight
        assert not flight.landed.is_set()
    assert flight.landed.is_set()
    assert await at.find("ann", "k", ONE) is None


async def test_a_good_answer_is_given_again_until_its_time_is_over() -> None:
    at, time = repeats()
    await answered(at)
    time.now = KEPT_FOR - 1
    assert await at.find("ann", "k", ONE) == GOOD
    time.now = KEPT_FOR
    assert await at.find("ann", "k", ONE) is None


@pytest.mark.parametrize(
    "reply", [None, Reply(502, {}, b"{}"), Reply(200, {}, b" " * (MAX_KEPT + 1))]
)
async def test_failures_and_giants_are_not_kept(reply: Reply | None) -> None:
    at, _ = repeats()
    await answered(at, reply)
    assert await at.find("ann", "k", ONE) is None


async def test_another_body_under_the_same_key_is_refused() -> None:
    at, _ = repeats()
    with at.flight("ann", "k", ONE), pytest.raises(IdempotencyKeyReused):
        await at.find("ann", "k", OTHER)
    await answered(at)
    with pytest.raises(IdempotencyKeyReused):
        await at.find("ann", "k", OTHER)


async def test_callers_and_keys_do_not_meet() -> None:
    at, _ = repeats()
    await answered(at)
    assert await at.find("bob", "k", ONE) is None
    assert await at.find("ann", "K", ONE) is None
    with at.flight("ann", "l", ONE):
        assert await at.find("bob", "l", OTHER) is None


async def test_a_flight_is_abandoned_only_when_nobody_waits() -> None:
    flight, given_up = Flight(ONE), anyio.Event()

    async def wait() -> None:
        await flight.abandoned(patience=0)
        given_up.set()

    async with anyio.create_task_group() as tasks:
        with flight.waited_for():
            tasks.start_soon(wait)
            with flight.waited_for():
                await anyio.wait_all_tasks_blocked()
            await anyio.wait_all_tasks_blocked()
            assert not given_up.is_set()
        with anyio.fail_after(5):
            await given_up.wait()


async def test_who_comes_back_in_time_keeps_it_going() -> None:
    flight, given_up = Flight(ONE), anyio.Event()

    async def wait() -> None:
        await flight.abandoned(patience=3600)
        given_up.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        with flight.waited_for():
            await anyio.wait_all_tasks_blocked()
        await anyio.wait_all_tasks_blocked()
        assert not given_up.is_set()
        tasks.cancel_scope.cancel()


def test_a_fingerprint_knows_where_its_parts_end() -> None:
    assert fingerprint_of(b"ab", b"c") != fingerprint_of(b"a", b"bc")
