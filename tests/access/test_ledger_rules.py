from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from app.access.caller import Limits, Team, VirtualKey
from app.access.ledger import (
    LOST,
    MOST_PER_CALL,
    Budget,
    claim_of,
    new_booking_id,
    reservation_of,
    settlement_of,
)
from app.access.money import to_pico
from app.protocol.usage import Usage
from app.record import Outcome, Price, RunRecord, Step, Target

NOW = datetime(2024, 5, 1, 12, 30, tzinfo=UTC)
CENT = Price(Decimal("0.01"), Decimal("0.03"))


def key() -> VirtualKey:
    team = Team("t", "team", NOW, limits=Limits(budget=Decimal(5)))
    limits = Limits(budget=Decimal("0.5"), budget_window="hour")
    return VirtualKey("k", "key", "moa-00000000", NOW, team=team, limits=limits)


def a_run(*usages: Usage | None, price: Price | None = CENT) -> RunRecord:
    run = RunRecord("r", "graph", lambda: 0.0)
    step = Step(run, graph="graph", node="n")
    for place, usage in enumerate(usages):
        call = step.begin(Target(f"m{place}", "up", "id", price))
        step.end(call, Outcome.OK, usage=usage)
    run.close(Outcome.OK)
    return run


def reservation_for(usd: str) -> object:
    claim = claim_of(key(), request_id="r", model="g", caller="c", usd=Decimal(usd), now=NOW)
    return reservation_of(claim)


def test_a_claim_names_the_windows_of_key_and_team() -> None:
    claim = claim_of(key(), request_id="r", model="g", caller="c", usd=Decimal("0.1"), now=NOW)
    noon = int(NOW.replace(minute=0).timestamp())
    assert claim.key_budget == Budget(5 * 10**11, noon)
    assert claim.team_budget == Budget(5 * 10**12, 0)
    reservation = reservation_of(claim)
    assert (reservation.key_window, reservation.team_window) == (noon, 0)
    assert reservation.booking_id == claim.booking_id


def test_without_a_key_there_is_no_budget() -> None:
    claim = claim_of(None, request_id="r", model="g", caller="c", usd=Decimal(1), now=NOW)
    assert (claim.key_id, claim.team_id, claim.key_budget) == ("", None, None)


def test_a_budget_of_nothing_is_a_budget() -> None:
    broke = replace(key(), limits=Limits(budget=Decimal(0)))
    claim = claim_of(broke, request_id="r", model="g", caller="c", usd=Decimal(1), now=NOW)
    assert claim.key_budget == Budget(0, 0)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), max_size=8))
def test_the_calls_of_a_request_add_up_to_it_and_cover_its_cost(
    tokens: list[tuple[int, int]],
) -> None:
    run = a_run(*(Usage(prompt, completion) for prompt, completion in tokens))
    booked = settlement_of(reservation_for("1"), run, ended=1.0)  # type: ignore[arg-type]
    exact = sum((call.cost or Decimal(0) for call in run.calls), Decimal(0))
    assert booked.cost == sum(call.cost or 0 for call in booked.calls)
    assert 0 <= booked.cost - exact * 10**12 < len(tokens) + 1


def test_a_call_whose_price_is_unknown_is_counted_and_costs_what_is_assumed() -> None:
    run = a_run(Usage(10, 10), None, price=None)
    unknown = settlement_of(reservation_for("1"), run, ended=1.0)  # type: ignore[arg-type]
    assumed = settlement_of(reservation_for("1"), run, ended=1.0, assumed=CENT)  # type: ignore[arg-type]
    assert (unknown.cost, unknown.unpriced) == (0, 1)
    assert (assumed.cost, assumed.unpriced) == (to_pico(CENT.of(Usage(10, 10))), 0)


def test_an_estimate_of_one_call_makes_the_request_one() -> None:
    run = a_run(Usage(1, 1), Usage(1, 1, estimated=True))
    assert settlement_of(reservation_for("1"), run, ended=1.0).is_estimate  # type: ignore[arg-type]
    sure = settlement_of(reservation_for("1"), a_run(Usage(1, 1)), ended=1.0)  # type: ignore[arg-type]
    assert not sure.is_estimate


def test_a_lost_request_costs_what_was_reserved() -> None:
    booked = settlement_of(reservation_for("1"), a_run(), ended=1.0)  # type: ignore[arg-type]
    lost = replace(booked, outcome=LOST)
    assert (lost.cost, lost.is_estimate) == (10**12, True)


def test_no_upstream_can_make_the_books_overflow() -> None:
    run = a_run(Usage(10**40, 10**40), price=Price(Decimal("1e9"), Decimal("1e9")))
    (line,) = settlement_of(reservation_for("1"), run, ended=1.0).calls  # type: ignore[arg-type]
    assert line.cost == MOST_PER_CALL
    assert line.prompt < 2**31


def test_booking_ids_differ_and_sort_by_time() -> None:
    assert len({new_booking_id() for _ in range(1000)}) == 1000
    assert "0" * 12 < new_booking_id() < "1" * 12
