"""Putting one question to a node's model, and to its fallbacks while nothing has been said yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from app.caps import may_fall_back
from app.errors import GraphFailed, MoaError, UpstreamEmpty
from app.first_token import FirstToken
from app.interfaces import ChatModel, Emit
from app.protocol.chat import ChatRequest
from app.record import Degradation, Step


async def ask(
    models: Sequence[ChatModel],
    build: Callable[[ChatModel], ChatRequest],
    step: Step,
    emit: Emit,
) -> None:
    """Ask the models in turn until one begins to answer; its errors after that are final.

    `build` makes the request for a model, since what fits differs. A whole answer that says
    nothing counts as a failure as long as there is another model. Raises the first model's
    error where all failed: it is the node's own.
    """
    first: MoaError | None = None
    for position, model in enumerate(models):
        if position:
            if not may_fall_back(step):
                break
            step.run.promised += 1
        gate = FirstToken(emit)
        try:
            await model.answer(build(model), step, gate)
        except MoaError as error:
            if gate.seen:
                raise
            first = first or error
            continue
        if not gate.seen:
            if position + 1 < len(models) and may_fall_back(step):
                first = first or UpstreamEmpty("The answer was empty.")
                continue
            await gate.release()
        if position:
            step.run.note("fallback", step.node, model.name)
            step.run.degrade(Degradation.FALLBACK)
        return
    raise first or GraphFailed("This node has no model.")
