"""A deadline of a model's own for the whole of an answer, whatever happens inside it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import anyio

from app.errors import DeadlineExceeded
from app.interfaces import Abilities, ChatModel, Emit
from app.protocol.chat import ChatRequest
from app.record import Step


@dataclass(frozen=True, slots=True)
class Deadlined:
    """A model whose answer is complete within so many `seconds`, or is none.

    The waiting of everything inside counts, the caller's slowness too. The deadline is handed down
    with the step, so that nothing inside begins what would come too late.
    """

    inner: ChatModel
    seconds: float

    @property
    def name(self) -> str:
        """The name of what it wraps."""
        return self.inner.name

    @property
    def abilities(self) -> Abilities:
        """What it can take."""
        return self.inner.abilities

    async def answer(self, request: ChatRequest, step: Step, emit: Emit) -> None:
        """Answer, as every `ChatModel` does; raises DeadlineExceeded when the time is over."""
        until = step.run.clock() + self.seconds
        if step.until is None or until < step.until:
            step = replace(step, until=until)
        with anyio.move_on_after(self.seconds) as scope:
            await self.inner.answer(request, step, emit)
        if scope.cancelled_caught:
            raise DeadlineExceeded(
                f"There was no complete answer within {self.seconds:g} seconds.",
                should_retry=False,
            )
