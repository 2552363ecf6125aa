from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
)

from app.upstream.breaker import PROBE_SECONDS, Breaker, Pass, State
from app.upstream.spec_guards import BreakerSpec

SPEC = BreakerSpec(failures=3, share=0.5, window=10.0, rest=5.0, longest_rest=18.0)


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


class AnyBreaker(RuleBasedStateMachine):
    """Calls that end in any order, against a model that keeps every ending.

    Whole seconds only: a breaker counts in tenths of its window, which is ten of them.
    """

    calls = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.breaker = Breaker(SPEC, self.clock)
        self.era = 0
        self.is_open = self.is_probed = False
        self.until = self.rest = 0.0
        self.endings: list[tuple[float, bool]] = []

    @rule(target=calls)
    def a_call_begins(self) -> object:
        leave = self.breaker.enter()
        if not self.is_open:
            assert leave is not None
        elif self.is_probed or self.clock.now < self.until:
            assert leave is None
        else:
            assert leave is not None
            self.is_probed = True
        return multiple() if leave is None else (leave, self.era)

    @rule(call=consumes(calls), ending=st.sampled_from(["succeeded", "failed", "abandoned"]))
    def a_call_ends(self, call: tuple[Pass, int], ending: str) -> None:
        leave, era = call
        getattr(self.breaker, ending)(leave)
        if era != self.era:
            return
        if self.is_open:
            self.the_probe_ends(ending)
        elif ending != "abandoned":
            self.endings.append((self.clock.now, ending == "failed"))
            lately = [failed for at, failed in self.endings if self.clock.now - at < SPEC.window]
            if ending == "failed" and sum(lately) >= max(SPEC.failures, SPEC.share * len(lately)):
                self.opens(SPEC.rest)

    def the_probe_ends(self, ending: str) -> None:
        self.era += 1
        self.is_probed = False
        if ending == "succeeded":
            self.is_open = False
            self.endings.clear()
        elif ending == "failed":
            self.opens(min(self.rest * 2, SPEC.longest_rest))

    def opens(self, rest: float) -> None:
        self.era += 1
        self.is_open, self.rest, self.until = True, rest, self.clock.now + rest

    @rule(seconds=st.integers(1, 20))
    def time_passes(self, seconds: int) -> None:
        self.clock.now += seconds

    @invariant()
    def it_says_what_it_would_do(self) -> None:
        left = max(0.0, self.until - self.clock.now)
        if not self.is_open:
            told = (State.CLOSED, 0.0)
        elif self.is_probed:
            told = (State.HALF_OPEN, PROBE_SECONDS)
        else:
            told = (State.OPEN if left else State.HALF_OPEN, left)
        assert (self.breaker.state, self.breaker.rest()) == told


AnyBreaker.TestCase.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
test_calls_that_end_in_any_order = AnyBreaker.TestCase
