"""What calls cost."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from app.access.pricing import cost_of, cost_of_call, cost_of_run
from app.protocol.usage import Usage
from app.record import CallRecord, Outcome, Price, RunRecord, Step, Target

PRICE = Price(Decimal("2.50"), Decimal(10), Decimal("1.25"))
FLAT = Price(Decimal("0.1"), Decimal("0.2"))

prices = st.decimals(0, 1_000, places=6)
counts = st.integers(0, 10**7)


def booked(*calls: tuple[Price | None, Usage | None]) -> RunRecord:
    run = RunRecord("run", "m", lambda: 0.0)
    step = Step(run)
    for price, usage in calls:
        outcome = Outcome.OK if usage else Outcome.FAILED
        step.end(step.begin(Target("m", "u", "um", price)), outcome, usage=usage)
    return run


def call(price: Price | None, usage: Usage | None) -> CallRecord:
    return booked((price, usage)).calls[0]


def test_a_million_tokens_each_way_cost_the_two_prices() -> None:
    assert cost_of(Usage(1_000_000, 1_000_000), PRICE) == Decimal("12.50")


def test_cached_tokens_are_part_of_the_prompt_and_cost_their_own_price() -> None:
    assert cost_of(Usage(1_000_000, 0, cached=400_000), PRICE) == Decimal("2.00")


def test_without_a_price_of_their_own_cached_tokens_cost_as_others_do() -> None:
    assert cost_of(Usage(1_000_000, 0, cached=400_000), FLAT) == Decimal("0.1")


def test_cached_tokens_may_be_free() -> None:
    free = Price(Decimal(1), Decimal(1), Decimal(0))
    assert cost_of(Usage(1_000_000, 0, cached=1_000_000), free) == 0


def test_reasoning_tokens_are_part_of_the_completion_and_not_paid_twice() -> None:
    assert cost_of(Usage(0, 100, reasoning=90), PRICE) == cost_of(Usage(0, 100), PRICE)


def test_more_cached_tokens_than_prompt_tokens_never_make_a_cost_below_nothing() -> None:
    assert cost_of(Usage(10, 0, cached=50), PRICE) > 0


@given(counts, counts, st.data())
def test_costs_are_exact(prompt: int, completion: int, data: st.DataObject) -> None:
    cached = data.draw(st.integers(0, prompt))
    price = Price(data.draw(prices), data.draw(prices), data.draw(prices))
    assert price.cached_input is not None
    exact = (
        (prompt - cached) * Fraction(price.input)
        + cached * Fraction(price.cached_input)
        + completion * Fraction(price.output)
    ) / 1_000_000
    assert Fraction(cost_of(Usage(prompt, completion, cached), price)) == exact


@given(st.lists(st.builds(Usage, counts, counts), max_size=8))
def test_a_run_costs_the_sum_of_its_calls(usages: list[Usage]) -> None:
    run = booked(*((FLAT, usage) for usage in usages))
    assert cost_of_run(run) == cost_of(run.usage(), FLAT)


def test_a_call_that_was_not_billed_costs_nothing_even_at_an_unknown_price() -> None:
    assert cost_of_call(call(PRICE, None)) == 0
    assert cost_of_call(call(None, None)) == 0
    assert cost_of_run(booked()) == 0


def test_an_unknown_price_makes_the_call_and_the_run_unknown_and_never_free() -> None:
    assert cost_of_call(call(None, Usage(1, 1))) is None
    assert cost_of_run(booked((PRICE, Usage(1, 1)), (None, Usage(1, 1)))) is None


def test_an_unbilled_call_at_an_unknown_price_leaves_the_run_known() -> None:
    run = booked((PRICE, Usage(1_000_000)), (None, None))
    assert cost_of_run(run) == Decimal("2.50")
