"""Asking a pool again after a failure: whom, after how long, and whether at all.

Nothing is asked again once a token has come. What one more call may cost is settled elsewhere: by
the upstream's retry budget and the run's caps.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import Enum, auto
from random import Random
from typing import TypeVar

import anyio

from app.caps import enter_repeat, may_repeat
from app.errors import (
    UpstreamBusy,
    UpstreamCircuitOpen,
    UpstreamConnectTimeout,
    UpstreamError,
    UpstreamMalformed,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamUnavailable,
)
from app.interfaces import Abilities, Emit
from app.protocol.chat import ChatRequest
from app.protocol.json_types import JsonObject
from app.record import Step
from app.upstream.pool import Gate, Member, Pool, Tried

FIRST_WAIT = 0.25
"""Seconds; doubled with each retry, up to `LONGEST_BACKOFF`. What is waited is a random part."""
LONGEST_BACKOFF = 8.0
LONGEST_WAIT = 30.0
"""Seconds. An upstream that asks for more is believed, and its error raised."""
SPREAD = 0.1
"""The part of a `Retry-After` that may be added to it, so that not all come back at once."""

NO_CALL = (UpstreamBusy, UpstreamCircuitOpen)
"""Errors of our own guards: asking another member then is no second call."""
_ANYWHERE = (
    UpstreamUnavailable,
    UpstreamConnectTimeout,
    UpstreamMalformed,
    UpstreamRateLimited,
)

T = TypeVar("T")


class Helps(Enum):
    """Where asking again may help: nowhere, at another member only, or at the same one too."""

    NOWHERE = auto()
    ELSEWHERE = auto()
    ANYWHERE = auto()


def helps(error: UpstreamError) -> Helps:
    """Where this error may not come again."""
    if isinstance(error, UpstreamRejected):
        return Helps.NOWHERE
    if error.should_retry is False or not isinstance(error, _ANYWHERE):
        return Helps.ELSEWHERE
    return Helps.ANYWHERE


class Retrying:
    """A pool as a `ChatModel` and an `Embedder`, asked up to `retries` times more.

    The error raised in the end is the last one: it tells the present state. `sleep` takes seconds.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        retries: int = 2,
        rng: Random | None = None,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._pool = pool
        self._retries = retries
        self._rng = rng or Random()  # noqa: S311 - spreads load, guards nothing
        self._sleep = sleep

    @property
    def name(self) -> str:
        """The name of the pool."""
        return self._pool.name

    @property
    def abilities(self) -> Abilities:
        """What every member can take."""
        return self._pool.abilities

    async def answer(
        self,
        request: ChatRequest,
        step: Step,
        emit: Emit,
        tried: Tried | None = None,
        first: Member | None = None,
    ) -> None:
        """Answer, as every `ChatModel` does.

        `first` is the member to begin with, chosen and entered in its retry budget already.
        """
        tries = _Tries(request, step, emit)
        await self._persist(
            tries, step, tried or Tried(), request=request, first=first, begun=tries.begun
        )

    async def embed(self, texts: Sequence[str], step: Step) -> list[list[float]]:
        """Turn texts into vectors, as every `Embedder` does."""
        return await self._persist(lambda member: member.embed(texts, step), step, Tried())

    async def pass_on(self, params: Mapping[str, object], step: Step) -> list[JsonObject]:
        """Have a client's own request answered, as every `EmbeddingServer` does."""
        return await self._persist(lambda member: member.pass_on(params, step), step, Tried())

    async def _persist(
        self,
        attempt: Callable[[Member], Awaitable[T]],
        step: Step,
        tried: Tried,
        *,
        request: ChatRequest | None = None,
        first: Member | None = None,
        begun: Callable[[], bool] = lambda: False,
    ) -> T:
        """The policy, whatever is asked for; `begun` says that it is too late to ask again."""
        member, is_entered, retries = first, first is not None, 0
        while True:
            try:
                if member is None:
                    member = self._pool.choose(request, tried)
                if not is_entered:
                    member.budget.called()
                    is_entered = True
                tried.members.append(member)
                return await attempt(member)
            except UpstreamError as error:
                is_free = member is not None and isinstance(error, NO_CALL)
                if begun() or (retries >= self._retries and not is_free):
                    raise
                target, wait = self._next(error, member, request, tried)
                if wait > LONGEST_WAIT or wait >= step.time_left():
                    raise
                if member is not None and not is_free and not _affords(target or member, step):
                    raise
            if wait:
                await self._sleep(wait)
            if not is_free:
                retries += 1
                _count(step, tried)
            member = target if target is not None and target.refusal() is None else None

    def _next(
        self,
        failure: UpstreamError,
        member: Member | None,
        request: ChatRequest | None,
        tried: Tried,
    ) -> tuple[Member | None, float]:
        """Whom to ask next, None for whoever is free by then, and after how many seconds.

        Raises `failure` where that helps nobody.
        """
        where = helps(failure)
        if where is Helps.ELSEWHERE and member is not None:
            tried.barred.append(member)
        if where is Helps.NOWHERE or self._pool.is_hopeless(tried):
            raise failure
        try:
            target = self._pool.choose(request, tried)
        except UpstreamRateLimited as refusal:
            if isinstance(failure, UpstreamRateLimited):
                failure.retry_after = refusal.retry_after  # another may be asked sooner
            return None, self._spread(refusal.retry_after or 0.0)
        except UpstreamError:
            raise failure from None
        if target not in tried:
            return target, 0.0
        if target is member and failure.retry_after is not None:
            return target, self._spread(failure.retry_after)
        backoff = min(LONGEST_BACKOFF, FIRST_WAIT * 2**tried.retries)
        return target, self._rng.uniform(0.0, backoff)

    def _spread(self, seconds: float) -> float:
        return seconds * (1 + self._rng.uniform(0.0, SPREAD))


class _Tries:
    """One chat request, put to one member after another, each try behind a gate of its own."""

    def __init__(self, request: ChatRequest, step: Step, emit: Emit) -> None:
        self._request, self._step, self._emit = request, step, emit
        self._gate: Gate | None = None

    async def __call__(self, member: Member) -> None:
        gate = self._gate = Gate(self._emit)
        await member.answer(self._request, self._step, gate)
        if not gate.seen:
            await gate.release()

    def begun(self) -> bool:
        """Whether the caller has seen anything."""
        return self._gate is not None and self._gate.seen


def _count(step: Step, tried: Tried) -> None:
    tried.retries += 1
    step.run.note("retry", step.node, tried.retries)


def _affords(member: Member, step: Step) -> bool:
    """Whether the run and the upstream have room for an extra call; if so it is entered."""
    if not (may_repeat(step) and member.budget.allows()):
        return False
    enter_repeat(step)
    return True
