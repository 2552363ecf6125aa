"""A circuit breaker: a deployment that fails too often is left alone for a while, then probed.

Closed, every call is made. Open, none is. Half open, one call goes through as the probe and the
others are refused; how it ends decides. What the upstream cannot help (a rate limit, a refused
request, a caller gone) says nothing about it.
The pattern: M. Nygard, Release It!, "Circuit Breaker".
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import NewType, Self

from app.errors import (
    UpstreamCircuitOpen,
    UpstreamDenied,
    UpstreamMalformed,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from app.interfaces import Abilities, ChatModel, Emit
from app.protocol.chat import Batch, ChatRequest, says_something
from app.record import Step
from app.upstream.recent import Recent
from app.upstream.spec_guards import BreakerSpec

FAILURES = (UpstreamUnavailable, UpstreamTimeout, UpstreamMalformed, UpstreamDenied)
PROBE_SECONDS = 1.0
"""When to ask again while a probe is under way: nobody knows how long it takes."""

Pass = NewType("Pass", int)
"""The leave to make one call. It is void once the breaker has opened or closed since."""


class State(StrEnum):
    """What a breaker lets through: everything, nothing, or one probe."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """Counts how calls ended, and says whether the next may be made. Knows no call itself.

    It opens at `spec.failures` failures within `spec.window`, if they are `spec.share` of the calls
    that ended in it, and rests for `spec.rest`, twice as long after each probe that fails, at most
    `spec.longest_rest`. Every `Pass` is to be handed back once: to `succeeded`, `failed` or
    `abandoned`.
    """

    def __init__(self, spec: BreakerSpec, clock: Callable[[], float] = time.monotonic) -> None:
        self._spec = spec
        self._clock = clock
        self._calls = Recent(spec.window)
        self._failures = Recent(spec.window)
        self._pass = Pass(1)
        self._is_open = False
        self._is_probing = False
        self._until = 0.0
        self._rest = spec.rest

    @property
    def state(self) -> State:
        """What it would do now."""
        if not self._is_open:
            return State.CLOSED
        is_over = self._is_probing or self._clock() >= self._until
        return State.HALF_OPEN if is_over else State.OPEN

    def rest(self) -> float:
        """Seconds until a call may be made, 0.0 for now; takes no probe's place."""
        if not self._is_open:
            return 0.0
        if self._is_probing:
            return PROBE_SECONDS
        return max(0.0, self._until - self._clock())

    def enter(self) -> Pass | None:
        """Leave to make a call, as the probe where it is time for one; None where there is none."""
        if not self._is_open:
            return self._pass
        if self.rest() > 0:
            return None
        self._is_probing = True
        return self._pass

    def is_probe(self, leave: Pass) -> bool:
        """Whether this call is the one that decides."""
        return self._is_probing and leave == self._pass

    def succeeded(self, leave: Pass) -> None:
        """The upstream answered."""
        if leave != self._pass:
            return
        if self._is_open:
            self._close()
        else:
            self._calls.add(self._clock())

    def failed(self, leave: Pass) -> None:
        """The upstream failed."""
        if leave != self._pass:
            return
        if self._is_open:
            self._open(self._rest * 2)
            return
        now = self._clock()
        self._calls.add(now)
        self._failures.add(now)
        failures = self._failures.count(now)
        if failures >= max(self._spec.failures, self._spec.share * self._calls.count(now)):
            self._open(self._spec.rest)

    def abandoned(self, leave: Pass) -> None:
        """The call says nothing about the upstream; a probe's place is free again."""
        if self.is_probe(leave):
            self._is_probing = False
            self._renew()

    def guard(self, upstream: str) -> Guard:
        """A context for one call; entering it raises UpstreamCircuitOpen where none may be made."""
        return Guard(self, upstream)

    def _open(self, rest: float) -> None:
        self._rest = min(rest, self._spec.longest_rest)
        self._until = self._clock() + self._rest
        self._is_open, self._is_probing = True, False
        self._renew()

    def _close(self) -> None:
        self._is_open = self._is_probing = False
        self._calls.clear()
        self._failures.clear()
        self._renew()

    def _renew(self) -> None:
        self._pass = Pass(self._pass + 1)


class Guard:
    """One call through a breaker, booked by the way its context is left."""

    __slots__ = ("_breaker", "_leave", "_upstream")

    def __init__(self, breaker: Breaker, upstream: str) -> None:
        self._breaker = breaker
        self._upstream = upstream
        self._leave: Pass | None = None

    def __enter__(self) -> Self:
        self._leave = self._breaker.enter()
        if self._leave is None:
            raise UpstreamCircuitOpen(
                f"Upstream '{self._upstream}' failed too often of late and is left alone.",
                retry_after=self._breaker.rest(),
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        leave = self._leave
        if leave is None:
            return
        if kind is None:
            self._breaker.succeeded(leave)
        elif issubclass(kind, FAILURES):
            self._breaker.failed(leave)
        else:
            self._breaker.abandoned(leave)

    def watch(self, emit: Emit) -> Emit:
        """`emit`, and for a probe one that closes the breaker at the first token.

        A long answer would keep everyone else waiting; if it breaks off later, that counts as a
        failure like any other.
        """
        if self._leave is None or not self._breaker.is_probe(self._leave):
            return emit

        async def emit_and_prove(batch: Batch) -> None:
            if self._leave is not None and self._breaker.is_probe(self._leave):
                self._prove(self._leave, batch)
            await emit(batch)

        return emit_and_prove

    def _prove(self, leave: Pass, batch: Batch) -> None:
        if says_something(batch):
            self._breaker.succeeded(leave)
            self._leave = self._breaker.enter()


@dataclass(frozen=True, slots=True)
class Breaking:
    """A model that is not asked while its breaker is open."""

    inner: ChatModel
    breaker: Breaker
    upstream: str

    @property
    def name(self) -> str:
        """The name of what it wraps."""
        return self.inner.name

    @property
    def abilities(self) -> Abilities:
        """What it can take."""
        return self.inner.abilities

    async def answer(self, request: ChatRequest, step: Step, emit: Emit) -> None:
        """Answer, as every `ChatModel` does; raises UpstreamCircuitOpen where it is not asked."""
        with self.guard() as call:
            await self.inner.answer(request, step, call.watch(emit))

    def guard(self) -> Guard:
        """The same for calls of other kinds: a context around one."""
        return self.breaker.guard(self.upstream)
