"""What one room needs of another, handed in by the composition root. Types only, no behaviour."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

from app.protocol.chat import Batch, ChatRequest
from app.protocol.json_types import JsonObject
from app.record import Step

Emit: TypeAlias = Callable[[Batch], Awaitable[None]]
"""Where a model's answer goes, batch by batch; returning late is how a slow client slows us."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a model can take, as declared: undeclared means able, no `context` means never trimmed.

    `context` and `max_output` are in tokens. `strength` is the operator's own ranking, on a scale
    of his; it is for advice alone.
    """

    context: int | None = None
    max_output: int | None = None
    vision: bool = True
    audio: bool = True
    tools: bool = True
    json_schema: bool = True
    strength: float | None = None


class ChatModel(Protocol):
    """Anything that answers a chat request: a deployment, a pool, a whole graph, a fake."""

    @property
    def name(self) -> str:
        """The name it is configured under."""

    @property
    def abilities(self) -> Abilities:
        """What it can take."""

    async def answer(self, request: ChatRequest, step: Step, emit: Emit) -> None:
        """Answer, handing every batch to `emit` as it comes; return after a complete answer.

        Raises an `app.errors.MoaError` when there is no answer, or none that is whole: what was
        emitted before it stays emitted. Writes one `CallRecord` per upstream call into
        `step.run`. Cancelling the call closes every connection it holds.
        """


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into vectors whose cosine tells how alike they are."""

    @property
    def name(self) -> str:
        """The name it is configured under."""

    async def embed(self, texts: Sequence[str], step: Step) -> list[list[float]]:
        """One vector a text, in their order; booked like any upstream call.

        Raises an `app.errors.MoaError` where there are none.
        """


@runtime_checkable
class EmbeddingServer(Protocol):
    """Answers a client's own request for embeddings: texts or tokens, in the form it wants."""

    async def pass_on(self, params: Mapping[str, object], step: Step) -> list[JsonObject]:
        """OpenAI's `data` for these body fields, in the order of the inputs; booked like any call.

        `encoding_format` is kept whatever the upstream makes of it. Raises an
        `app.errors.MoaError` where there are none.
        """


class Cache(Protocol):
    """Bytes by key for a while; a store that several replicas share may stand behind it."""

    async def get(self, key: str) -> bytes | None:
        """What was set, None if nothing was or its time is over."""

    async def set(self, key: str, value: bytes, ttl: float) -> None:
        """Keep for `ttl` seconds at most."""


class Clock(Protocol):
    """Seconds from a fixed but arbitrary moment; stamps records, never decides."""

    def __call__(self) -> float:
        """Now."""
