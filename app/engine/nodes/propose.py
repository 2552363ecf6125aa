"""`propose`: a model answers the conversation; given references, it answers better.

A middle layer is the first layer with references given (arXiv 2406.04692, §2.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from app.engine.asking import ask
from app.engine.graph import Turn, Writer
from app.engine.nodes.spec import AskingNodeSpec, InnerNodeSpec
from app.engine.requests import inner_request
from app.interfaces import Emit


class ProposeSpec(AskingNodeSpec, InnerNodeSpec):
    """A proposer: writes a reference response."""

    kind: Literal["propose"] = Field(default="propose", description="What the node does.")

    def behaviour(self) -> Propose:
        """One answer."""
        return Propose()


@dataclass(frozen=True, slots=True)
class Propose(Writer):
    """The behaviour of `propose`."""

    async def run(self, turn: Turn, emit: Emit) -> None:
        """Answer the conversation as an inner node sees it."""
        await ask(turn.node.models, lambda model: inner_request(turn, model), turn.step, emit)
