"""`critique`: a model says what is wrong, missing and right in the references.

Peer critique as in Attention-MoA (arXiv 2601.16596): each of several critics reads the others'
responses (`inputs`), and `revise` works with what they say.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from pydantic import Field

from app.engine.drafting import write
from app.engine.graph import Turn, Writer
from app.engine.instructions import CRITIQUE
from app.engine.nodes.spec import AskingNodeSpec, InnerNodeSpec
from app.engine.reference import Role
from app.interfaces import Emit


class CritiqueSpec(AskingNodeSpec, InnerNodeSpec):
    """A critic: what it writes is shown as a critique, never as an answer."""

    kind: Literal["critique"] = Field(description="What the node does.")

    def behaviour(self) -> Critique:
        """One review of all it sees."""
        return Critique()


@dataclass(frozen=True, slots=True)
class Critique(Writer):
    """The behaviour of `critique`; without references it is skipped, whatever `on_empty` says."""

    role: ClassVar[Role] = "critique"

    async def run(self, turn: Turn, emit: Emit) -> None:
        """Review the references in view."""
        await write(replace(turn, wording=CRITIQUE), emit)
