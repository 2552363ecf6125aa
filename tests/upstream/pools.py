"""Pools of scripted models, with a clock and a sleep that tests hold in their hands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from app.errors import UpstreamRateLimited, UpstreamUnavailable
from app.interfaces import Abilities
from app.protocol.chat import Batch, ChatRequest, Chunk, Conversation
from app.record import Caps, Note, RunRecord, Step
from app.upstream.breaker import Breaker, Breaking
from app.upstream.fake import Answer, FakeModel, Script
from app.upstream.limit import Limited, Slots
from app.upstream.pool import Member, Pool
from app.upstream.retry import Retrying
from app.upstream.retry_budget import RetryBudget
from app.upstream.spec_guards import BreakerSpec, ConcurrencySpec
from app.upstream.standing import Standing
from app.upstream.vitals import Vitals

CONVERSATION = Conversation(({"role": "user", "content": "Why?"},))
QUESTION = ChatRequest(CONVERSATION, stream=True)
UNSTREAMED = ChatRequest(CONVERSATION)


def down(**kwargs: float) -> UpstreamUnavailable:
    return UpstreamUnavailable("Upstream 'fake' answered with status 500.", **kwargs)


def limited(**kwargs: float) -> UpstreamRateLimited:
    return UpstreamRateLimited("Upstream 'fake' limits our rate.", **kwargs)


def role_then(error: Exception) -> Script:
    """A role and an empty text, then an error."""
    return Script(("", "never said"), after=1, error=error)


def cut(text: str, error: Exception) -> Script:
    """One token, then an error."""
    return Script((text, "never said"), after=1, error=error)


class Clock:
    """Time stands still, but for those who sleep by it; `slept` is what they asked for."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class Asking:
    """Who asks: a run, and what it got to see."""

    def __init__(self, clock: Clock, caps: Caps | None = None, until: float | None = None) -> None:
        self.run = RunRecord("run", "pool", clock, caps=caps or Caps())
        self.step = Step(self.run, node="n", until=until)
        self.chunks: list[Chunk] = []

    async def emit(self, batch: Batch) -> None:
        self.chunks.extend(batch)

    @property
    def text(self) -> str:
        return "".join(
            str(choice["delta"].get("content") or "")
            for chunk in self.chunks
            for choice in chunk.choices
        )

    @property
    def outcomes(self) -> list[tuple[str, str]]:
        """Model and outcome of each upstream call; all of them are over."""
        assert all(call.ended is not None for call in self.run.calls)
        return [(call.target.model, call.outcome.value) for call in self.run.calls]

    def notes(self, what: str) -> list[Note]:
        return [note for note in self.run.notes if note.what == what]


@dataclass
class Setting:
    """Members `a`, `b`, … over fake models that play the given answers."""

    clock: Clock = field(default_factory=Clock)
    models: dict[str, FakeModel] = field(default_factory=dict)
    budgets: dict[str, RetryBudget] = field(default_factory=dict)

    def member(
        self,
        name: str,
        answers: Answer | Sequence[Answer] = "Yes.",
        *,
        upstream: str = "",
        weight: float = 1.0,
        breaker: BreakerSpec | None = None,
        concurrency: ConcurrencySpec | None = None,
        abilities: Abilities | None = None,
    ) -> Member:
        upstream = upstream or f"up-{name}"
        fake = self.models[name] = FakeModel(name, answers, abilities or Abilities())
        standing = Standing(
            Vitals(self.clock),
            Breaker(breaker, self.clock) if breaker else None,
            Slots(concurrency) if concurrency else None,
        )
        inner = Limited(fake, standing.slots, upstream) if standing.slots else fake
        model = Breaking(inner, standing.breaker, upstream) if standing.breaker else inner
        budget = self.budgets.setdefault(upstream, RetryBudget(self.clock))
        return Member(
            name, model, standing, budget, upstream=upstream, weight=weight, clock=self.clock
        )

    def retrying(self, *members: Member, retries: int = 2, seed: int = 1) -> Retrying:
        return Retrying(
            in_order(*members), retries=retries, rng=seeded(seed), sleep=self.clock.sleep
        )

    def asked(self) -> dict[str, int]:
        """How many calls each model got."""
        return {name: len(model.calls) for name, model in self.models.items()}


class FirstDrawn(Random):
    """Draws the first of what is there, and the middle of a range."""

    def random(self) -> float:
        return 0.0

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


def seeded(seed: int = 7) -> Random:
    return Random(seed)  # noqa: S311 - the same luck in each run


def in_order(*members: Member) -> Pool:
    """A pool that asks them in their order, as long as they are equally busy."""
    return Pool("pool", members, rng=FirstDrawn())
