"""Several conversations put to one model in one request: the prompts of a text completion.

One run, one record, one deadline and one set of caps for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import anyio

from app.interfaces import Abilities, ChatModel, Emit
from app.protocol.chat import Batch, ChatRequest, Chunk, Conversation
from app.record import Step

AT_ONCE = 4
"""Conversations under way at a time, since each may be a whole fan-out."""


class Several:
    """A `ChatModel` that answers its conversations instead of the request's.

    Choices are numbered through: those of the first conversation, then those of the second.
    """

    def __init__(self, model: ChatModel, conversations: Sequence[Conversation]) -> None:
        self._model, self._conversations = model, conversations

    def requests(self, request: ChatRequest) -> tuple[ChatRequest, ...]:
        """What the model is asked in the place of this request."""
        return tuple(replace(request, conversation=each) for each in self._conversations)

    @property
    def name(self) -> str:
        """The model's own name."""
        return self._model.name

    @property
    def abilities(self) -> Abilities:
        """What the model can take."""
        return self._model.abilities

    async def answer(self, request: ChatRequest, step: Step, emit: Emit) -> None:
        """Answer all; the first failure ends the others and is raised."""
        each = request.params.get("n")
        choices = each if isinstance(each, int) else 1
        turn, room = anyio.Lock(), anyio.CapacityLimiter(AT_ONCE)
        failures: list[Exception] = []

        async def put(number: int, asked: ChatRequest) -> None:
            async def numbered(batch: Batch) -> None:
                async with turn:  # an `Emit` hears one at a time
                    await emit(_renumbered(batch, number * choices))

            try:
                async with room:
                    await self._model.answer(asked, step, numbered)
            except Exception as failure:  # noqa: BLE001 - raised below, as itself
                failures.append(failure)
                tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            for number, asked in enumerate(self.requests(request)):
                tasks.start_soon(put, number, asked)
        if failures:
            raise failures[0]


def _renumbered(batch: Batch, first: int) -> Batch:
    if not first:
        return batch
    return [
        Chunk(
            [{**choice, "index": first + choice.get("index", 0)} for choice in chunk.choices],
            chunk.usage,
            chunk.extras,
        )
        for chunk in batch
    ]
