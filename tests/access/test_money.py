from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.access.money import MOST, PICO, to_pico, to_usd

AMOUNTS = st.decimals(0, 1_000_000, places=12)


@given(AMOUNTS)
def test_a_picodollar_is_never_lost(usd: Decimal) -> None:
    assert to_usd(to_pico(usd)) == usd


@given(st.decimals(0, 1_000, allow_nan=False, allow_infinity=False))
def test_a_fraction_of_a_picodollar_is_rounded_up(usd: Decimal) -> None:
    assert 0 <= to_pico(usd) - usd * PICO < 1


@given(st.integers(0, MOST))
def test_what_the_books_hold_is_exact_in_usd(pico: int) -> None:
    assert to_pico(to_usd(pico)) == pico


def test_whole_dollars_are_written_without_an_exponent() -> None:
    assert str(to_usd(100 * PICO)) == "100"
    assert str(to_usd(1)) == "1E-12"


def test_more_than_the_books_hold_counts_as_the_most() -> None:
    assert to_pico(Decimal("1e30")) == MOST
    assert 2 * MOST < 2**63


@pytest.mark.parametrize("usd", ["-0.01", "NaN", "Infinity"])
def test_what_is_no_amount_is_refused(usd: str) -> None:
    with pytest.raises(ValueError, match="not an amount"):
        to_pico(Decimal(usd))
