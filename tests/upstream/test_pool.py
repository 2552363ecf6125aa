"""Which deployment of a pool is asked, and what its vitals learn of it."""

from __future__ import annotations

from collections import Counter

import anyio
import pytest

from app.errors import (
    UpstreamBusy,
    UpstreamCircuitOpen,
    UpstreamRateLimited,
    UpstreamUnavailable,
)
from app.interfaces import Abilities
from app.protocol.chat import ChatRequest
from app.upstream.fake import Script
from app.upstream.pool import Gate, Member, Pool, Tried, common_abilities
from app.upstream.spec_guards import BreakerSpec, ConcurrencySpec
from tests.upstream.pools import (
    CONVERSATION,
    QUESTION,
    UNSTREAMED,
    Asking,
    Setting,
    down,
    limited,
    seeded,
)


def keyed(key: object) -> ChatRequest:
    return ChatRequest(CONVERSATION, {"prompt_cache_key": key})


@pytest.fixture
def setting() -> Setting:
    return Setting()


async def ask(member: Member, asking: Asking, request: ChatRequest = QUESTION) -> None:
    await member.answer(request, asking.step, Gate(asking.emit))


def drawn(pool: Pool, times: int = 2000, request: ChatRequest | None = None) -> Counter[str]:
    return Counter(pool.choose(request, Tried()).name for _ in range(times))


def test_a_single_member_is_always_chosen_and_needs_no_luck(setting: Setting) -> None:
    only = setting.member("a")
    pool = Pool("pool", [only])
    assert pool.choose(QUESTION, Tried(members=[only], barred=[only])) is only


def test_equally_busy_members_are_drawn_by_weight(setting: Setting) -> None:
    members = [setting.member("a", weight=3), setting.member("b", weight=1)]
    counts = drawn(Pool("pool", members, rng=seeded()))
    assert 0.70 < counts["a"] / 2000 < 0.80


def test_under_load_calls_in_flight_settle_by_weight(setting: Setting) -> None:
    members = [setting.member("a", weight=3), setting.member("b", weight=1)]
    pool = Pool("pool", members, rng=seeded())
    for _ in range(400):
        pool.choose(None, Tried()).standing.vitals.began()
    busy = members[0].standing.vitals.in_flight
    assert 270 < busy < 330


def test_the_idle_one_of_two_is_chosen_whatever_is_drawn_first(setting: Setting) -> None:
    members = [setting.member("a", weight=2), setting.member("b")]
    for _ in range(3):
        members[0].standing.vitals.began()
    assert drawn(Pool("pool", members, rng=seeded())) == {"b": 2000}


def test_the_much_faster_one_of_two_is_chosen(setting: Setting) -> None:
    members = [setting.member("a"), setting.member("b")]
    members[0].standing.vitals.answered(4.0, streamed=True)
    members[1].standing.vitals.answered(0.5, streamed=True)
    assert drawn(Pool("pool", members, rng=seeded())) == {"b": 2000}


def test_a_little_slower_changes_nothing(setting: Setting) -> None:
    members = [setting.member("a"), setting.member("b")]
    members[0].standing.vitals.answered(1.1, streamed=True)
    members[1].standing.vitals.answered(1.0, streamed=True)
    assert 900 < drawn(Pool("pool", members, rng=seeded()))["a"] < 1100


def test_a_member_nobody_knows_counts_as_fast_as_the_others_are(setting: Setting) -> None:
    members = [setting.member(name) for name in "abc"]
    for member in members[:2]:
        member.standing.vitals.answered(3.0, streamed=True)
    counts = drawn(Pool("pool", members, rng=seeded()))
    assert all(500 < counts[name] < 830 for name in "abc")


def test_of_many_only_the_two_drawn_are_compared(setting: Setting) -> None:
    members = [setting.member(name) for name in "abcd"]
    members[0].standing.vitals.began()
    counts = drawn(Pool("pool", members, rng=seeded()))
    assert counts["a"] == 0
    assert min(counts[name] for name in "bcd") > 550


def test_members_tried_are_left_out_unless_all_are(setting: Setting) -> None:
    members = [setting.member("a"), setting.member("b")]
    pool = Pool("pool", members, rng=seeded())
    assert pool.choose(QUESTION, Tried(members=[members[0]])) is members[1]
    assert pool.choose(QUESTION, Tried(members=list(members), barred=[members[1]])) is members[0]
    assert pool.is_hopeless(Tried(barred=list(members)))
    assert not pool.is_hopeless(Tried(members=list(members), barred=members[:1]))


async def test_members_that_rest_are_broken_or_full_are_left_out(setting: Setting) -> None:
    rests = setting.member("a")
    broken = setting.member("b", breaker=BreakerSpec(failures=1))
    full = setting.member("c", concurrency=ConcurrencySpec(limit=1, queue=0))
    rests.standing.vitals.rest(9.0)
    assert broken.standing.breaker is not None
    with pytest.raises(UpstreamUnavailable), broken.standing.breaker.guard("up-b"):
        raise down()
    assert full.standing.slots is not None
    pool = Pool("pool", [rests, broken, full, setting.member("d")], rng=seeded())
    async with full.standing.slots.taken("up-c", 1.0):
        assert drawn(pool, 50) == {"d": 50}


@pytest.mark.parametrize("count", [1, 2])
def test_where_all_rest_the_soonest_says_when(setting: Setting, count: int) -> None:
    members = [setting.member(name) for name in "ab"[:count]]
    for seconds, member in enumerate(members, start=3):
        member.standing.vitals.rest(seconds)
    with pytest.raises(UpstreamRateLimited) as caught:
        Pool("pool", members).choose(QUESTION, Tried())
    assert caught.value.retry_after == pytest.approx(3.0)
    setting.clock.now += 3.5
    assert Pool("pool", members).choose(QUESTION, Tried()) is members[0]


def test_an_open_breaker_that_closes_sooner_than_a_rest_is_what_is_told(setting: Setting) -> None:
    rests, broken = setting.member("a"), setting.member("b", breaker=BreakerSpec(failures=1))
    rests.standing.vitals.rest(60.0)
    assert broken.standing.breaker is not None
    with pytest.raises(UpstreamUnavailable), broken.standing.breaker.guard("up-b"):
        raise down()
    with pytest.raises(UpstreamCircuitOpen) as caught:
        Pool("pool", [rests, broken]).choose(QUESTION, Tried())
    assert caught.value.retry_after == pytest.approx(5.0)


async def test_a_full_member_refuses_as_busy(setting: Setting) -> None:
    full = setting.member("a", concurrency=ConcurrencySpec(limit=1, queue=0))
    assert full.standing.slots is not None
    async with full.standing.slots.taken("up-a", 1.0):
        with pytest.raises(UpstreamBusy) as caught:
            Pool("pool", [full]).choose(QUESTION, Tried())
    assert caught.value.retry_after == 1.0
    assert full.refusal() is None


def test_shunned_members_come_last_but_before_none(setting: Setting) -> None:
    members = [setting.member("a"), setting.member("b")]
    pool = Pool("pool", members, rng=seeded())
    members[0].standing.vitals.shun(1.0)
    assert drawn(pool, 50) == {"b": 50}
    assert pool.choose(None, Tried(members=[members[1]])) is members[0]
    setting.clock.now += 1.5
    assert set(drawn(pool, 50)) == {"a", "b"}


def test_a_sticky_key_stays_whatever_the_load(setting: Setting) -> None:
    members = [setting.member(name) for name in "abc"]
    pool = Pool("pool", members, rng=seeded())
    chosen = pool.choose(keyed("k"), Tried())
    chosen.standing.vitals.began()
    assert drawn(pool, 20, keyed("k")) == {chosen.name: 20}


def test_a_new_member_only_takes_keys_and_moves_none(setting: Setting) -> None:
    members = [setting.member(name) for name in "abcd"]
    before, after = Pool("pool", members[:3]), Pool("pool", members)
    keys = [keyed(f"key-{number}") for number in range(400)]
    old = [before.choose(key, Tried()).name for key in keys]
    new = [after.choose(key, Tried()).name for key in keys]
    moved = [after for before, after in zip(old, new, strict=True) if before != after]
    assert set(moved) == {"d"}
    assert 60 < len(moved) < 140
    assert min(Counter(old).values()) > 90


def test_keys_are_spread_by_weight(setting: Setting) -> None:
    pool = Pool("pool", [setting.member("a", weight=3), setting.member("b")])
    counts = Counter(pool.choose(keyed(f"{n}"), Tried()).name for n in range(2000))
    assert 0.71 < counts["a"] / 2000 < 0.79


def test_a_key_whose_member_was_tried_always_goes_to_the_same_next_one(setting: Setting) -> None:
    members = [setting.member(name) for name in "abcde"]
    pool = Pool("pool", members, rng=seeded())
    tried = Tried(members=[pool.choose(keyed("k"), Tried())])
    assert len({pool.choose(keyed("k"), tried).name for _ in range(20)}) == 1


@pytest.mark.parametrize("key", [None, "", 7, ["k"]])
def test_what_is_no_key_sticks_to_nothing(setting: Setting, key: object) -> None:
    pool = Pool("pool", [setting.member("a"), setting.member("b")], rng=seeded())
    assert set(drawn(pool, 50, keyed(key))) == {"a", "b"}


def test_stickiness_can_be_switched_off_and_takes_any_text(setting: Setting) -> None:
    members = [setting.member("a"), setting.member("b")]
    assert set(drawn(Pool("pool", members, sticky=False, rng=seeded()), 50, keyed("k"))) == {
        "a",
        "b",
    }
    assert len(drawn(Pool("pool", members), 50, keyed("\ud800"))) == 1


def test_a_pool_can_what_all_of_its_members_can(setting: Setting) -> None:
    small = setting.member("a", abilities=Abilities(context=1000, vision=False))
    large = setting.member("b", abilities=Abilities(context=9000, max_output=50, tools=False))
    found = Pool("pool", [small, large]).abilities
    assert found == Abilities(context=1000, max_output=50, vision=False, tools=False)
    assert common_abilities([Abilities()]) == Abilities()


@pytest.mark.parametrize("request_", [QUESTION, UNSTREAMED], ids=["streamed", "whole"])
async def test_the_time_to_the_first_token_is_learned(
    setting: Setting, request_: ChatRequest
) -> None:
    gate = anyio.Event()
    member, asking = setting.member("a", Script(gate=gate)), Asking(setting.clock)
    vitals = member.standing.vitals
    async with anyio.create_task_group() as group:
        group.start_soon(ask, member, asking, request_)
        await setting.models["a"].started()
        assert vitals.in_flight == 1
        setting.clock.now += 2.0
        gate.set()
    assert (vitals.in_flight, vitals.latency) == (0, pytest.approx(2.0))


@pytest.mark.parametrize(
    ("error", "rests", "shunned_for"),
    [
        (limited(retry_after=7.0), 7.0, 0.0),
        (limited(), 0.0, 1.0),
        (limited(should_retry=False, retry_after=7.0), 0.0, 60.0),
        (down(retry_after=7.0), 0.0, 0.0),
    ],
)
async def test_after_a_429_it_cools_down_as_long_as_the_upstream_says(
    setting: Setting, error: Exception, rests: float, shunned_for: float
) -> None:
    member = setting.member("a", error)
    vitals = member.standing.vitals
    with pytest.raises(type(error)):
        await ask(member, Asking(setting.clock))
    assert (vitals.in_flight, vitals.resting) == (0, pytest.approx(rests))
    setting.clock.now += max(shunned_for - 0.5, 0.0)
    assert vitals.shunned is (shunned_for > 0)
    setting.clock.now += 1.0
    assert not vitals.shunned


async def test_one_that_hangs_no_longer_counts_as_fast(setting: Setting) -> None:
    member = setting.member("a", Script(hang=True))
    vitals = member.standing.vitals
    vitals.answered(0.2, streamed=True)
    async with anyio.create_task_group() as group:
        group.start_soon(ask, member, Asking(setting.clock))
        await setting.models["a"].started()
        setting.clock.now += 5.0
        group.cancel_scope.cancel()
    assert vitals.in_flight == 0
    assert vitals.latency > 1.0
