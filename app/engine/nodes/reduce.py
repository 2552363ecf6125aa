"""`reduce`: many references become one answer, a few at a time.

Self-MoA-Seq (arXiv 2502.00674, "Self-MoA-Seq"): a window slides over the samples and carries the
answer made so far, so that the context need hold no more than a window. With `best_slots` above 1
that answer takes several of the window's places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field, model_validator

from app.engine.drafting import declare_failed, draft, hand_on, write, write_or_keep
from app.engine.graph import Turn, Writer
from app.engine.instructions import reducing
from app.engine.nodes.spec import AskingNodeSpec, InnerNodeSpec
from app.engine.reference import Reference
from app.errors import MoaError
from app.interfaces import Emit


class _ReduceFields(AskingNodeSpec):
    window: Annotated[int, Field(ge=2)] = Field(
        default=3, description="References shown in one step, the answer so far among them."
    )
    best_slots: Annotated[int, Field(ge=1)] = Field(
        default=1,
        description="Places of a window that the answer so far takes, from the second step on; "
        "shown several times it weighs more.",
    )

    @model_validator(mode="after")
    def _room_for_new_ones(self) -> _ReduceFields:
        if self.best_slots >= self.window:
            raise ValueError("`best_slots` must be below `window`")
        return self

    def behaviour(self) -> Reduce:
        """One answer out of many, window by window."""
        return Reduce(self.window, self.best_slots)


class ReduceSpec(_ReduceFields, InnerNodeSpec):
    """A reducer in a layer."""

    kind: Literal["reduce"] = Field(description="What the node does.")


class OutputReduceSpec(_ReduceFields):
    """A reducer that writes the client's answer: its last step streams."""

    kind: Literal["reduce"] = Field(description="What the node does.")


@dataclass(frozen=True, slots=True)
class Reduce(Writer):
    """The behaviour of `reduce`.

    References come in node order; those that come new into a window are shuffled among themselves
    as everywhere, the answer so far stays first. One reference makes one step: as output it must
    meet the caller's parameters, and `single_reference: return` spares it. After a failed step the
    answer so far is kept (before there is one: the first reference) and the next window follows;
    it is an error if no step succeeds.
    """

    window: int = 3
    best_slots: int = 1

    def asks(self, references: int) -> int:
        """A question for the first window, and one for every further one."""
        return 1 + -(-max(0, references - self.window) // (self.window - self.best_slots))

    async def run(self, turn: Turn, emit: Emit) -> None:
        """Slide over the references."""
        windows = self._windows(turn.references)
        best: Reference | None = None
        failed: list[MoaError] = []
        for number, new in enumerate(windows, 1):
            carried = () if number == 1 else (best or turn.references[0],) * self.best_slots
            shown = _showing(turn, carried, new)
            what = f"step {number} of {len(windows)}"
            if turn.is_output and number == len(windows):
                await _conclude(shown, best, emit, what)
                return
            try:
                best = await draft(shown)
            except MoaError as error:
                failed.append(error)
                declare_failed(turn, what)
        if best is None:
            raise failed[0]
        await hand_on(best, emit)

    def _windows(self, references: tuple[Reference, ...]) -> Sequence[tuple[Reference, ...]]:
        """What comes new into each window."""
        more = self.window - self.best_slots
        later = range(self.window, len(references), more)
        return [references[: self.window], *(references[at : at + more] for at in later)]


def _showing(turn: Turn, carried: tuple[Reference, ...], new: tuple[Reference, ...]) -> Turn:
    if not new:
        return turn
    return replace(turn, references=(*carried, *new), wording=reducing(len(carried)))


async def _conclude(turn: Turn, best: Reference | None, emit: Emit, what: str) -> None:
    if best is None:
        await write(turn, emit)
    else:
        await write_or_keep(turn, best, emit, what=what)
