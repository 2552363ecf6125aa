from __future__ import annotations

import orjson
import pytest
from pydantic import TypeAdapter, ValidationError

from app.fields import Spec
from app.upstream.spec_guards import (
    Breaker,
    BreakerSpec,
    Concurrency,
    ConcurrencySpec,
    Hedge,
    HedgeSpec,
    breaker_of,
    concurrency_of,
    hedge_of,
    laid_over,
    setting_over,
)


def breaker(value: object) -> BreakerSpec | None:
    adapter: TypeAdapter[Breaker] = TypeAdapter(Breaker)
    return breaker_of(adapter.validate_json(orjson.dumps(value), strict=True))


def concurrency(value: object) -> ConcurrencySpec | None:
    adapter: TypeAdapter[Concurrency] = TypeAdapter(Concurrency)
    return concurrency_of(adapter.validate_json(orjson.dumps(value), strict=True))


def hedge(value: object) -> HedgeSpec | None:
    adapter: TypeAdapter[Hedge] = TypeAdapter(Hedge)
    return hedge_of(adapter.validate_json(orjson.dumps(value), strict=True))


def test_a_breaker_is_off_or_has_its_thresholds() -> None:
    assert breaker("off") is None
    assert breaker({}) == BreakerSpec(failures=5, share=0.5, window=10, rest=5, longest_rest=60)
    assert breaker({"rest": "500ms", "share": 1}) == BreakerSpec(rest=0.5, share=1.0)


def test_a_limit_alone_has_a_queue_as_long() -> None:
    assert concurrency("off") is None
    assert concurrency(3) == ConcurrencySpec(limit=3, queue=3, patience=10)
    assert concurrency({"limit": 3, "queue": 0, "patience": "1s"}) == ConcurrencySpec(
        limit=3, queue=0, patience=1
    )


def test_a_hedge_is_off_on_or_has_its_wait() -> None:
    assert hedge("off") is None
    assert hedge("on") == HedgeSpec(quantile=0.95, least=0.2)
    assert hedge({"quantile": 0.5, "least": 0}) == HedgeSpec(quantile=0.5, least=0)


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (breaker, "on"),
        (breaker, {"failures": 0}),
        (breaker, {"share": 0}),
        (breaker, {"share": 1.1}),
        (breaker, {"window": 0}),
        (breaker, {"rest": "0s"}),
        (concurrency, 0),
        (concurrency, "on"),
        (concurrency, {}),
        (concurrency, {"limit": 0}),
        (concurrency, {"limit": 1, "queue": -1}),
        (hedge, "yes"),
        (hedge, {"quantile": 1}),
        (hedge, {"quantile": 0.4}),
        (hedge, {"least": -1}),
        (hedge, False),
    ],
)
def test_what_has_no_meaning_is_refused(read: object, value: object) -> None:
    assert callable(read)
    with pytest.raises(ValidationError):
        read(value)


@pytest.mark.parametrize(
    ("own", "other", "expected"),
    [
        (BreakerSpec(failures=2), BreakerSpec(rest=1.0), BreakerSpec(failures=2, rest=1.0)),
        (BreakerSpec(), BreakerSpec(rest=1.0), BreakerSpec(rest=1.0)),
        (BreakerSpec(rest=2.0), BreakerSpec(rest=1.0), BreakerSpec(rest=2.0)),
        (BreakerSpec(rest=2.0), None, BreakerSpec(rest=2.0)),
        (None, BreakerSpec(rest=1.0), None),
        (
            ConcurrencySpec(limit=9),
            ConcurrencySpec(limit=2, patience=1.0),
            ConcurrencySpec(limit=9, queue=9, patience=1.0),
        ),
    ],
)
def test_of_two_places_the_nearer_wins_field_by_field(
    own: Spec | None, other: Spec | None, expected: Spec | None
) -> None:
    assert laid_over(own, other) == expected


def test_a_place_that_says_nothing_leaves_it_as_it_is() -> None:
    above = HedgeSpec(least=1.0)
    assert setting_over(hedge_of, None, above) is above
    assert setting_over(hedge_of, "off", above) == "off"
    assert setting_over(hedge_of, "on", above) == above
    assert setting_over(hedge_of, "on", "off") == HedgeSpec()
    assert setting_over(hedge_of, "on", None) == "on"
