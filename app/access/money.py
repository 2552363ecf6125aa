"""USD as the books keep it: whole picodollars (1e-12 USD); Decimal elsewhere, never float."""

from __future__ import annotations

from decimal import Context, Decimal

PICO = 10**12
_DIGITS = 12
MOST = 4 * 10**18
"""Picodollars, 4 million USD: what is more counts as this, so that two of them fit a BIGINT."""

_EXACT = Context(prec=60)


def to_pico(usd: Decimal) -> int:
    """Picodollars for a price or cost, a fraction rounded up: we never book less than was spent.

    Raises ValueError for what is below 0 or no number.
    """
    if not usd.is_finite() or usd < 0:
        raise ValueError(f"not an amount of money: {usd}")
    scaled = usd.scaleb(_DIGITS, _EXACT)
    whole = int(scaled)
    return min(MOST, whole + (whole < scaled))


def to_usd(pico: int) -> Decimal:
    """USD, exact, without trailing zeros."""
    usd = _EXACT.divide(Decimal(pico), PICO).normalize(_EXACT)
    return usd.quantize(Decimal(1)) if usd == usd.to_integral_value() else usd
