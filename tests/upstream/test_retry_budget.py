from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from app.upstream.retry_budget import FLOOR, SHARE, WINDOW, RetryBudget


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_quiet_upstream_gets_three_extra_calls() -> None:
    budget = RetryBudget(Clock())
    assert [budget.allows() for _ in range(5)] == [True, True, True, False, False]


def test_the_next_ones_come_when_the_first_are_ten_seconds_old() -> None:
    clock = Clock()
    budget = RetryBudget(clock)
    assert [budget.allows() for _ in range(4)] == [True, True, True, False]
    clock.now += 8.9
    assert not budget.allows()
    clock.now += 1.2
    assert budget.allows()


def test_a_busy_upstream_gets_one_extra_call_in_ten() -> None:
    budget = RetryBudget(Clock())
    for _ in range(100):
        budget.called()
    assert sum(budget.allows() for _ in range(100)) == 10


def test_being_refused_costs_nothing() -> None:
    budget = RetryBudget(Clock())
    for _ in range(50):
        budget.allows()
    for _ in range(50):
        budget.called()
    assert sum(budget.allows() for _ in range(10)) == 2


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(0, 20), st.integers(0, 20)), max_size=40))
def test_no_window_ever_holds_a_storm(steps: list[tuple[float, int, int]]) -> None:
    clock = Clock()
    budget = RetryBudget(clock)
    first, extra = list[float](), list[float]()
    for passed, calls, retries in steps:
        clock.now += passed
        for _ in range(calls):
            budget.called()
            first.append(clock.now)
        extra += [clock.now for _ in range(retries) if budget.allows()]
        # Counted in tenths: of what is about to leave the window, some may have left.
        lately = sum(clock.now - at < WINDOW * 0.9 for at in extra)
        calls_lately = sum(clock.now - at <= WINDOW * 2 for at in first)
        assert lately <= max(FLOOR, SHARE * calls_lately + 1)
