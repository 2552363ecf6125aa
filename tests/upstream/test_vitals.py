from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.upstream.vitals import ENOUGH, SAMPLES, Vitals


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def vitals(clock: Clock) -> Vitals:
    return Vitals(clock)


def test_calls_under_way_are_counted(vitals: Vitals) -> None:
    assert vitals.began() == 100.0
    vitals.began()
    assert vitals.in_flight == 2
    vitals.ended()
    assert vitals.in_flight == 1


def test_nothing_is_known_before_the_first_answer(vitals: Vitals) -> None:
    assert vitals.latency == 0.0


def test_the_first_answer_is_all_that_is_known(vitals: Vitals) -> None:
    vitals.answered(2.0, streamed=True)
    assert vitals.latency == 2.0


def test_one_slow_answer_among_many_changes_a_part_of_it(vitals: Vitals) -> None:
    for _ in range(20):
        vitals.answered(1.0, streamed=False)
    vitals.answered(11.0, streamed=False)
    assert vitals.latency == pytest.approx(4.0)


def test_who_was_slow_is_forgiven_with_time_and_then_unknown(vitals: Vitals, clock: Clock) -> None:
    vitals.answered(8.0, streamed=True)
    clock.now += 10
    assert vitals.latency == pytest.approx(4.0)
    clock.now += 10
    assert vitals.latency == pytest.approx(2.0)
    clock.now += 40
    assert vitals.latency == 0.0


def test_the_older_the_memory_the_more_a_new_answer_counts(vitals: Vitals, clock: Clock) -> None:
    vitals.answered(8.0, streamed=True)
    clock.now += 10
    vitals.answered(1.0, streamed=True)
    assert vitals.latency == pytest.approx(0.35 * 8 + 0.65)
    clock.now += 1000
    vitals.answered(5.0, streamed=True)
    assert vitals.latency == 5.0


def test_few_answers_say_nothing_about_a_quantile(vitals: Vitals) -> None:
    for _ in range(ENOUGH - 1):
        vitals.answered(1.0, streamed=True)
    assert vitals.quantile(0.95, streamed=True) is None
    vitals.answered(1.0, streamed=True)
    assert vitals.quantile(0.95, streamed=True) == 1.0


def test_first_tokens_and_whole_answers_are_kept_apart(vitals: Vitals) -> None:
    for _ in range(ENOUGH):
        vitals.answered(1.0, streamed=True)
        vitals.answered(30.0, streamed=False)
    assert vitals.quantile(0.5, streamed=True) == 1.0
    assert vitals.quantile(0.5, streamed=False) == 30.0


def test_a_quantile_forgets_what_is_older_than_the_last_answers(vitals: Vitals) -> None:
    for _ in range(SAMPLES):
        vitals.answered(9.0, streamed=True)
    for _ in range(SAMPLES):
        vitals.answered(1.0, streamed=True)
    assert vitals.quantile(1.0, streamed=True) == 1.0


@given(st.lists(st.floats(0, 100), min_size=ENOUGH, max_size=SAMPLES), st.floats(0.01, 1.0))
def test_a_share_of_the_answers_came_within_the_quantile(times: list[float], q: float) -> None:
    vitals = Vitals(Clock())
    for seconds in times:
        vitals.answered(seconds, streamed=True)
    found = vitals.quantile(q, streamed=True)
    assert found in times
    assert sum(seconds <= found for seconds in times) >= q * len(times) - 1e-9
    assert sum(seconds < found for seconds in times) < q * len(times)


def test_it_rests_as_long_as_it_was_asked_to(vitals: Vitals, clock: Clock) -> None:
    assert vitals.resting == 0.0
    vitals.rest(5.0)
    assert vitals.resting == 5.0
    clock.now += 4
    assert vitals.resting == pytest.approx(1.0)
    clock.now += 2
    assert vitals.resting == 0.0


def test_a_shorter_rest_does_not_end_a_longer_one(vitals: Vitals) -> None:
    vitals.rest(60.0)
    vitals.rest(1.0)
    assert vitals.resting == 60.0


def test_it_is_shunned_for_a_while(vitals: Vitals, clock: Clock) -> None:
    assert not vitals.shunned
    vitals.shun(60.0)
    vitals.shun(1.0)
    clock.now += 59
    assert vitals.shunned
    assert vitals.resting == 0.0
    clock.now += 1
    assert not vitals.shunned
