"""Whether a request may be run, and what it came to afterwards: rates, money, the books.

Before the first upstream call key and team are asked for room, in their rates and in their budgets;
at the end what was set aside is corrected and booked. How that is counted and written is the
stores' business, what a request may come to the engine's.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, TypeAlias

import anyio

from app.access.caller import Caller, Limits, VirtualKey
from app.access.ledger import (
    Claim,
    Ledger,
    Reservation,
    claim_of,
    reservation_of,
    settlement_of,
)
from app.access.limiter import Check, Limiter, Verdict
from app.engine.bounds import NOTHING, Worst, asked
from app.errors import Forbidden, MoaError, RateLimited, StoreUnavailable
from app.protocol.chat import ChatRequest
from app.record import Price, RunRecord
from app.serving.runtime import Runtime, Served, UnknownPrice

OnStoreFailure: TypeAlias = Literal["open", "closed"]
GOODBYE = 2.0
"""Seconds that giving places back may take where a shared counter does not answer."""
PATIENCE = 2.0
"""Seconds that a request waits where more is to be booked than may wait."""
LEASE_MARGIN = 30.0
"""Seconds that a place is kept beyond the longest a request may take."""
_LEAST_WAIT = 0.1

_log = logging.getLogger("moa.admission")


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator decided: whether to go on when a store is away, and at unknown prices."""

    on_store_failure: OnStoreFailure = "closed"
    unknown_price: UnknownPrice = "allow"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request that asks to be run: on what, what is put to it, how long all may take."""

    runtime: Runtime
    served: Served
    requests: Sequence[ChatRequest]
    seconds: float


@dataclass(slots=True)
class Ticket:
    """What was counted and set aside for one request."""

    reservation: Reservation | None = None
    verdict: Verdict | None = None
    checks: tuple[Check, ...] = ()
    assumed: Price | None = None

    @property
    def is_counted(self) -> bool:
        """Whether there is anything to give back to the counters."""
        return self.verdict is not None and self.verdict.refused is None

    def headers(self) -> dict[str, str]:
        """OpenAI's `x-ratelimit-*`, of the limit that is nearest where key and team have one.

        https://platform.openai.com/docs/guides/rate-limits
        """
        return rate_headers(self.checks, self.verdict) if self.verdict else {}


@dataclass(frozen=True, slots=True)
class Admission:
    """Admits and settles; `now` tells the time of day.

    Without a ledger or a limiter nothing is booked or counted.
    """

    ledger: Ledger | None = None
    limiter: Limiter | None = None
    policy: Policy = Policy()
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))

    async def admit(
        self, run: RunRecord, wanted: Wanted, who: Caller | None, ticket: Ticket
    ) -> None:
        """Count it and set its worst case aside, on the ticket.

        Raises RateLimited, BudgetReached, Forbidden for a price nobody knows, StoreUnavailable.
        """
        key = who.key if who else None
        if key is None:
            if self.ledger is not None:
                await _room(self.ledger)
                ticket.reservation = reservation_of(self._claim(run, None, NOTHING))
            return
        worst = self._worst(wanted, key, ticket)
        await self._count(run, key, worst, wanted.seconds, ticket)
        await self._set_aside(run, key, worst, ticket)

    async def close(self, run: RunRecord, ticket: Ticket) -> None:
        """Book what the run came to and give its places back; also when it is cancelled."""
        if ticket.reservation is not None and self.ledger is not None:
            ended = self.now().timestamp()
            self.ledger.settle(
                settlement_of(ticket.reservation, run, ended=ended, assumed=ticket.assumed)
            )
        if ticket.is_counted:
            usage = run.usage()
            await self._give_back(run, ticket, tokens=usage.prompt + usage.completion)

    def _worst(self, wanted: Wanted, key: VirtualKey, ticket: Ticket) -> Worst:
        """What it may come to, as far as anything of the key's or team's depends on it."""
        limits = list(_limits(key))
        has_budget = any(each.budget is not None for each in limits)
        if not has_budget and all(each.tokens_per_minute is None for each in limits):
            return NOTHING
        assumes = has_budget and self.policy.unknown_price == "assume_max"
        ticket.assumed = wanted.runtime.dearest if assumes else None
        bounds = wanted.runtime.bounds(wanted.served, self.policy.unknown_price)
        worst = sum((bounds.of(asked(each)) for each in wanted.requests), NOTHING)
        if has_budget and worst.unpriced and self.policy.unknown_price == "deny":
            names = ", ".join(sorted(worst.unpriced))
            raise Forbidden(
                f"The price of {names} is not known, and this key has a budget",
                code="unknown_price",
                param="model",
            )
        return worst

    async def _count(
        self, run: RunRecord, key: VirtualKey, worst: Worst, seconds: float, ticket: Ticket
    ) -> None:
        checks = tuple(_checks(key, worst.tokens))
        if not checks or self.limiter is None:
            return
        try:
            verdict = await self.limiter.take(run.run_id, checks, seconds + LEASE_MARGIN)
        except StoreUnavailable:
            if self.policy.on_store_failure == "closed":
                raise
            _log.warning("limits are not checked: their store does not answer")
            return
        ticket.verdict, ticket.checks = verdict, checks
        if verdict.refused is not None:
            raise _limited(verdict.refused, verdict.retry_after)

    async def _set_aside(
        self, run: RunRecord, key: VirtualKey, worst: Worst, ticket: Ticket
    ) -> None:
        if self.ledger is None:
            return
        claim = self._claim(run, key, worst)
        await _room(self.ledger)
        try:
            ticket.reservation = await self.ledger.reserve(claim)
        except StoreUnavailable:
            if self.policy.on_store_failure == "closed":
                raise
            _log.warning("nothing is reserved: the database does not answer")
            ticket.reservation = reservation_of(claim)
        run.is_reserved = claim.key_budget is not None or claim.team_budget is not None

    def _claim(self, run: RunRecord, key: VirtualKey | None, worst: Worst) -> Claim:
        return claim_of(
            key,
            request_id=run.run_id,
            model=run.model,
            caller=run.caller,
            usd=worst.cost,
            now=self.now(),
        )

    async def _give_back(self, run: RunRecord, ticket: Ticket, *, tokens: int) -> None:
        """Correct the tokens and end the leases; a cancelled request does so too."""
        verdict, limiter = ticket.verdict, self.limiter
        if verdict is None or limiter is None or not ticket.is_counted:
            return
        with anyio.move_on_after(GOODBYE, shield=True):
            for check in ticket.checks:
                if check.kind == "tokens" and tokens != check.amount:
                    delta = tokens - check.amount
                    await limiter.correct(run.run_id, check.scope, delta, verdict.taken_at)
            leased = [check.scope for check in ticket.checks if check.kind == "concurrent"]
            if leased:
                await limiter.release(run.run_id, leased)


OPEN_DOOR = Admission()
"""Lets everybody in and books nothing."""


@dataclass(slots=True)
class Entry:
    """One request's way through the door: in before the run, out after it, whatever happened."""

    admission: Admission
    wanted: Wanted
    who: Caller | None
    run: RunRecord
    ticket: Ticket = field(default_factory=Ticket)

    async def admit(self) -> None:
        """Ask for room; raises what `Admission.admit` raises."""
        await self.admission.admit(self.run, self.wanted, self.who, self.ticket)

    async def close(self) -> None:
        """Settle, also while the request is being cancelled."""
        await self.admission.close(self.run, self.ticket)


async def _room(ledger: Ledger) -> None:
    """Wait until what is to be booked has place. Raises StoreUnavailable where that takes long."""
    if ledger.has_room:
        return
    with anyio.move_on_after(PATIENCE):
        await ledger.room()
        return
    raise StoreUnavailable("The gateway cannot book more requests now; try again in a moment.")


def rate_headers(checks: Sequence[Check], verdict: Verdict) -> dict[str, str]:
    """The state of the limits on requests and tokens, the tighter of key and team for each."""
    found: dict[str, str] = {}
    for kind in ("requests", "tokens"):
        own = [check for check in checks if check.kind == kind]
        if not own:
            continue
        left = {check.scope: verdict.remaining.get((check.scope, kind), 0) for check in own}
        nearest = min(own, key=lambda check: left[check.scope])
        reset = verdict.reset.get((nearest.scope, kind), 0.0)
        found[f"x-ratelimit-limit-{kind}"] = str(nearest.limit)
        found[f"x-ratelimit-remaining-{kind}"] = str(max(0, left[nearest.scope]))
        found[f"x-ratelimit-reset-{kind}"] = f"{math.ceil(reset * 1000)}ms"
    return found


def _limits(key: VirtualKey) -> Iterator[Limits]:
    yield key.limits
    if key.team is not None:
        yield key.team.limits


def _checks(key: VirtualKey, tokens: int) -> Iterator[Check]:
    scopes = [f"key:{key.id}"] + ([f"team:{key.team.id}"] if key.team else [])
    for scope, limits in zip(scopes, _limits(key), strict=True):
        if limits.requests_per_minute is not None:
            yield Check(scope, "requests", limits.requests_per_minute, 1)
        if (limit := limits.tokens_per_minute) is not None:
            # A worst case above the whole limit would never pass: it takes all of it instead.
            yield Check(scope, "tokens", limit, min(tokens, limit))
        if limits.concurrent is not None:
            yield Check(scope, "concurrent", limits.concurrent, 1)


_TOLD = {
    "requests": "requests per minute",
    "tokens": "tokens per minute",
    "concurrent": "requests at the same time",
}


def _limited(refused: Check, wait: float) -> MoaError:
    owner = refused.scope.partition(":")[0]
    helps = math.isfinite(wait)
    return RateLimited(
        f"This {owner} may send {refused.limit} {_TOLD[refused.kind]}; try again later",
        retry_after=max(wait, _LEAST_WAIT) if helps else None,
        should_retry=None if helps else False,
    )
