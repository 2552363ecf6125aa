"""Asking a second deployment when the first is slower than it should be; the faster one answers.

Dean and Barroso, "The Tail at Scale", CACM 56(2), 2013: the tail goes for a few more calls.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

from app.caps import enter_repeat, may_hedge
from app.errors import UpstreamError
from app.interfaces import Abilities, Emit
from app.protocol.chat import Batch, ChatRequest
from app.record import Step
from app.upstream.pool import Member, Pool, Tried
from app.upstream.retry import Retrying
from app.upstream.spec_guards import HedgeSpec


class Hedged:
    """A pool with retries whose slow answers are raced by another member.

    A member is slow once `spec.quantile` of its own recent calls would have said something, and
    never before `spec.least`; as long as too few calls tell, there is no hedge. `sleep` takes
    seconds.
    """

    def __init__(
        self,
        retrying: Retrying,
        pool: Pool,
        spec: HedgeSpec,
        *,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._retrying = retrying
        self._pool = pool
        self._spec = spec
        self._sleep = sleep

    @property
    def name(self) -> str:
        """The name of the pool."""
        return self._retrying.name

    @property
    def abilities(self) -> Abilities:
        """What every member can take."""
        return self._retrying.abilities

    async def answer(self, request: ChatRequest, step: Step, emit: Emit) -> None:
        """Answer, as every `ChatModel` does; raises the first leg's error where both failed."""
        tried = Tried()
        first = self._first(request, tried)
        patience = None if first is None else self._patience(first, request)
        if first is None or patience is None:
            await self._retrying.answer(request, step, emit, tried, first)
            return

        async def ask(member: Member, to: Emit) -> None:
            await self._retrying.answer(request, step, to, tried, member)

        race = _Race(ask, emit)
        await race.run(
            first, lambda: self._sleep(patience), lambda: self._second(request, step, tried)
        )

    def _first(self, request: ChatRequest, tried: Tried) -> Member | None:
        """The member to begin with; None where a refusal is for the retries to deal with."""
        if len(self._pool.members) == 1:
            return None
        try:
            first = self._pool.choose(request, tried)
        except UpstreamError:
            return None
        first.budget.called()
        return first

    def _patience(self, member: Member, request: ChatRequest) -> float | None:
        vitals = member.standing.vitals
        usual = vitals.quantile(self._spec.quantile, streamed=request.stream)
        return None if usual is None else max(usual, self._spec.least)

    def _second(self, request: ChatRequest, step: Step, tried: Tried) -> Member | None:
        """Another member, if one may be asked and there is room for the call, which is entered."""
        try:
            second = self._pool.choose(request, tried)
        except UpstreamError:
            return None
        if second in tried or not (may_hedge(step) and second.budget.allows()):
            return None
        enter_repeat(step)
        step.run.note("hedge", step.node, second.name)
        return second


class _Leg:
    """One of the two calls."""

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self.error: Exception | None = None


class _Race:
    """One hedged answer: the first leg that says something goes on, the other is cancelled.

    What a leg raises is kept and raised outside the task group, which would wrap it.
    """

    def __init__(self, ask: Callable[[Member, Emit], Awaitable[None]], emit: Emit) -> None:
        self._ask = ask
        self._emit = emit
        self._legs: list[_Leg] = []
        self._winner: _Leg | None = None
        self._waiting = anyio.CancelScope()

    async def run(
        self,
        first: Member,
        wait: Callable[[], Awaitable[None]],
        choose: Callable[[], Member | None],
    ) -> None:
        """Ask the first member and, unless something was said after the wait, a second one."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._run, first, self._new_leg())
            with self._waiting:
                await wait()
            if not self._waiting.cancel_called and (second := choose()) is not None:
                group.start_soon(self._run, second, self._new_leg())
        failed = self._winner or self._legs[0]
        if failed.error is not None:
            raise failed.error

    def _new_leg(self) -> _Leg:
        leg = _Leg()
        self._legs.append(leg)
        return leg

    async def _run(self, member: Member, leg: _Leg) -> None:
        async def emit(batch: Batch) -> None:
            if not self._wins(leg):
                await anyio.sleep_forever()  # cancelled already, and it is told here
            await self._emit(batch)

        if self._winner is not None:
            return
        with leg.scope:
            try:
                await self._ask(member, emit)
                self._wins(leg)
            except Exception as error:  # noqa: BLE001 - raised by `run`, as itself
                leg.error = error
        # Nothing to wait for: the first leg is over, and had its retries.
        self._waiting.cancel()

    def _wins(self, leg: _Leg) -> bool:
        """Whether this leg goes on; the first that asks does."""
        if self._winner is None:
            self._winner = leg
            self._waiting.cancel()
            for other in self._legs:
                if other is not leg:
                    other.scope.cancel()
        return self._winner is leg
