"""`vote`: the answer that most references give, without asking any model.

Self-consistency (Wang et al. 2022, arXiv 2203.11171): the most frequent final answer of several
samples, whatever reasoning led to it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, model_validator

from app.engine.choice import candidates
from app.engine.extraction import Rule, extract, normalise
from app.engine.graph import Chooser, Turn
from app.engine.nodes.spec import BaseNodeSpec, LayerNodeSpec
from app.engine.pattern import read_pattern
from app.engine.reference import Reference
from app.errors import NodeSkipped
from app.record import Degradation

Ballot: TypeAlias = tuple[Reference, str]
"""A reference and the answer in it, as it stands there."""


class _VoteFields(BaseNodeSpec):
    """What a vote may say, wherever it stands."""

    extract: Rule = Field(
        default="answer",
        description="Where a reference's answer is: `answer` (in a box, else after \"the answer "
        'is" or "####", else its last line: fits numbers, words and letters, and prose of which '
        "no two lines are alike cannot win by chance), `whole`, `last_line`, `last_number`, "
        "`boxed`, `choice` (a letter) or `regex`.",
    )
    pattern: str | None = Field(
        default=None,
        description="For `regex`: a Python pattern with one group; its last match in "
        "the last 4000 characters counts (in fewer for a pattern with several repetitions).",
    )
    returns: Literal["reference", "answer"] = Field(
        default="reference",
        description="What is handed on: the first whole reference with the winning answer, in "
        "node order, or that answer alone.",
    )
    min_share: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0,
        description="The share of all references that the winning answer should have; a smaller "
        "one wins all the same, and is declared.",
    )
    on_unclear: Literal["first", "error"] = Field(
        default="first",
        description="When no reference has an answer that can be counted: the first reference in "
        "node order, declared, or fail.",
    )

    @model_validator(mode="after")
    def _pattern_fits(self) -> _VoteFields:
        if (self.extract == "regex") != (self.pattern is not None):
            raise ValueError("`extract: regex` and `pattern` need each other")
        if self.pattern is None:
            return self
        try:
            groups = re.compile(self.pattern).groups
            read_pattern(self.pattern)
        except re.error as error:
            raise ValueError(f"`pattern` is no regular expression: {error}") from error
        if groups != 1:
            raise ValueError(f"`pattern` needs one group, `(…)`; it has {groups}")
        return self

    def behaviour(self) -> Vote:
        """The most frequent answer."""
        pattern = None if self.pattern is None else re.compile(self.pattern)
        return Vote(self.extract, pattern, self.returns, self.min_share, self.on_unclear)


class VoteSpec(_VoteFields, LayerNodeSpec):
    """A vote in a layer."""

    kind: Literal["vote"] = Field(description="What the node does.")


class OutputVoteSpec(_VoteFields):
    """A vote whose winner is the client's answer."""

    kind: Literal["vote"] = Field(description="What the node does.")


@dataclass(frozen=True, slots=True)
class Vote(Chooser):
    """The behaviour of `vote`."""

    rule: Rule = "answer"
    pattern: re.Pattern[str] | None = None
    returns: Literal["reference", "answer"] = "reference"
    min_share: float = 0.0
    on_unclear: Literal["first", "error"] = "first"

    async def choose(self, turn: Turn) -> tuple[Reference, ...]:
        """The first reference of the largest group; of equal groups the one that began first."""
        voters = candidates(turn.references)
        if not voters:
            raise NodeSkipped("There was no reference response to vote on.")
        groups = self._groups(turn, voters)
        if not groups:
            return self._unclear(turn, voters)
        most = max(len(group) for group in groups)
        largest = [group for group in groups if len(group) == most]
        if len(largest) > 1:
            turn.step.run.note("vote_tied", turn.node.name, f"{len(largest)} with {most} each")
        if most < self.min_share * len(voters):
            self._declare_weak(turn, most, len(voters))
        return (self._handed_on(*largest[0][0]),)

    def gives(self, references: int) -> int:
        """One."""
        return min(1, references)

    def _groups(self, turn: Turn, voters: Sequence[Reference]) -> list[list[Ballot]]:
        """Equal answers together, in the order of their first.

        Who states none has no vote, nor has who was cut off before the end of the reasoning.
        """
        groups: dict[str, list[Ballot]] = {}
        silent = 0
        for reference in voters:
            answer = None if reference.cut else extract(reference.text, self.rule, self.pattern)
            if answer and (same := normalise(answer)):
                groups.setdefault(same, []).append((reference, answer))
            else:
                silent += 1
        if silent:
            turn.step.run.note("vote_not_counted", turn.node.name, silent)
        return list(groups.values())

    def _unclear(self, turn: Turn, voters: Sequence[Reference]) -> tuple[Reference, ...]:
        if self.on_unclear == "error":
            raise NodeSkipped("No reference response has an answer that can be counted.")
        self._declare_weak(turn, 0, len(voters))
        return (voters[0],)

    def _declare_weak(self, turn: Turn, votes: int, voters: int) -> None:
        turn.step.run.note("vote_weak", turn.node.name, f"{votes}/{voters}")
        turn.step.run.degrade(Degradation.VOTE_WEAK)

    def _handed_on(self, reference: Reference, answer: str) -> Reference:
        if self.returns == "reference":
            return reference
        return Reference(reference.node, reference.sample, answer)
