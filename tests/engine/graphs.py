"""Building graphs of fakes for the engine's tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from app.engine.compile import compile_graphs
from app.engine.graph_model import GraphModel
from app.engine.parts import NO_PARTS, Parts
from app.engine.spec import GraphSpec, LimitsSpec
from app.interfaces import ChatModel
from app.protocol.answer import Answer
from app.protocol.chat import Batch, ChatRequest, Conversation
from app.record import RunRecord, Step

_SPECS = TypeAdapter(dict[str, GraphSpec])


class Ticks:
    """A clock that moves by one at each look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def build(
    graphs: Mapping[str, Any],
    models: Mapping[str, ChatModel],
    limits: LimitsSpec | None = None,
    parts: Parts = NO_PARTS,
) -> dict[str, GraphModel]:
    """Compile graphs written as in the configuration file."""
    return compile_graphs(_SPECS.validate_python(dict(graphs)), models, limits, parts)


def question(text: str = "What is a quorum?", **params: object) -> ChatRequest:
    """A request with one user message."""
    return ChatRequest(Conversation(({"role": "user", "content": text},)), params)


class Asked:
    """What came of a run: the answer as put together, its batches, and the record."""

    def __init__(self) -> None:
        self.answer = Answer()
        self.batches: list[Batch] = []
        self.record = RunRecord("run-1", "moa", Ticks(), seed=7)

    async def emit(self, batch: Batch) -> None:
        """Take a batch in."""
        self.batches.append(batch)
        self.answer.add(batch)

    @property
    def text(self) -> str:
        """The answer's text."""
        return self.answer.text(0)

    def notes(self, what: str) -> list[str]:
        """Who the notes of a kind are about."""
        return [note.node for note in self.record.notes if note.what == what]


async def run(
    model: ChatModel, request: ChatRequest | None = None, asked: Asked | None = None
) -> Asked:
    """Ask a model; whatever it raises passes through."""
    asked = asked or Asked()
    await model.answer(request or question(), Step(asked.record), asked.emit)
    return asked
