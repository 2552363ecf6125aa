"""One run of a graph: layer after layer of references, then the output node (arXiv 2406.04692).

The order of things is here; a layer's clock is `layer`, what a node asks is its kind.
"""

from __future__ import annotations

import logging
import secrets

import anyio

from app.engine.asking import FirstToken
from app.engine.failure import graph_failed
from app.engine.graph import OUTPUT, Graph, Layer, Node, Turn
from app.engine.layer import Raced, Seat, race, seats
from app.engine.progress import answered, asking
from app.engine.reference import Reference, read_reference, worth_showing
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
_LATE = DeadlineExceeded("It did not answer within the layer's deadline.")


class GraphModel:
    """A graph as a `ChatModel`: it answers like any model, so graphs can be nodes of graphs."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        output = graph.output.models[0].abilities
        self._abilities = Abilities(tools=output.tools, json_schema=output.json_schema)

    @property
    def name(self) -> str:
        """The graph's name."""
        return self.graph.name

    @property
    def abilities(self) -> Abilities:
        """What its output model can do with tools and formats; it sees to windows and media."""
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
    """The state of one run: what each node has said so far, and why others said nothing."""

    def __init__(self, graph: Graph, request: ChatRequest, step: Step, emit: Emit) -> None:
        self._graph, self._request, self._step, self._emit = graph, request, step, emit
        self._record = step.run
        self._path = f"{step.graph}/{step.node}/{graph.name}" if step.graph else graph.name
        self._nonce = secrets.token_hex(6)
        self._references: dict[str, list[Reference]] = {}
        self._failures: list[NodeFailure] = []

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

        async def attempt(seat: Seat) -> Reference | NodeFailure:
            return await self._attempt(number, seat)

        raced = await race(layer, places, attempt, is_good=_is_good)
        self._take_in(number, layer, places, raced)
        await self._tell(answered(number, places, raced))

    async def _attempt(self, number: int, seat: Seat) -> Reference | NodeFailure:
        node, answer = seat.node, Answer()

        async def collect(batch: Batch) -> None:
            answer.add(batch)

        step = Step(self._record, self._path, number, node.name, seat.sample, is_output=False)
        try:
            await node.kind.run(self._turn(node, self._seen_by(node), step), collect)
        except MoaError as error:
            return NodeFailure(seat.label, error)
        except Exception:  # noqa: BLE001 - see below
            # One node's bug must not take the others' answers with it; it is logged and told.
            _log.exception("node %s of graph %s broke", seat.label, self._path)
            return NodeFailure(seat.label, InternalError("An internal error."))
        return read_reference(
            answer,
            node=node.name,
            sample=seat.sample,
            reasoning_as_reference=self._graph.policy.reasoning_as_reference,
        ) or NodeFailure(seat.label, UpstreamEmpty("The answer was empty."))

    def _take_in(
        self,
        number: int,
        layer: Layer,
        places: tuple[Seat, ...],
        raced: Raced[Reference | NodeFailure],
    ) -> None:
        for seat, result in zip(places, raced.results, strict=True):
            if isinstance(result, Reference):
                self._references.setdefault(seat.node.name, []).append(result)
            elif isinstance(result, NodeFailure):
                self._failures.append(result)
            else:
                self._record.note("late", seat.label)
                self._failures.append(NodeFailure(seat.label, _LATE))
        if raced.good < layer.quorum:
            self._record.degrade(Degradation.QUORUM_MISSED)
            self._record.note("quorum_missed", f"layer {number}", f"{raced.good}/{layer.quorum}")

    def _seen_by(self, node: Node) -> tuple[Reference, ...]:
        """The references a node may see, in node order; raises NodeSkipped where it needs some."""
        everything = [ref for name in node.inputs for ref in self._references.get(name, ())]
        shown = worth_showing(everything)
        if len(shown) < len(everything):
            self._record.note("refusals_dropped", node.name, len(everything) - len(shown))
        if node.inputs and not shown and self._graph.policy.on_empty == "error":
            raise NodeSkipped("There was no reference response to work on.")
        return tuple(shown)

    def _turn(self, node: Node, references: tuple[Reference, ...], step: Step) -> Turn:
        return Turn(self._graph, node, self._request, references, step, self._nonce)

    async def _conclude(self) -> None:
        policy, output = self._graph.policy, self._graph.output
        try:
            references = self._seen_by(output)
        except NodeSkipped:
            references = ()
        if len(references) < policy.min_references:
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
        return graph_failed(what, self._failures, billed=self._is_billed())

    async def _speak(self, references: tuple[Reference, ...]) -> None:
        """Let the output node answer the client; what has been said is never taken back."""
        output, gate = self._graph.output, FirstToken(self._emit)
        number = len(self._graph.layers) + 1
        step = Step(self._record, self._path, number, OUTPUT, is_output=self._step.is_output)
        try:
            await output.kind.run(self._turn(output, references, step), gate)
            await gate.release()
        except MoaError as error:
            if gate.seen:
                raise
            best = self._best(references)
            if best is None:
                what = f"The output model of the graph '{self._graph.name}' failed"
                failure = NodeFailure(OUTPUT, error)
                raise graph_failed(what, [failure], billed=self._is_billed()) from error
            self._record.degrade(Degradation.BEST_REFERENCE)
            await self._emit([_whole(best)])

    def _best(self, references: tuple[Reference, ...]) -> Reference | None:
        """The longest reference that is no refusal, if the operator wants it as a last resort."""
        if self._graph.policy.last_resort != "best_reference":
            return None
        answers = (reference for reference in references if not reference.refused)
        return max(answers, key=lambda reference: len(reference.text), default=None)

    def _is_billed(self) -> bool:
        return any(True for _ in self._record.billed())

    async def _tell(self, line: str) -> None:
        if self._request.progress:
            await self._emit([text_chunk(line, field="reasoning_content")])


def _whole(reference: Reference) -> Chunk:
    """A reference as the client's whole answer, word for word."""
    return text_chunk(reference.text, finish_reason="length" if reference.cut else "stop")


def _is_good(result: Reference | NodeFailure) -> bool:
    return isinstance(result, Reference) and not result.refused
