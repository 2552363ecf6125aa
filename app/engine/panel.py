"""What the nodes of one run have said so far, and why others said nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from app.engine.graph import Layer, Node
from app.engine.layer import Raced, Seat
from app.engine.reference import Reference, worth_showing
from app.errors import DeadlineExceeded, NodeFailure, NodeSkipped
from app.record import Degradation, RunRecord

Result: TypeAlias = tuple[Reference, ...] | NodeFailure
"""What one seat gave: references, one at least, or why there are none."""

_LATE = DeadlineExceeded("It did not answer within the layer's deadline.")


def is_good(result: Result) -> bool:
    """Whether a result counts for the quorum: an answer that is no refusal."""
    return isinstance(result, tuple) and not all(reference.refused for reference in result)


class Panel:
    """The references of a run by node, in the order of its layers. `failures` are in that order."""

    def __init__(self, record: RunRecord) -> None:
        self.failures: list[NodeFailure] = []
        self._record = record
        self._references: dict[str, tuple[Reference, ...]] = {}
        self._last: tuple[str, ...] = ()
        self._stopped = False

    def stop(self) -> None:
        """Go to the output node early: it sees the last layer there was, besides its own inputs."""
        self._stopped = True

    def take_in(
        self, number: int, layer: Layer, places: Sequence[Seat], raced: Raced[Result]
    ) -> None:
        """Keep what a layer gave, and declare what it lacks."""
        for seat, result in zip(places, raced.results, strict=True):
            name = seat.node.name
            if isinstance(result, tuple):
                self._references[name] = (*self._references.get(name, ()), *result)
            elif result is not None:
                self.failures.append(result)
            else:
                self._record.note("late", seat.label)
                self.failures.append(NodeFailure(seat.label, _LATE))
        if any(isinstance(result, tuple) for result in raced.results):
            self._last = tuple(node.name for node in layer.nodes)
        if raced.good < layer.quorum:
            self._record.degrade(Degradation.QUORUM_MISSED)
            self._record.note("quorum_missed", f"layer {number}", f"{raced.good}/{layer.quorum}")

    def of(self, names: Sequence[str]) -> tuple[Reference, ...]:
        """All references of these nodes, in the order named; one that was chosen too comes once."""
        # By identity: a chosen reference is the same object, and comparing long texts costs.
        every = {id(each): each for name in names for each in self._references.get(name, ())}
        return tuple(every.values())

    def given(self, node: Node) -> dict[str, tuple[Reference, ...]]:
        """What each input of a node gave, by its name."""
        return {name: self._references.get(name, ()) for name in node.inputs}

    def keep_only(self, names: Sequence[str], kept: Sequence[Reference]) -> None:
        """Let go of the references of these nodes that are not among those kept."""
        for name in names:
            mine = self._references.get(name, ())
            self._references[name] = tuple(each for each in mine if each in kept)

    def seen_by(self, node: Node, *, needs_some: bool) -> tuple[Reference, ...]:
        """The references a node may see; raises NodeSkipped where it needs some and has none."""
        everything = self.of(self._inputs_of(node))
        shown = worth_showing(list(everything))
        if len(shown) < len(everything):
            self._record.note("refusals_dropped", node.name, len(everything) - len(shown))
        if node.inputs and not shown and needs_some:
            raise NodeSkipped("There was no reference response to work on.")
        return tuple(shown)

    def _inputs_of(self, node: Node) -> tuple[str, ...]:
        if not self._stopped or not node.inputs:
            return node.inputs
        # In the order of the layers, whichever of the two names a node.
        return tuple(name for name in self._references if name in node.inputs or name in self._last)
