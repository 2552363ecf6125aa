"""What every limiter must do, whoever counts: the same rules, written as slowly as can be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import strategies as st

from app.access.limiter import Check, Limiter, Verdict

SCOPES = ("key:a", "key:b", "team:t")


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Take:
    checks: tuple[Check, ...]
    lease: float


@dataclass(frozen=True)
class Correct:
    which: int
    scope: str
    delta: int


@dataclass(frozen=True)
class Release:
    which: int


@dataclass(frozen=True)
class Wait:
    seconds: float


def checks() -> st.SearchStrategy[tuple[Check, ...]]:
    scopes, limits = st.sampled_from(SCOPES), st.integers(0, 6)
    one = st.builds(Check, scopes, st.just("requests"), limits, st.just(1))
    tokens = st.builds(Check, scopes, st.just("tokens"), limits, st.integers(0, 4))
    place = st.builds(Check, scopes, st.just("concurrent"), limits, st.just(1))
    every = st.lists(
        one | tokens | place, min_size=1, max_size=6, unique_by=lambda each: (each.scope, each.kind)
    )
    return every.map(tuple)


def steps() -> st.SearchStrategy[list[object]]:
    """Quarters of a second and powers of two of them are exact, so both sides agree on the bit."""
    which = st.integers(0, 20)
    pause = st.sampled_from([0.25, 0.5, 0.75, 1, 2, 7, 29.75, 59, 59.75, 60, 60.75, 61, 150])
    take = st.builds(Take, checks(), st.sampled_from([0.5, 5.0, 90.0]))
    correct = st.builds(Correct, which, st.sampled_from(SCOPES), st.integers(-5, 5))
    wait = st.builds(Wait, pause)
    step = st.one_of(take, take, take, wait, wait, correct, st.builds(Release, which))
    return st.lists(step, max_size=40)


@dataclass
class Model:
    """Keeps everything for ever and adds it up each time."""

    seconds: dict[tuple[str, str], dict[int, int]] = field(default_factory=dict)
    leases: dict[str, dict[str, float]] = field(default_factory=dict)

    def live(self, name: tuple[str, str], now: float) -> dict[int, int]:
        return {at: n for at, n in self.seconds.get(name, {}).items() if at + 61 > now}

    def used(self, check: Check, now: float) -> int:
        if check.kind == "concurrent":
            return sum(end > now for end in self.leases.get(check.scope, {}).values())
        return sum(self.live((check.scope, check.kind), now).values())

    def wait(self, check: Check, now: float) -> float:
        if check.amount > check.limit:
            return math.inf
        if check.kind == "concurrent":
            return 1.0
        ends = sorted(at + 61 for at in self.live((check.scope, check.kind), now))
        return next(e - now for e in ends if self.used(check, e) + check.amount <= check.limit)

    def take(self, request_id: str, take: Take, now: float) -> Verdict:
        refused = [each for each in take.checks if self.used(each, now) + each.amount > each.limit]
        worst = max(refused, key=lambda each: self.wait(each, now), default=None)
        if worst is None:
            for each in take.checks:
                self._count(request_id, each, now, take.lease)
        reset = {}
        for each in take.checks:
            if each.kind != "concurrent":
                live = self.live((each.scope, each.kind), now)
                reset[each.scope, each.kind] = max(live) + 61 - now if any(live.values()) else 0.0
        left = {
            (each.scope, each.kind): max(0, each.limit - self.used(each, now))
            for each in take.checks
        }
        wait = self.wait(worst, now) if worst else 0.0
        return Verdict(worst is None, worst, wait, left, reset, now)

    def _count(self, request_id: str, check: Check, now: float, lease: float) -> None:
        if check.kind == "concurrent":
            self.leases.setdefault(check.scope, {})[request_id] = now + lease
            return
        counted = self.seconds.setdefault((check.scope, check.kind), {})
        counted[int(now)] = counted.get(int(now), 0) + check.amount

    def correct(self, scope: str, delta: int, taken_at: float, now: float) -> None:
        if int(taken_at) in self.live((scope, "tokens"), now):
            counted = self.seconds[scope, "tokens"]
            counted[int(taken_at)] = max(0, counted[int(taken_at)] + delta)

    def release(self, request_id: str) -> None:
        for held in self.leases.values():
            held.pop(request_id, None)


async def behaves_like_the_model(limiter: Limiter, hand: Hand, steps: Sequence[object]) -> None:
    model = Model()
    taken: list[float] = []
    for step in steps:
        match step:
            case Wait(seconds):
                hand.now += seconds
            case Take(asked, lease):
                request_id = f"r{len(taken)}"
                taken.append(hand.now)
                got = await limiter.take(request_id, asked, lease)
                assert_same(got, model.take(request_id, step, hand.now))
            case Correct(which, scope, delta) if taken:
                at = taken[which % len(taken)]
                await limiter.correct(f"r{which % len(taken)}", scope, delta, at)
                model.correct(scope, delta, at, hand.now)
            case Release(which) if taken:
                await limiter.release(f"r{which % len(taken)}", SCOPES)
                model.release(f"r{which % len(taken)}")


def assert_same(got: Verdict, wanted: Verdict) -> None:
    assert (got.allowed, got.refused) == (wanted.allowed, wanted.refused)
    assert got.remaining == wanted.remaining
    assert got.retry_after == pytest.approx(wanted.retry_after, abs=1e-5)
    assert got.reset == pytest.approx(dict(wanted.reset), abs=1e-5)
    assert got.taken_at == pytest.approx(wanted.taken_at, abs=1e-5)


async def never_more_in_any_minute(
    limiter: Limiter, hand: Hand, pauses: Sequence[float], limit: int
) -> None:
    """Times are any floats: the rule is about moments, not about the seconds they fall into."""
    accepted: list[float] = []
    for at, pause in enumerate(pauses):
        hand.now += pause
        verdict = await limiter.take(f"r{at}", [Check("key:a", "requests", limit, 1)], 1.0)
        if verdict.allowed:
            accepted.append(hand.now)
    for end in accepted:
        assert sum(end - 60 < each <= end for each in accepted) <= limit


async def waiting_as_told_is_enough_and_less_is_not(
    limiter: Limiter, hand: Hand, pauses: Sequence[float], amount: int
) -> None:
    asked = [Check("key:a", "tokens", 10, amount)]
    for at, pause in enumerate(pauses):
        hand.now += pause
        verdict = await limiter.take(f"r{at}", asked, 1.0)
        if verdict.allowed:
            continue
        refused_at = hand.now
        hand.now = refused_at + verdict.retry_after - 0.01
        assert not (await limiter.take("early", asked, 1.0)).allowed
        hand.now = refused_at + verdict.retry_after + 0.001
        assert (await limiter.take("late", asked, 1.0)).allowed


async def a_refused_request_counts_for_nobody(limiter: Limiter) -> None:
    full = Check("team:t", "requests", 1, 1)
    mine = [Check("key:a", "requests", 1, 1), Check("key:a", "concurrent", 1, 1)]
    await limiter.take("first", [full], 10)
    for at in range(5):
        verdict = await limiter.take(f"r{at}", [*mine, full], 10)
        assert (verdict.allowed, verdict.refused) == (False, full)
    assert (await limiter.take("alone", mine, 10)).allowed


async def a_lease_runs_out_by_itself(limiter: Limiter, hand: Hand) -> None:
    place = [Check("key:a", "concurrent", 1, 1)]
    assert (await limiter.take("lost", place, 30)).allowed
    hand.now += 29.9
    assert (await limiter.take("early", place, 30)).retry_after == 1.0
    hand.now += 0.1
    assert (await limiter.take("late", place, 30)).allowed


NOTHING_AND_THEN_SOME = [
    Wait(0.25),
    Take((Check("key:a", "tokens", 4, 0),), 0.5),
    Wait(59.75),
    Take((Check("key:b", "requests", 4, 1), Check("key:a", "tokens", 4, 0)), 0.5),
    Correct(0, "key:a", 3),
    Take((Check("key:a", "tokens", 4, 2),), 0.5),
]
"""What counted as nothing is not forgotten before its minute is over: it may be corrected."""

PAUSES = st.lists(st.floats(0, 25), min_size=1, max_size=40)
