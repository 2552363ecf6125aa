"""What calls cost, in USD and Decimal, never float. Where a price is unknown so is the cost."""

from __future__ import annotations

from decimal import Decimal

from app.protocol.usage import Usage
from app.record import CallRecord, Price, RunRecord

TOKENS_PER_PRICE = Decimal(1_000_000)
FREE = Decimal(0)


def cost_of(usage: Usage, price: Price) -> Decimal:
    """USD for these tokens; cached input tokens are priced as such where a price is set."""
    cached_price = price.input if price.cached_input is None else price.cached_input
    fresh = max(0, usage.prompt - usage.cached)
    total = fresh * price.input + usage.cached * cached_price + usage.completion * price.output
    return total / TOKENS_PER_PRICE


def cost_of_call(call: CallRecord) -> Decimal | None:
    """USD of one call: 0 if it was not billed, None if its price is unknown."""
    if call.usage is None:
        return FREE
    return None if call.target.price is None else cost_of(call.usage, call.target.price)


def cost_of_run(run: RunRecord) -> Decimal | None:
    """USD of a run, None as soon as one billed call's price is unknown."""
    total = FREE
    for call in run.billed():
        cost = cost_of_call(call)
        if cost is None:
            return None
        total += cost
    return total
