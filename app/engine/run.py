"""One run of a graph: layer after layer of references, then the output node (arXiv 2406.04692).

The order of things is here; a layer's clock is `layer`, what the nodes said is kept by `panel`,
what a node does is its kind.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias

from app.engine.asking import ask
from app.engine.caps import Allowance
from app.engine.failure import graph_failed
from app.engine.gates import is_settled
from app.engine.graph import OUTPUT, Chooser, Graph, Layer, Node, Turn
from app.engine.layer import Seat, race, seats
from app.engine.panel import Panel, Result, is_good
from app.engine.progress import answered, asking
from app.engine.reference import Reference, read_reference
from app.engine.requests import output_request
from app.engine.tool_policy import Way, ask_whole, pick, proposers_of, way_of
from app.errors import (
    DeadlineExceeded,
    InternalError,
    MoaError,
    NodeFailure,
    NodeSkipped,
    UpstreamEmpty,
)
from app.first_token import FirstToken
from app.interfaces import Emit
from app.protocol.answer import Answer
from app.protocol.chat import Batch, ChatRequest, Chunk, text_chunk
from app.record import Degradation, Step

_log = logging.getLogger("moa.engine")

Asking: TypeAlias = Callable[[int, Seat], Awaitable[tuple[Reference, ...]]]
"""What is done for one seat of a layer; the number is the layer's."""


class GraphRun:
    """One request's way through a graph."""

    def __init__(self, graph: Graph, request: ChatRequest, step: Step, emit: Emit) -> None:
        self._graph, self._request, self._step, self._emit = graph, request, step, emit
        self._record = step.run
        place = f"{step.node}#{step.sample + 1}" if step.sample else step.node
        self._path = f"{step.graph}/{place}/{graph.name}" if step.graph else graph.name
        self._nonce = secrets.token_hex(6)
        self._panel = Panel(step.run)
        self._allowance = Allowance(graph, step, self._path)
        self._may_ask_often = True
        self._until = step.until  # when the layer under way ends

    async def execute(self) -> None:
        """Ask the panel, then let the output node answer."""
        match way_of(self._graph, self._request):
            case Way.PICK:
                await self._pick()
            case Way.BYPASS:
                self._record.note("panel_skipped", OUTPUT, "tools")
                await self._speak(())
            case Way.TOOL_TURN:
                self._record.note("panel_skipped", OUTPUT, "tool_turn")
                self._may_ask_often = False
                advice, step = self._graph.advice, self._output_step()
                await self._speak(await advice.recall(self._request, step) if advice else ())
            case Way.PANEL:
                await self._run_panel()

    async def _run_panel(self) -> None:
        for number, layer in enumerate(self._graph.layers, 1):
            if not self._allowance.covers_layer(number, layer):
                self._panel.stop()
                break
            await self._run_layer(number, self._allowance.bounded(layer))
            if await is_settled(layer, self._panel, partial(self._gate_turn, number)):
                self._panel.stop()
                break
        await self._conclude()

    async def _pick(self) -> None:
        """Let the proposers answer whole, tools and all, and a judge pick one of the answers."""
        layer = proposers_of(self._graph.layers[0])
        if self._allowance.covers_layer(1, layer):
            await self._run_layer(1, self._allowance.bounded(layer), self._ask_whole)
        candidates = self._panel.of([node.name for node in layer.nodes])
        turn = self._turn(self._graph.output, candidates, self._output_step())
        picked = await pick(turn, layer)
        if picked is None:
            await self._conclude()
        else:
            await self._emit([picked])

    async def _ask_whole(self, number: int, seat: Seat) -> tuple[Reference, ...]:
        step = self._inner_step(number, seat.node, seat.sample)
        return await ask_whole(self._turn(seat.node, (), step))

    async def _run_layer(self, number: int, layer: Layer, ask: Asking | None = None) -> None:
        await self._tell(asking(number, layer))
        places = seats(layer)
        self._until = self._record.clock() + layer.deadline
        if self._step.until is not None:
            self._until = min(self._until, self._step.until)

        async def attempt(seat: Seat) -> Result:
            return await self._attempt(number, seat, ask or self._ask)

        raced = await race(layer, places, attempt, is_good=is_good)
        self._panel.take_in(number, layer, places, raced)
        await self._tell(answered(number, places, raced))

    async def _attempt(self, number: int, seat: Seat, ask: Asking) -> Result:
        try:
            return await ask(number, seat)
        except MoaError as error:
            return NodeFailure(seat.label, error)
        except Exception:  # noqa: BLE001 - see below
            # One node's bug must not take the others' answers with it; it is logged and told.
            _log.exception("node %s of graph %s broke", seat.label, self._path)
            return NodeFailure(seat.label, InternalError("An internal error."))

    async def _ask(self, number: int, seat: Seat) -> tuple[Reference, ...]:
        node = seat.node
        step = self._inner_step(number, node, seat.sample)
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

    def _gate_turn(self, number: int, gate: Node, references: tuple[Reference, ...]) -> Turn:
        self._until = self._step.until
        return self._turn(gate, references, self._inner_step(number, gate))

    def _turn(self, node: Node, references: tuple[Reference, ...], step: Step) -> Turn:
        given = self._panel.given(node)
        return Turn(self._graph, node, self._request, references, step, self._nonce, given)

    async def _conclude(self) -> None:
        policy, output = self._graph.policy, self._graph.output
        try:
            references = self._panel.seen_by(output, needs_some=policy.on_empty == "error")
        except NodeSkipped:
            references = ()
        self._may_ask_often = self._allowance.covers_output(len(references))
        if output.inputs and len(references) < policy.min_references:
            if policy.on_empty == "error":
                raise self._nothing_to_aggregate(len(references))
            self._record.degrade(Degradation.NO_REFERENCES)
        elif len(references) == 1 and self._expected(output) > 1:
            self._record.degrade(Degradation.SINGLE_REFERENCE)
        is_answer = len(references) == 1 and references[0].role == "response"
        if is_answer and policy.single_reference == "return":
            await self._emit([_whole(references[0])])
            return
        if advice := self._graph.advice:
            await advice.keep(self._request, self._output_step(), references)
        await self._speak(references)

    def _expected(self, node: Node) -> int:
        named = (n for layer in self._graph.layers for n in layer.nodes if n.name in node.inputs)
        return sum(n.samples for n in named)

    def _nothing_to_aggregate(self, count: int) -> MoaError:
        cap = self._allowance.reached
        failures = self._panel.failures
        if cap is not None and all(isinstance(x.error, DeadlineExceeded) for x in failures):
            return self._allowance.error(cap)
        needed = self._graph.policy.min_references
        what = f"The graph '{self._graph.name}' got {count} of {needed} reference responses needed"
        billed = self._record.is_billed or cap is not None
        return graph_failed(what, failures, billed=billed)

    async def _speak(self, references: tuple[Reference, ...]) -> None:
        """Let the output node answer the client; what has been said is never taken back."""
        output, gate = self._graph.output, FirstToken(self._emit)
        step = self._output_step()
        turn = self._turn(output, references, step)
        try:
            if isinstance(output.kind, Chooser):
                chosen = await output.kind.choose(turn)
                await gate([_whole(chosen[0])])
            elif self._may_ask_often or output.kind.asks(len(references)) <= 1:
                await output.kind.run(turn, gate)
                await gate.release()
            else:
                await ask(output.models, lambda model: output_request(turn, model), step, gate)
        except MoaError as error:
            if gate.seen:
                raise
            await self._fall_back(references, error)

    def _output_step(self) -> Step:
        number = len(self._graph.layers) + 1
        is_output, until = self._step.is_output, self._step.until
        return Step(self._record, self._path, number, OUTPUT, is_output=is_output, until=until)

    def _inner_step(self, number: int, node: Node, sample: int = 0) -> Step:
        return Step(
            self._record, self._path, number, node.name, sample, is_output=False, until=self._until
        )

    async def _fall_back(self, references: tuple[Reference, ...], error: MoaError) -> None:
        """The best reference in the place of a failed output, if the operator wants that."""
        answers = [each for each in references if each.role == "response" and not each.refused]
        if self._graph.policy.last_resort != "best_reference" or not answers:
            what = f"The output model of the graph '{self._graph.name}' failed"
            failure = NodeFailure(OUTPUT, error)
            raise graph_failed(what, [failure], billed=self._record.is_billed) from error
        self._record.degrade(Degradation.BEST_REFERENCE)
        best = max(answers, key=lambda reference: len(reference.text))
        await self._emit([_whole(best)])

    async def _tell(self, line: str) -> None:
        if self._request.progress:
            await self._emit([text_chunk(line, field="reasoning_content")])


def _whole(reference: Reference) -> Chunk:
    """A reference as the client's whole answer, word for word."""
    return text_chunk(reference.text, finish_reason="length" if reference.cut else "stop")
