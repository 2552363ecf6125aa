"""`revise`: a model improves one draft in the light of everything else it sees.

The second half of Attention-MoA's exchange (arXiv 2601.16596): each response is rewritten with
what its peers said of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from pydantic import Field

from app.engine.drafting import write
from app.engine.graph import Turn, Writer
from app.engine.instructions import REVISE
from app.engine.nodes.spec import AskingNodeSpec, InnerNodeSpec
from app.engine.reference import Reference
from app.interfaces import Emit


class _ReviseFields(AskingNodeSpec):
    draft: str | None = Field(
        default=None,
        description="The input whose answer is improved, of several samples the first; "
        "by default the first input.",
    )

    def behaviour(self) -> Revise:
        """One better draft."""
        return Revise(self.draft)

    def singled_out(self) -> dict[str, str]:
        """The draft."""
        return {} if self.draft is None else {"draft": self.draft}


class ReviseSpec(_ReviseFields, InnerNodeSpec):
    """A reviser in a layer."""

    kind: Literal["revise"] = Field(description="What the node does.")


class OutputReviseSpec(_ReviseFields):
    """A reviser that writes the client's answer."""

    kind: Literal["revise"] = Field(description="What the node does.")


@dataclass(frozen=True, slots=True)
class Revise(Writer):
    """The behaviour of `revise`; without its draft it makes one answer of what there is."""

    draft: str | None = None

    async def run(self, turn: Turn, emit: Emit) -> None:
        """Answer with the draft first and the other references after it."""
        draft = self._draft(turn)
        if draft is None:
            if turn.references:
                turn.step.run.note("draft_missing", turn.node.name, self._name(turn))
            await write(turn, emit)
            return
        others = tuple(each for each in turn.references if each is not draft)
        await write(replace(turn, references=(draft, *others), wording=REVISE), emit)

    def _draft(self, turn: Turn) -> Reference | None:
        given = turn.given.get(self._name(turn), ())
        return next((each for each in given if each in turn.references), None)

    def _name(self, turn: Turn) -> str:
        return self.draft or next(iter(turn.node.inputs), "")
