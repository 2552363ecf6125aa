"""A service around fakes, for the tests of the serving room."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.interfaces import ChatModel
from app.protocol.answer import Answer
from app.protocol.chat import Batch, ChatRequest, Conversation
from app.protocol.request import ChatCall, Wishes
from app.record import RunRecord
from app.serving.chat import ChatRun, ChatService
from app.serving.runtime import runtime_of
from tests.engine.graphs import Ticks, build


class House:
    """A service of some models and graphs; `ended` are the records it was handed at the end."""

    def __init__(
        self,
        models: Mapping[str, ChatModel],
        graphs: Mapping[str, Any] | None = None,
        aliases: Mapping[str, str] | None = None,
        hash_key: bytes | None = b"key",
    ) -> None:
        self.ended: list[RunRecord] = []
        served = {**build(graphs or {}, models), **models}
        runtime = runtime_of(served, aliases, created=5)
        self.service = ChatService(
            lambda: runtime, on_end=self.ended.append, clock=Ticks(), hash_key=hash_key
        )

    def open(self, call: ChatCall, **options: Any) -> ChatRun:
        """Prepare a run called `run-1`."""
        return self.service.open(call, run_id="run-1", **options)


class Ear:
    """Takes an answer in."""

    def __init__(self) -> None:
        self.answer = Answer()

    async def __call__(self, batch: Batch) -> None:
        """One batch."""
        self.answer.add(batch)


def chat(
    model: str, *, stream: bool = False, wishes: Wishes | None = None, **params: object
) -> ChatCall:
    """A client's call with one user message."""
    conversation = Conversation(({"role": "user", "content": "Why?"},))
    request = ChatRequest(conversation, params, stream)
    return ChatCall(model, request, include_usage=False, wishes=wishes or Wishes())
