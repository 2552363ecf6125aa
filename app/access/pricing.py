"""What calls cost, in USD and Decimal, never float. Where a price is unknown so is the cost.

The arithmetic of one call is `app.record`'s, since the engine's caps need it too.
"""

from __future__ import annotations

from decimal import Decimal

from app.protocol.usage import Usage
from app.record import FREE, TOKENS_PER_PRICE, CallRecord, Price, RunRecord

__all__ = ["FREE", "TOKENS_PER_PRICE", "cost_of", "cost_of_call", "cost_of_run"]


def cost_of(usage: Usage, price: Price) -> Decimal:
    """USD for these tokens; cached input tokens are priced as such where a price is set."""
    return price.of(usage)


def cost_of_call(call: CallRecord) -> Decimal | None:
    """USD of one call: 0 if it was not billed, None if its price is unknown."""
    return call.cost


def cost_of_run(run: RunRecord) -> Decimal | None:
    """USD of a run, None as soon as one billed call's price is unknown."""
    total = FREE
    for call in run.billed():
        if call.cost is None:
            return None
        total += call.cost
    return total
