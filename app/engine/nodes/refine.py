"""`refine`: a model improves one answer again and again, each time seeing its last attempt alone.

The inference procedure of arXiv 2406.01660: y0 comes from the model, and y(i+1) is asked for given
the conversation and y(i).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field

from app.engine.drafting import declare_failed, draft, hand_on, write, write_or_keep
from app.engine.graph import Turn, Writer
from app.engine.instructions import REFINE
from app.engine.nodes.spec import AskingNodeSpec, InnerNodeSpec
from app.engine.reference import Reference
from app.errors import MoaError
from app.interfaces import Emit


class _RefineFields(AskingNodeSpec):
    rounds: Annotated[int, Field(ge=1, le=8)] = Field(
        default=2, description="How many revisions follow the first answer, 1 to 8."
    )
    stop_when_unchanged: bool = Field(
        default=False,
        description="Leave out the rounds after one that changed nothing but case and spacing.",
    )

    def behaviour(self) -> Refine:
        """One answer, several times improved."""
        return Refine(self.rounds, self.stop_when_unchanged)


class RefineSpec(_RefineFields, InnerNodeSpec):
    """A refiner in a layer; in the first one it drafts its answer itself."""

    kind: Literal["refine"] = Field(description="What the node does.")


class OutputRefineSpec(_RefineFields):
    """A refiner that writes the client's answer: its last round streams."""

    kind: Literal["refine"] = Field(description="What the node does.")


@dataclass(frozen=True, slots=True)
class Refine(Writer):
    """The behaviour of `refine`.

    It starts from the first response it sees; a node without inputs asks for a first answer, and
    so does, at the cost of one round, a node whose inputs gave none. A round that fails is the
    last one, and what there was before it counts. As output the last round is asked in any case,
    since it alone carries the caller's parameters, and without references it is a plain question.
    """

    rounds: int = 2
    stop_when_unchanged: bool = False

    def asks(self, references: int) -> int:
        """A question a round, and one for the first answer where nothing is given."""
        return self.rounds + (references == 0)

    async def run(self, turn: Turn, emit: Emit) -> None:
        """Improve the first answer round by round."""
        answer = next((each for each in turn.references if each.role == "response"), None)
        rounds = self.rounds
        if answer is None and turn.is_output:
            await write(replace(turn, references=()), emit)
            return
        if answer is None:
            answer = await draft(replace(turn, references=()))
            rounds -= bool(turn.node.inputs)
        answer = await self._improve(turn, answer, rounds - turn.is_output)
        if turn.is_output:
            last = f"round {rounds} of {rounds}"
            await write_or_keep(_showing(turn, answer), answer, emit, what=last)
        else:
            await hand_on(answer, emit)

    async def _improve(self, turn: Turn, answer: Reference, rounds: int) -> Reference:
        for number in range(1, rounds + 1):
            try:
                better = await draft(_showing(turn, answer))
            except MoaError:
                declare_failed(turn, f"round {number} of {self.rounds}")
                break
            is_same = _normalised(better) == _normalised(answer)
            answer = better
            if is_same and self.stop_when_unchanged:
                turn.step.run.note("unchanged", turn.node.name, f"round {number}")
                break
        return answer


def _showing(turn: Turn, answer: Reference) -> Turn:
    return replace(turn, references=(answer,), wording=REFINE)


def _normalised(reference: Reference) -> str:
    return " ".join(reference.text.casefold().split())
