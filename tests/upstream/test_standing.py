import gc

from app.upstream.spec_guards import BreakerSpec, ConcurrencySpec
from app.upstream.standing import Standings

BREAKER, SLOTS = BreakerSpec(), ConcurrencySpec(limit=2)


def test_the_same_deployment_with_the_same_specs_stands_as_before() -> None:
    standings = Standings()
    standing = standings.of("a", BREAKER, SLOTS)
    assert standings.of("a", BreakerSpec(failures=5), ConcurrencySpec(limit=2, queue=2)) is standing
    assert standings.of("b", BREAKER, SLOTS).vitals is not standing.vitals


def test_a_guard_that_is_off_is_not_there() -> None:
    standing = Standings().of("a", None, None)
    assert standing.breaker is None
    assert standing.slots is None


def test_a_changed_spec_makes_that_part_anew_and_leaves_the_others() -> None:
    standings = Standings()
    old = standings.of("a", BREAKER, SLOTS)
    new = standings.of("a", BreakerSpec(failures=9), SLOTS)
    assert new.vitals is old.vitals
    assert new.slots is old.slots
    assert new.breaker is not old.breaker
    assert standings.of("a", BREAKER, ConcurrencySpec(limit=3)).breaker is old.breaker


def test_a_reload_that_was_given_up_leaves_the_standing_in_use() -> None:
    standings = Standings()
    used = standings.of("a", BREAKER, SLOTS)
    standings.of("a", None, None)
    gc.collect()
    assert standings.of("a", BREAKER, SLOTS) is used


def test_what_nobody_holds_is_forgotten() -> None:
    standings = Standings()
    standing = standings.of("a", BREAKER, SLOTS)
    standing.vitals.rest(60.0)
    standings.budget("up").allows()
    del standing
    gc.collect()
    assert standings.of("a", BREAKER, SLOTS).vitals.resting == 0.0
    assert not list(standings._budgets)


def test_the_vitals_outlive_the_standing_while_a_call_holds_them() -> None:
    standings = Standings()
    vitals = standings.of("a", BREAKER, SLOTS).vitals
    gc.collect()
    assert standings.of("a", None, None).vitals is vitals


def test_an_upstream_has_one_retry_budget() -> None:
    standings = Standings()
    budget = standings.budget("up")
    assert standings.budget("up") is budget
    assert standings.budget("other") is not budget


def test_all_parts_tell_time_by_the_clock_handed_in() -> None:
    standing = Standings(lambda: 42.0).of("a", BREAKER, None)
    assert standing.vitals.began() == 42.0
