"""`filter` on a layer: lets go of references that stand apart from a majority that agrees.

One deceptive member in six takes the gain of a Mixture-of-Agents away; clustering the references
and keeping the larger group wins most of it back (arXiv 2503.05856, its defences). Unlike there,
nothing is dropped unless the groups are really apart: an honest minority is no outlier.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from app.engine.gates import GateSpec, Measure, comparable, label_of, likeness
from app.engine.graph import Chooser, Turn
from app.engine.reference import Reference
from app.engine.similarity import Similarity
from app.errors import MoaError

FEWEST = 3
"""With fewer references there is no majority to stand apart from."""
APART: dict[Measure, float] = {"ngram": 0.5, "embedding": 0.8}
"""Default thresholds. Answers to one question share some words and lie near in a vector space."""
ALIKE: dict[Measure, float] = {"ngram": 0.3, "embedding": 1.0}
"""What counts as alike enough: two samples of one model share most of their words, and must not
make an outlier of another model that says the same in its own."""


class FilterSpec(GateSpec):
    """How the outliers among a layer's references are found."""

    by: Measure = Field(
        default="ngram", description="What likeness is: shared n-grams, or a model's embeddings."
    )
    model: str | None = Field(
        default=None, description="With `by: embedding`, the model that makes the embeddings."
    )
    keep: Literal["largest"] = Field(
        default="largest", description="Which group stays; it must be a strict majority."
    )
    threshold: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None,
        description="The others are dropped if their likeness to the majority is at most this "
        "share of the majority's own (for `ngram`, of 0.3 if that is less); by default 0.5 for "
        "`ngram`, 0.8 for `embedding`.",
    )

    @model_validator(mode="after")
    def _needs_a_model_for_embeddings(self) -> Self:
        if (self.by == "embedding") != (self.model is not None):
            raise ValueError("expected a `model` with `by: embedding`, and none otherwise")
        return self

    @property
    def embeds(self) -> bool:
        """Whether its model makes embeddings."""
        return self.by == "embedding"

    def behaviour(self, deadline: float) -> Filter:
        """A filter that waits so many seconds for embeddings."""
        return Filter(self.by, self.threshold or APART[self.by], deadline)


@dataclass(frozen=True, slots=True)
class Filter(Chooser):
    """The behaviour of `filter`: chooses the majority of a layer's references."""

    by: Measure
    threshold: float
    deadline: float

    def asks(self, references: int) -> int:
        """One call for embeddings if there may be a majority; without a model it comes to none."""
        return int(references >= FEWEST)

    async def choose(self, turn: Turn) -> tuple[Reference, ...]:
        """All references but the outliers, which are noted; what is no answer always stays."""
        compared = comparable(turn.references)
        if len(compared) < FEWEST:
            return turn.references
        similarity, threshold = await self._likeness(compared, turn)
        kept = majority(similarity, threshold)
        dropped = [each for at, each in enumerate(compared) if at not in kept]
        for reference in dropped:
            label = label_of(reference, turn)
            turn.step.run.note("outlier_dropped", label, f"layer {turn.step.layer}")
        return tuple(each for each in turn.references if each not in dropped)

    async def _likeness(
        self, compared: Sequence[Reference], turn: Turn
    ) -> tuple[Similarity, float]:
        by, threshold = self.by, self.threshold
        try:
            similarity = await likeness(by, compared, turn, self.deadline)
        except MoaError as error:
            turn.step.run.note("filter_by_ngrams", turn.node.name, error.kind)
            by, threshold = "ngram", APART["ngram"]
            similarity = await likeness(by, compared, turn, self.deadline)
        return similarity.capped(ALIKE[by]), threshold


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    """References that were joined, and the groups they were joined from."""

    members: frozenset[int]
    parts: tuple[_Group, ...] = ()


_Pair: TypeAlias = tuple[_Group, _Group]


def majority(similarity: Similarity, threshold: float) -> frozenset[int]:
    """The things of the strict majority that the others stand apart from; all where none do.

    Average linkage builds a tree of groups; from its root, the largest part is kept and the rest
    let go as long as the part is more than half of all things and the rest's likeness to it is at
    most `threshold` of the likeness within it. Equal pairs are joined at once, so that the order
    of the things decides nothing. Cubic in their number, which is that of a layer's answers.
    """
    group = _joined(similarity)
    while group.parts:
        largest = max(group.parts, key=lambda part: len(part.members))
        rest = group.members - largest.members
        within = similarity.within(largest.members)
        if 2 * len(largest.members) <= similarity.size or not within:
            break
        if similarity.between(largest.members, rest) > threshold * within:
            break
        group = largest
    return group.members


def _joined(similarity: Similarity) -> _Group:
    groups = [_Group(frozenset([at])) for at in range(similarity.size)]
    while len(groups) > 1:
        alike = {
            (one, other): similarity.between(one.members, other.members)
            for one, other in combinations(groups, 2)
        }
        closest = max(alike.values())
        groups = _join(groups, [pair for pair, value in alike.items() if value == closest])
    return groups[0]


def _join(groups: Sequence[_Group], pairs: Sequence[_Pair]) -> list[_Group]:
    """The groups with those joined that a chain of pairs connects."""
    chains: list[set[_Group]] = [{group} for group in groups]
    for pair in pairs:
        touched = [chain for chain in chains if not chain.isdisjoint(pair)]
        chains = [chain for chain in chains if chain.isdisjoint(pair)]
        chains.append(set().union(*touched))
    return [_whole(chain) for chain in chains]


def _whole(chain: set[_Group]) -> _Group:
    if len(chain) == 1:
        return next(iter(chain))
    return _Group(frozenset().union(*(part.members for part in chain)), tuple(chain))
