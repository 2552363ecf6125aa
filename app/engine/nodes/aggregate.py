"""`aggregate`: a model makes one answer of several references (arXiv 2406.04692, table 1).

As the output node it carries the caller's own parameters and streams; in a layer it is a proposer
that insists on references.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from app.engine.asking import ask
from app.engine.graph import Turn, Writer
from app.engine.nodes.spec import AskingNodeSpec, InnerNodeSpec
from app.engine.requests import inner_request, output_request
from app.interfaces import Emit


class AggregateSpec(AskingNodeSpec, InnerNodeSpec):
    """An aggregator in a layer."""

    kind: Literal["aggregate"] = Field(description="What the node does.")

    def behaviour(self) -> Aggregate:
        """One answer out of many."""
        return Aggregate()


class OutputAggregateSpec(AskingNodeSpec):
    """The aggregator that writes the client's answer."""

    kind: Literal["aggregate"] = Field(default="aggregate", description="What the node does.")

    def behaviour(self) -> Aggregate:
        """One answer out of many."""
        return Aggregate()


@dataclass(frozen=True, slots=True)
class Aggregate(Writer):
    """The behaviour of `aggregate`."""

    async def run(self, turn: Turn, emit: Emit) -> None:
        """Answer with the references in view."""
        build = output_request if turn.node is turn.graph.output else inner_request
        await ask(turn.node.models, lambda model: build(turn, model), turn.step, emit)
