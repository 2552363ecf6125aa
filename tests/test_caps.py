"""Whether a question may be put once more: by calls, and by the money that is set aside."""

from __future__ import annotations

import pytest

from app.caps import enter_repeat, may_hedge, may_repeat
from app.protocol.usage import Usage
from app.record import Caps, Degradation, Outcome, RunRecord, Step, Target

TARGET = Target("m", "up", "m-1")


def step(*, reserved: bool = False, **caps: int) -> Step:
    run = RunRecord("run", "m", iter(range(10**6)).__next__, caps=Caps(**caps))
    run.is_reserved = reserved
    return Step(run)


def failed(at: Step, usage: Usage | None = None) -> None:
    at.end(at.begin(TARGET), Outcome.FAILED, usage=usage)


@pytest.mark.parametrize("ask", [may_repeat, may_hedge])
def test_where_money_is_set_aside_only_a_call_that_cost_nothing_is_made_again(ask) -> None:
    at = step(reserved=True)
    at.begin(TARGET)
    assert not ask(at)
    failed(at)
    assert ask(at)
    enter_repeat(at)
    assert not ask(at)
    failed(at, Usage(10, 0, estimated=True))
    assert not ask(at)


@pytest.mark.parametrize("ask", [may_repeat, may_hedge])
def test_without_money_set_aside_the_price_of_a_call_is_no_reason(ask) -> None:
    at = step()
    failed(at, Usage(10, 0))
    enter_repeat(at)
    assert ask(at)


def test_a_hedge_that_is_spared_makes_no_answer_less_but_a_repeat_that_is_refused_does() -> None:
    at = step(max_calls=1)
    failed(at)
    assert not may_hedge(at)
    assert at.run.degraded == []
    assert not may_repeat(at)
    assert at.run.degraded == [Degradation.CAP_REACHED]


def test_a_repeat_is_one_more_call_that_the_run_is_sure_to_make() -> None:
    at = step()
    at.run.promised = 3
    enter_repeat(at)
    assert (at.run.promised, at.run.repeats) == (4, 1)
