"""Proposals that are not paid for twice: kept for a while, and asked for once at a time.

A wrapper around the models of inner nodes; the output node and whole graphs are never cached.
Exact: everything that determines a call is in its key, and nothing that resembles it will do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Literal

import anyio
import orjson

from app.engine.graph import Nesting
from app.engine.reference import read_reference
from app.errors import UpstreamError
from app.interfaces import Abilities, Cache, ChatModel, Emit
from app.protocol.answer import Answer
from app.protocol.chat import Batch, ChatRequest, Chunk
from app.protocol.completion import chunk_from_completion
from app.record import Step, Target

MOST_FAILURES = 2
"""Upstream failures in a row after which those who wait for the same answer fail too."""
_VERSION = "proposal:1:"


@dataclass(frozen=True, slots=True)
class Keeping:
    """How a graph keeps its proposals: `ttl` in seconds, for one caller (`key`) or for all."""

    graph: str
    ttl: float
    scope: Literal["key", "all"] = "key"


@dataclass(slots=True)
class _Flight:
    """One question on its way: its answer once it is there, or how often in a row it failed."""

    landed: anyio.Event = field(default_factory=anyio.Event)
    answer: Chunk | None = None
    failures: int = 0
    error: UpstreamError | None = None


class Proposals:
    """What all graphs share: the store, and the questions on their way in this process.

    `fingerprints` tell, by model name, two configurations of one model apart. All mutable state:
    the flights by key.
    """

    def __init__(self, store: Cache, fingerprints: Mapping[str, str]) -> None:
        self._store, self._fingerprints = store, fingerprints
        self._flights: dict[str, _Flight] = {}

    def kept(self, models: Sequence[ChatModel], keeping: Keeping) -> tuple[ChatModel, ...]:
        """The models with their answers kept; a graph that is a node's model sees to its own."""
        return tuple(
            model if isinstance(model, Nesting) else self._cached(model, keeping)
            for model in models
        )

    def _cached(self, model: ChatModel, keeping: Keeping) -> CachedModel:
        fingerprint = self._fingerprints.get(model.name, "")
        return CachedModel(model, self._store, self._flights, keeping, fingerprint)


class CachedModel:
    """A model whose whole good answers are kept.

    Equal questions that are asked meanwhile make one call, whose whole answer they all get. Those
    who wait do so on their own clock; if the one who asks leaves or fails, one of them asks in its
    place.
    """

    def __init__(
        self,
        model: ChatModel,
        store: Cache,
        flights: dict[str, _Flight],
        keeping: Keeping,
        fingerprint: str = "",
    ) -> None:
        self.model = model
        self._store, self._flights, self._keeping = store, flights, keeping
        self._identity = identity(model, fingerprint)

    @property
    def name(self) -> str:
        """The model's own name."""
        return self.model.name

    @property
    def abilities(self) -> Abilities:
        """What the model can take."""
        return self.model.abilities

    async def answer(self, request: ChatRequest, step: Step, emit: Emit) -> None:
        """Answer from the store, from the same question on its way, or by the model.

        Raises what the model raises. Only an answer of the model's is a call in the record.
        """
        key, failures = self.key(request, step), 0
        while (flight := self._flights.get(key)) is not None:
            await flight.landed.wait()
            if flight.answer is not None:
                step.run.note("shared", step.node, step.sample + 1)
                await emit([flight.answer])
                return
            failures = flight.failures
            if flight.error is not None and failures >= MOST_FAILURES:
                raise flight.error
        await self._lead(key, _Flight(failures=failures), request, step, emit)

    def key(self, request: ChatRequest, step: Step) -> str:
        """A digest of everything that determines the call, and of who may share it."""
        keeping = self._keeping
        whose = f"key:{step.run.caller}" if keeping.scope == "key" else "all"
        # The path tells the samples of a nested graph apart, each with samples of its own.
        place = [whose, keeping.graph, step.graph, step.node, step.sample]
        # Each part is JSON, so none can run into the next.
        parts = (
            self._identity,
            orjson.dumps(place),
            orjson.dumps(dict(request.params), option=orjson.OPT_SORT_KEYS),
            request.conversation.encoded,
        )
        return _VERSION + sha256(b"".join(parts)).hexdigest()

    async def _lead(
        self, key: str, flight: _Flight, request: ChatRequest, step: Step, emit: Emit
    ) -> None:
        self._flights[key] = flight
        try:
            flight.answer = _replayed(await self._store.get(key))
            if flight.answer is None:
                await self._ask(key, flight, request, step, emit)
                return
        finally:
            del self._flights[key]
            flight.landed.set()
        step.run.note("cached", step.node, step.sample + 1)
        await emit([flight.answer])

    async def _ask(
        self, key: str, flight: _Flight, request: ChatRequest, step: Step, emit: Emit
    ) -> None:
        answer = Answer()

        async def listen(batch: Batch) -> None:
            answer.add(batch)
            await emit(batch)

        try:
            await self.model.answer(request, step, listen)
        except UpstreamError as error:
            flight.failures, flight.error = flight.failures + 1, error
            raise
        body = orjson.dumps(answer.to_wire(id="", created=0, model="", usage=None))
        flight.answer = _replayed(body)
        flight.landed.set()
        if is_worth_keeping(answer):
            await self._store.set(key, body, self._keeping.ttl)


def uncached(model: ChatModel) -> ChatModel:
    """The model itself, without what is kept of it."""
    return model.model if isinstance(model, CachedModel) else model


def identity(model: ChatModel, fingerprint: str) -> bytes:
    """Everything known of who answers: names, upstream, abilities, the rest of its settings."""
    target = getattr(model, "target", None)
    where = [target.upstream, target.upstream_model] if isinstance(target, Target) else []
    return orjson.dumps([model.name, where, asdict(model.abilities), fingerprint])


def is_worth_keeping(answer: Answer) -> bool:
    """Whether it is one whole text that ended by itself and is no refusal."""
    if answer.choices != 1 or answer.finish_reason() != "stop" or answer.tool_calls():
        return False
    reference = read_reference(answer, node="", sample=0)
    return reference is not None and not reference.refused


def _replayed(body: bytes | None) -> Chunk | None:
    return None if body is None else chunk_from_completion(orjson.loads(body))
