"""Putting one question to a node's model, and to its fallbacks while nothing has been said yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from app.errors import GraphFailed, MoaError
from app.interfaces import ChatModel, Emit
from app.protocol.chat import Batch, ChatRequest
from app.record import Degradation, Step


class FirstToken:
    """An `Emit` that remembers whether anything has passed."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self.seen = False

    async def __call__(self, batch: Batch) -> None:
        """Hand the batch on."""
        self.seen = True
        await self._emit(batch)


async def ask(
    models: Sequence[ChatModel],
    build: Callable[[ChatModel], ChatRequest],
    step: Step,
    emit: Emit,
) -> None:
    """Ask the models in turn until one begins to answer; its errors after that are final.

    `build` makes the request for a model, since what fits differs. Raises the error of the last
    model, or, where several failed, the first one's: it is the node's own.
    """
    first: MoaError | None = None
    for position, model in enumerate(models):
        gate = FirstToken(emit)
        try:
            await model.answer(build(model), step, gate)
        except MoaError as error:
            if gate.seen:
                raise
            first = first or error
            continue
        if position:
            step.run.note("fallback", step.node, model.name)
            step.run.degrade(Degradation.FALLBACK)
        return
    raise first or GraphFailed("This node has no model.")
