"""Deployments behind one name, and which of them a request is sent to.

What is done when the chosen one fails is the business of `retry` and `hedge`.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from hashlib import blake2b
from math import inf, log
from random import Random
from typing import TypeVar

from app.errors import (
    InternalError,
    UpstreamBusy,
    UpstreamCircuitOpen,
    UpstreamError,
    UpstreamRateLimited,
)
from app.first_token import FirstToken
from app.interfaces import Abilities, ChatModel, Emit
from app.protocol.chat import Batch, ChatRequest
from app.protocol.json_types import JsonObject
from app.record import Step
from app.upstream.embeddings import EmbeddingsCall
from app.upstream.limit import RETRY_AFTER
from app.upstream.retry_budget import RetryBudget
from app.upstream.standing import Standing

CLEARLY = 1.25
"""How many times the load of the other one a deployment must have to lose a call it had drawn."""
SHUNNED = 1.0
"""Seconds a deployment is chosen last after a 429 that does not say for how long."""
SHUNNED_WITHOUT_QUOTA = 60.0

T = TypeVar("T")


class Gate(FirstToken):
    """The `FirstToken` of one try; calls `told` when it comes."""

    def __init__(self, emit: Emit) -> None:
        super().__init__(emit)
        self.told: Callable[[], None] | None = None

    async def release(self, batch: Batch = ()) -> None:
        """Hand on what was held back, with the first batch that says something behind it."""
        if batch and self.told is not None:
            self.told()
        await super().release(batch)


class Member:
    """One deployment in its pool: asks it, and tells its vitals what came of it.

    `model` is the call with breaker and limit around it, and the calls of `embeddings` go through
    the same two. `name` is what sticky keys stick to, so it should outlive a restart. `clock` is
    that of the vitals.
    """

    def __init__(
        self,
        name: str,
        model: ChatModel,
        standing: Standing,
        budget: RetryBudget,
        *,
        upstream: str,
        weight: float = 1.0,
        embeddings: EmbeddingsCall | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.model = model
        self.standing = standing
        self.budget = budget
        self.upstream = upstream
        self.weight = weight
        self._embeddings = embeddings
        self._clock = clock

    def refusal(self) -> UpstreamError | None:
        """Why it may not be asked now, and in `retry_after` when it may; None where it may."""
        standing = self.standing
        if rest := standing.vitals.resting:
            return UpstreamRateLimited(
                f"Upstream '{self.upstream}' limits our rate.", retry_after=rest
            )
        if standing.breaker is not None and (rest := standing.breaker.rest()):
            what = f"Upstream '{self.upstream}' failed too often of late and is left alone."
            return UpstreamCircuitOpen(what, retry_after=rest)
        if standing.slots is not None and standing.slots.is_full:
            what = f"Upstream '{self.upstream}' is busy with as many calls as it may get at once."
            return UpstreamBusy(what, retry_after=RETRY_AFTER)
        return None

    async def answer(self, request: ChatRequest, step: Step, gate: Gate) -> None:
        """Answer through this try's gate; raises UpstreamError."""
        vitals, streamed = self.standing.vitals, request.stream
        start = vitals.began()
        gate.told = lambda: vitals.answered(self._clock() - start, streamed=streamed)
        try:
            await self.model.answer(request, step, gate)
        except UpstreamRateLimited as error:
            self._heed(error)
            raise
        finally:
            vitals.ended()
            if not gate.seen:
                self._fell_silent(start, streamed=streamed)

    async def embed(self, texts: Sequence[str], step: Step) -> list[list[float]]:
        """Turn texts into vectors, as every `Embedder` does."""
        return await self._guarded(step, lambda call: call.embed(texts, step))

    async def pass_on(self, params: Mapping[str, object], step: Step) -> list[JsonObject]:
        """Have a client's own request answered, as every `EmbeddingServer` does."""
        return await self._guarded(step, lambda call: call.pass_on(params, step))

    async def _guarded(self, step: Step, ask: Callable[[EmbeddingsCall], Awaitable[T]]) -> T:
        """One call for embeddings behind the same breaker and limit as the others."""
        if self._embeddings is None:
            raise InternalError(InternalError.TOLD, detail=f"'{self.name}' has no embeddings")
        vitals, breaker, slots = self.standing.vitals, self.standing.breaker, self.standing.slots
        start = vitals.began()
        try:
            with breaker.guard(self.upstream) if breaker else nullcontext():
                async with slots.taken(self.upstream, step.time_left()) if slots else nullcontext():
                    answer = await ask(self._embeddings)
            vitals.answered(self._clock() - start, streamed=False)
        except UpstreamRateLimited as error:
            self._heed(error)
            raise
        finally:
            vitals.ended()
        return answer

    def _heed(self, error: UpstreamRateLimited) -> None:
        vitals = self.standing.vitals
        if error.should_retry is False:
            vitals.shun(SHUNNED_WITHOUT_QUOTA)
        elif error.retry_after is None:
            vitals.shun(SHUNNED)
        else:
            vitals.rest(error.retry_after)

    def _fell_silent(self, start: float, *, streamed: bool) -> None:
        """Nothing came for longer than usual: nobody knows how long it takes, but at least that.

        Without this, one that hangs would seem as fast as ever.
        """
        seconds = self._clock() - start
        if 0.0 < self.standing.vitals.latency < seconds:
            self.standing.vitals.answered(seconds, streamed=streamed)


@dataclass(slots=True, eq=False)
class Tried:
    """What one request has tried so far; the legs of a hedge share it.

    `barred` are those for which this request is hopeless. `retries` counts the tries after the
    first.
    """

    members: list[Member] = field(default_factory=list)
    barred: list[Member] = field(default_factory=list)
    retries: int = 0

    def __contains__(self, member: Member) -> bool:
        return member in self.members


class Pool:
    """Chooses among its members. Holds no state but theirs.

    `sticky`: requests with the same `prompt_cache_key` go to the same member, whose prompt cache is
    warm. `rng` draws the others.
    """

    def __init__(
        self,
        name: str,
        members: Sequence[Member],
        *,
        sticky: bool = True,
        rng: Random | None = None,
    ) -> None:
        self.name = name
        self.members = tuple(members)
        self.abilities = common_abilities(member.model.abilities for member in members)
        self._sticky = sticky
        self._rng = rng or Random()  # noqa: S311 - spreads load, guards nothing
        self._mean_weight = sum(member.weight for member in members) / len(members)

    def choose(self, request: ChatRequest | None, tried: Tried) -> Member:
        """The member to be asked next: one not tried yet as long as there is one.

        Where nobody may be asked now, raises what says so of the one that may be asked soonest:
        UpstreamRateLimited, UpstreamCircuitOpen or UpstreamBusy.
        """
        if len(self.members) == 1:
            only = self.members[0]
            if (refusal := only.refusal()) is not None:
                raise refusal
            return only
        open_ones = self._open(tried)
        fresh = [m for m in open_ones if m not in tried] if tried.members else open_ones
        among = fresh or open_ones
        among = [m for m in among if not m.standing.vitals.shunned] or among
        if len(among) == 1:
            return among[0]
        key = request.params.get("prompt_cache_key") if request and self._sticky else None
        return _rendezvous(key, among) if isinstance(key, str) and key else self._lighter(among)

    def is_hopeless(self, tried: Tried) -> bool:
        """Whether no member is left that this request could be put to, now or later."""
        return all(member in tried.barred for member in self.members)

    def _open(self, tried: Tried) -> list[Member]:
        found, refusals = [], []
        for member in [m for m in self.members if m not in tried.barred] or self.members:
            refusal = member.refusal()
            if refusal is None:
                found.append(member)
            else:
                refusals.append(refusal)
        if not found:
            raise min(refusals, key=_soonest)
        return found

    def _lighter(self, among: Sequence[Member]) -> Member:
        """Power of two choices: of two drawn by weight the first, unless its load clearly is more.

        So weights hold between deployments about as fast and busy, and idle ones go first
        otherwise. M. Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001.
        """
        first = self._drawn(among)
        second = self._drawn([member for member in among if member is not first])
        return second if CLEARLY * self._load(second) < self._load(first) else first

    def _drawn(self, among: Sequence[Member]) -> Member:
        if len(among) == 1:
            return among[0]
        return self._rng.choices(among, [member.weight for member in among])[0]

    def _load(self, member: Member) -> float:
        """Roughly the seconds until it would have answered one more."""
        vitals = member.standing.vitals
        share = member.weight / self._mean_weight
        return (vitals.in_flight / share + 1) * (vitals.latency or self._usual_latency())

    def _usual_latency(self) -> float:
        known = [seconds for m in self.members if (seconds := m.standing.vitals.latency)]
        return sum(known) / len(known) if known else 1.0


def common_abilities(abilities: Iterable[Abilities]) -> Abilities:
    """What every one of them can take."""
    every = list(abilities)
    return Abilities(
        context=_least(one.context for one in every),
        max_output=_least(one.max_output for one in every),
        vision=all(one.vision for one in every),
        audio=all(one.audio for one in every),
        tools=all(one.tools for one in every),
        json_schema=all(one.json_schema for one in every),
        strength=_least(one.strength for one in every),
    )


_Number = TypeVar("_Number", int, float)


def _least(numbers: Iterable[_Number | None]) -> _Number | None:
    return min((number for number in numbers if number is not None), default=None)


def _soonest(refusal: UpstreamError) -> float:
    return inf if refusal.retry_after is None else refusal.retry_after


def _rendezvous(key: str, among: Sequence[Member]) -> Member:
    """The member of a key: it changes only where its member goes or a new one takes it.

    Highest random weight hashing (Thaler and Ravishankar, 1998), weighted as by Schindelhauer and
    Schomaker, 2005.
    """
    hashed_key = blake2b(key.encode("utf-8", "surrogatepass")).digest()

    def score(member: Member) -> float:
        digest = blake2b(member.name.encode(), key=hashed_key, digest_size=8)
        # 52 bits, so that half a unit more never rounds to 1, whose logarithm is 0.
        unit = ((int.from_bytes(digest.digest()) >> 12) + 0.5) / 2**52
        return -member.weight / log(unit)

    return max(among, key=score)
