"""What is reserved before a request and booked after it: the words of the ledger, and its rules.

The SQL is the store's; how much a request may come to is decided by whoever admits it.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from app.access.caller import Limits, VirtualKey
from app.access.money import to_pico
from app.access.windows import window_id
from app.record import CallRecord, Outcome, Price, RunRecord

LOST = "lost"
"""The outcome of a request whose process ended before it did; its cost is what was reserved."""


MOST_TOKENS = 10**9
MOST_PER_CALL = 10**16
"""Picodollars, 10,000 USD: no call costs more, and none of the books' sums may overflow."""


def new_booking_id() -> str:
    """A name in the books that is never given twice; later ones sort behind earlier ones."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be spent in one window: `limit` in picodollars, `window` as in `window_id`."""

    limit: int
    window: int


@dataclass(frozen=True, slots=True)
class Claim:
    """A request that wants `amount` picodollars set aside; `created` is unix seconds.

    No budget means no limit there. An empty `key_id` stands for a static key or open mode. A
    client may choose its `request_id`, so what is booked once is known by `booking_id`, which is
    ours.
    """

    request_id: str
    key_id: str
    team_id: str | None
    model: str
    caller: str
    created: float
    amount: int
    key_budget: Budget | None = None
    team_budget: Budget | None = None
    booking_id: str = field(default_factory=new_booking_id)


@dataclass(frozen=True, slots=True)
class Reservation:
    """What was set aside for a request; the windows are None where there was no budget."""

    request_id: str
    key_id: str
    team_id: str | None
    model: str
    caller: str
    created: float
    amount: int
    key_window: int | None = None
    team_window: int | None = None
    booking_id: str = field(default_factory=new_booking_id)


@dataclass(frozen=True, slots=True)
class CallLine:
    """One upstream call in the books; `cost` is picodollars, None where its price is unknown."""

    graph: str
    node: str
    model: str
    upstream: str
    outcome: str
    prompt: int
    completion: int
    cached: int
    cost: int | None
    is_estimate: bool = False


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a request came to; `ended` is unix seconds."""

    reservation: Reservation
    ended: float
    outcome: str
    error_kind: str | None = None
    calls: tuple[CallLine, ...] = ()

    @property
    def cost(self) -> int:
        """Picodollars of all calls whose price is known; what was reserved, if it was lost."""
        if self.outcome == LOST:
            return self.reservation.amount
        return sum(call.cost or 0 for call in self.calls)

    @property
    def unpriced(self) -> int:
        """How many calls have a price nobody knows."""
        return sum(call.cost is None for call in self.calls)

    @property
    def is_estimate(self) -> bool:
        """Whether any of it is our guess, because nobody told."""
        return self.outcome == LOST or any(call.is_estimate for call in self.calls)


class Ledger(Protocol):
    """The books. Money that is set aside or spent counts until a window ends, whatever happens."""

    async def reserve(self, claim: Claim) -> Reservation:
        """Set the amount aside within the budgets of key and team, or nothing at all.

        Raises BudgetReached, or StoreUnavailable within two seconds.
        """

    def settle(self, settlement: Settlement) -> None:
        """Book it soon, once, and let go of its reservation then; never waits."""

    @property
    def has_room(self) -> bool:
        """Whether `room` would return at once."""

    async def room(self) -> None:
        """Wait while more is to be booked than may wait; nothing is ever dropped."""

    async def drain(self) -> None:
        """Book everything that waits; at shutdown."""


def budget_of(limits: Limits, now: datetime) -> Budget | None:
    """The budget that holds at this moment."""
    if limits.budget is None:
        return None
    return Budget(to_pico(limits.budget), window_id(limits.budget_window, now))


def claim_of(
    key: VirtualKey | None,
    *,
    request_id: str,
    model: str,
    caller: str,
    usd: Decimal,
    now: datetime,
) -> Claim:
    """What a key's request for at most so much money asks of the ledger."""
    team = key.team if key else None
    return Claim(
        request_id=request_id,
        key_id=key.id if key else "",
        team_id=team.id if team else None,
        model=model,
        caller=caller,
        created=now.timestamp(),
        amount=to_pico(usd),
        key_budget=budget_of(key.limits, now) if key else None,
        team_budget=budget_of(team.limits, now) if team else None,
    )


def reservation_of(claim: Claim) -> Reservation:
    """The reservation a granted claim becomes."""
    return Reservation(
        claim.request_id,
        claim.key_id,
        claim.team_id,
        claim.model,
        claim.caller,
        claim.created,
        claim.amount,
        claim.key_budget.window if claim.key_budget else None,
        claim.team_budget.window if claim.team_budget else None,
        claim.booking_id,
    )


def settlement_of(
    reservation: Reservation, run: RunRecord, *, ended: float, assumed: Price | None = None
) -> Settlement:
    """What the record of a run says was spent, at `assumed` where a price is unknown.

    Every call is rounded up to a picodollar by itself, so the calls of a request add up to it.
    """
    calls = tuple(_line(call, assumed) for call in run.calls)
    outcome = Outcome.CANCELLED if run.outcome is Outcome.RUNNING else run.outcome
    return Settlement(reservation, ended, outcome.value, run.error_kind, calls)


def _line(call: CallRecord, assumed: Price | None) -> CallLine:
    target, usage = call.target, call.usage
    cost = call.cost
    if cost is None and assumed is not None and usage is not None:
        cost = assumed.of(usage)
    return CallLine(
        graph=call.graph,
        node=call.node,
        model=target.model,
        upstream=target.upstream,
        outcome=call.outcome.value,
        prompt=min(usage.prompt, MOST_TOKENS) if usage else 0,
        completion=min(usage.completion, MOST_TOKENS) if usage else 0,
        cached=min(usage.cached, MOST_TOKENS) if usage else 0,
        cost=None if cost is None else min(to_pico(cost), MOST_PER_CALL),
        is_estimate=usage is not None and usage.estimated,
    )
