"""`analyse`: a model sorts the references into consensus, contradictions, unique points and gaps.

Analyse, then write: the aggregator is given the analysis beside the responses.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from pydantic import Field

from app.engine.drafting import write
from app.engine.graph import Turn, Writer
from app.engine.instructions import ANALYSE
from app.engine.nodes.spec import AskingNodeSpec, InnerNodeSpec
from app.engine.reference import Role
from app.interfaces import Emit


class AnalyseSpec(AskingNodeSpec, InnerNodeSpec):
    """An analyst: what it writes is shown as an analysis, never as an answer."""

    kind: Literal["analyse"] = Field(description="What the node does.")

    def behaviour(self) -> Analyse:
        """One analysis of all it sees."""
        return Analyse()


@dataclass(frozen=True, slots=True)
class Analyse(Writer):
    """The behaviour of `analyse`; without references it is skipped, whatever `on_empty` says."""

    role: ClassVar[Role] = "analysis"

    async def run(self, turn: Turn, emit: Emit) -> None:
        """Analyse the references in view."""
        await write(replace(turn, wording=ANALYSE), emit)
