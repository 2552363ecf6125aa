"""For kinds that ask their model several times: answers on the way, and the one that counts."""

from __future__ import annotations

from dataclasses import replace

from app.engine.asking import ask
from app.engine.graph import Turn
from app.engine.reference import Reference, read_reference
from app.engine.requests import inner_request, output_request
from app.errors import CallerError, MoaError, UpstreamEmpty, UpstreamRejected
from app.first_token import FirstToken
from app.interfaces import Emit
from app.protocol.answer import Answer
from app.protocol.chat import Batch, text_chunk
from app.record import Degradation


async def write(turn: Turn, emit: Emit) -> None:
    """Ask for what the node says: as output with the caller's own parameters, else as advice."""
    build = output_request if turn.is_output else inner_request
    await ask(turn.node.models, lambda model: build(turn, model), turn.step, emit)


async def write_or_keep(turn: Turn, kept: Reference, emit: Emit, *, what: str) -> None:
    """Like `write`, but hand on what was kept if nothing has been said when it fails.

    `what` failed is noted. An error the client has to mend is raised: only this question carries
    his parameters.
    """
    gate = FirstToken(emit)
    try:
        await write(turn, gate)
    except (CallerError, UpstreamRejected):
        raise
    except MoaError:
        if gate.seen:
            raise
    if not gate.seen:
        declare_failed(turn, what)
        await hand_on(kept, emit)


async def draft(turn: Turn) -> Reference:
    """An answer on the way: unstreamed, asked as a node in a layer asks, not seen by the client.

    Raises a `MoaError` where there is none, and where it refuses what others have answered.
    """
    answer = Answer()

    async def collect(batch: Batch) -> None:
        answer.add(batch)

    turn = replace(turn, step=replace(turn.step, is_output=False))
    await ask(turn.node.models, lambda model: inner_request(turn, model), turn.step, collect)
    reference = read_reference(
        answer,
        node=turn.node.name,
        sample=turn.step.sample,
        reasoning_as_reference=turn.graph.policy.reasoning_as_reference,
    )
    if reference is None:
        raise UpstreamEmpty("The answer was empty.")
    if reference.refused and any(not each.refused for each in turn.references):
        raise UpstreamEmpty("The model declined to answer.")
    return reference


async def hand_on(reference: Reference, emit: Emit) -> None:
    """Give a reference as the node's whole answer, word for word."""
    finish = "length" if reference.cut else "stop"
    await emit([text_chunk(reference.text, finish_reason=finish)])


def declare_failed(turn: Turn, what: str) -> None:
    """Declare that a step failed and that the answer before it was kept."""
    turn.step.run.note("step_failed", turn.node.name, what)
    turn.step.run.degrade(Degradation.STEP_FAILED)
