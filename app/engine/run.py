"""One run of a graph: layer after layer of references, then the output node (arXiv 2406.04692).

The order of things is here; a layer's clock is `layer`, what the nodes said is kept by `panel`,
what a node does is its kind.
"""

from __future__ import annotations

import logging
import secrets

import anyio

from app.engine.asking import FirstToken
from app.engine.failure import graph_failed
from app.engine.graph import OUTPUT, Chooser, Graph, Layer, Node, Turn
from app.engine.layer import Seat, race, seats
from app.engine.panel import Panel, Result, is_good
from app.engine.progress import answered, asking
from app.engine.reference import Reference, read_reference
from app.errors import (
    DeadlineExceeded,
    InternalError,
    MoaError,
    NodeFailure,
    NodeSkipped,
    UpstreamEmpty,
)
from app.interfaces import Abilities, Emit
from app.protocol.answer import Answer
from app.protocol.chat import Batch, ChatRequest, Chunk, text_chunk
from app.record import Degradation, Step

_log = logging.getLogger("moa.engine")


class GraphModel:
    """A graph as a `ChatModel`: it answers like any model, so graphs can be nodes of graphs."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        speakers = [model.abilities for model in (*graph.output.models, *graph.output.targets)]
        self._abilities = Abilities(
            tools=any(each.tools for each in speakers),
            json_schema=any(each.json_schema for each in speakers),
        )

    @property
    def name(self) -> str:
        """The graph's name."""
        return self.graph.name

    @property
    def abilities(self) -> Abilities:
        """What its output models can do with tools and formats; it sees to windows and media."""
        return self._abilities

    async def answer(self, request: ChatRequest, step: Step, emit: Emit) -> None:
        """Run the graph; raises `GraphFailed` or `DeadlineExceeded`."""
        with anyio.move_on_after(self.graph.deadline) as scope:
            await _GraphRun(self.graph, request, step, emit).execute()
        if scope.cancelled_caught:
            seconds = f"{self.graph.deadline:g} s"
            raise DeadlineExceeded(
                f"The graph '{self.name}' did not finish within its deadline of {seconds}.",
                should_retry=False,
            )


class _GraphRun:
    """One request's way through a graph."""

    def __init__(self, graph: Graph, request: ChatRequest, step: Step, emit: Emit) -> None:
        self._graph, self._request, self._step, self._emit = graph, request, step, emit
        self._record = step.run
        self._path = f"{step.graph}/{step.node}/{graph.name}" if step.graph else graph.name
        self._nonce = secrets.token_hex(6)
        self._panel = Panel(step.run)

    async def execute(self) -> None:
        """Ask the panel, then let the output node answer."""
        if self._is_tool_turn():
            self._record.note("panel_skipped", OUTPUT, "tool_turn")
            await self._speak(())
            return
        for number, layer in enumerate(self._graph.layers, 1):
            await self._run_layer(number, layer)
        await self._conclude()

    def _is_tool_turn(self) -> bool:
        last = self._request.conversation.messages[-1].get("role")
        return self._graph.policy.tool_turns == "skip" and last in {"tool", "function"}

    async def _run_layer(self, number: int, layer: Layer) -> None:
        await self._tell(asking(number, layer))
        places = seats(layer)

        async def attempt(seat: Seat) -> Result:
            return await self._attempt(number, seat)

        raced = await race(layer, places, attempt, is_good=is_good)
        self._panel.take_in(number, layer, places, raced)
        await self._tell(answered(number, places, raced))

    async def _attempt(self, number: int, seat: Seat) -> Result:
        try:
            return await self._ask(number, seat)
        except MoaError as error:
            return NodeFailure(seat.label, error)
        except Exception:  # noqa: BLE001 - see below
            # One node's bug must not take the others' answers with it; it is logged and told.
            _log.exception("node %s of graph %s broke", seat.label, self._path)
            return NodeFailure(seat.label, InternalError("An internal error."))

    async def _ask(self, number: int, seat: Seat) -> tuple[Reference, ...]:
        node = seat.node
        step = Step(self._record, self._path, number, node.name, seat.sample, is_output=False)
        needs_some = self._graph.policy.on_empty == "error"
        turn = self._turn(node, self._panel.seen_by(node, needs_some=needs_some), step)
        if isinstance(node.kind, Chooser):
            return await node.kind.choose(turn)
        answer = Answer()

        async def collect(batch: Batch) -> None:
            answer.add(batch)

        await node.kind.run(turn, collect)
        reference = read_reference(
            answer,
            node=node.name,
            sample=seat.sample,
            role=node.kind.role,
            reasoning_as_reference=self._graph.policy.reasoning_as_reference,
        )
        if reference is None:
            raise UpstreamEmpty("The answer was empty.")
        return (reference,)

    def _turn(self, node: Node, references: tuple[Reference, ...], step: Step) -> Turn:
        return Turn(self._graph, node, self._request, references, step, self._nonce)

    async def _conclude(self) -> None:
        policy, output = self._graph.policy, self._graph.output
        try:
            references = self._panel.seen_by(output, needs_some=policy.on_empty == "error")
        except NodeSkipped:
            references = ()
        if output.inputs and len(references) < policy.min_references:
            if policy.on_empty == "error":
                raise self._nothing_to_aggregate(len(references))
            self._record.degrade(Degradation.NO_REFERENCES)
        elif len(references) == 1 and self._expected(output) > 1:
            self._record.degrade(Degradation.SINGLE_REFERENCE)
        if len(references) == 1 and policy.single_reference == "return":
            await self._emit([_whole(references[0])])
            return
        await self._speak(references)

    def _expected(self, node: Node) -> int:
        named = (n for layer in self._graph.layers for n in layer.nodes if n.name in node.inputs)
        return sum(n.samples for n in named)

    def _nothing_to_aggregate(self, count: int) -> MoaError:
        needed = self._graph.policy.min_references
        what = f"The graph '{self._graph.name}' got {count} of {needed} reference responses needed"
        return graph_failed(what, self._panel.failures, billed=self._is_billed())

    async def _speak(self, references: tuple[Reference, ...]) -> None:
        """Let the output node answer the client; what has been said is never taken back."""
        output, gate = self._graph.output, FirstToken(self._emit)
        number = len(self._graph.layers) + 1
        step = Step(self._record, self._path, number, OUTPUT, is_output=self._step.is_output)
        turn = self._turn(output, references, step)
        try:
            if isinstance(output.kind, Chooser):
                chosen = await output.kind.choose(turn)
                await gate([_whole(chosen[0])])
            else:
                await output.kind.run(turn, gate)
                await gate.release()
        except MoaError as error:
            if gate.seen:
                raise
            await self._fall_back(references, error)

    async def _fall_back(self, references: tuple[Reference, ...], error: MoaError) -> None:
        """The best reference in the place of a failed output, if the operator wants that."""
        answers = [each for each in references if not each.refused]
        if self._graph.policy.last_resort != "best_reference" or not answers:
            what = f"The output model of the graph '{self._graph.name}' failed"
            failure = NodeFailure(OUTPUT, error)
            raise graph_failed(what, [failure], billed=self._is_billed()) from error
        self._record.degrade(Degradation.BEST_REFERENCE)
        best = max(answers, key=lambda reference: len(reference.text))
        await self._emit([_whole(best)])

    def _is_billed(self) -> bool:
        return any(True for _ in self._record.billed())

    async def _tell(self, line: str) -> None:
        if self._request.progress:
            await self._emit([text_chunk(line, field="reasoning_content")])


def _whole(reference: Reference) -> Chunk:
    """A reference as the client's whole answer, word for word."""
    return text_chunk(reference.text, finish_reason="length" if reference.cut else "stop")
