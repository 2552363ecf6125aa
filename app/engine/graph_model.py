"""A graph as a model. What happens in a run is `run`'s."""

from __future__ import annotations

import anyio

from app.engine.graph import Chooser, Graph, Nesting
from app.engine.run import GraphRun
from app.errors import DeadlineExceeded
from app.interfaces import Abilities, Emit
from app.protocol.chat import ChatRequest
from app.record import Step


class GraphModel(Nesting):
    """A graph as a `ChatModel`: it answers like any model, so graphs can be nodes of graphs."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._abilities = _abilities(graph)

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
            await GraphRun(self.graph, request, step, emit).execute()
        if scope.cancelled_caught:
            seconds = f"{self.graph.deadline:g} s"
            raise DeadlineExceeded(
                f"The graph '{self.name}' did not finish within its deadline of {seconds}.",
                should_retry=False,
            )


def _abilities(graph: Graph) -> Abilities:
    """Tools and formats are the output's to use; one that only chooses among texts has neither.

    Unless whole candidates are picked, which have used the tools themselves.
    """
    output = graph.output
    if isinstance(output.kind, Chooser):
        return Abilities(tools=graph.policy.tools == "pick", json_schema=False)
    speakers = [each.abilities for each in output.targets or output.models]
    return Abilities(
        tools=any(each.tools for each in speakers),
        json_schema=any(each.json_schema for each in speakers),
    )
