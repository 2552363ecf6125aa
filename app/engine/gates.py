"""What happens between two layers: references are sifted, and a gate may end the panel early.

Which references go is `outliers`, when a panel agrees is `stopping`; the common ground of both is
here, and the order in which they act.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias

import anyio
from pydantic import Field

from app.engine.caps import patience
from app.engine.graph import Chooser, Layer, Node, Turn
from app.engine.panel import Panel
from app.engine.reference import Reference
from app.engine.similarity import Similarity, similarity_of_texts, similarity_of_vectors
from app.errors import ConfigError, DeadlineExceeded, InternalError
from app.fields import Spec
from app.interfaces import ChatModel, Embedder

Measure: TypeAlias = Literal["ngram", "embedding"]
"""What likeness is: shared n-grams, or the cosine of embeddings."""

SHARE = 0.5
"""Of the time left to a request a gate waits so much for its model: the output comes after it."""

TurnOf: TypeAlias = Callable[[Node, tuple[Reference, ...]], Turn]
"""Makes the turn of a gate on these references."""


class GateSpec(Spec, ABC):
    """What stands at the end of a layer; `model` is asked by some of them."""

    model: str | None = Field(default=None, description="The model it asks, if it asks one.")

    @property
    @abstractmethod
    def embeds(self) -> bool:
        """Whether its model makes embeddings."""

    def models_asked(self) -> dict[str, str]:
        """Its model by the field that names it, if it asks one."""
        return {} if self.model is None else {"model": self.model}

    @abstractmethod
    def behaviour(self, deadline: float) -> Chooser:
        """What it does, waiting so many seconds at most for its model."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a gate stands: the layer's number from 1, the gate's field, its path in the file."""

    layer: int
    field: str
    path: str


def gate_node(place: Place, spec: GateSpec, layer: Layer, models: tuple[ChatModel, ...]) -> Node:
    """The node of a gate; raises ConfigError if its model makes no embeddings and should."""
    unfit = [m.name for m in models if spec.embeds and not isinstance(m, Embedder)]
    if unfit:
        raise ConfigError(f"'{unfit[0]}' makes no embeddings", path=f"{place.path}.model")
    return Node(
        name=f"layer {place.layer} {place.field}",
        word=place.field,
        kind=spec.behaviour(layer.deadline),
        models=models,
        inputs=tuple(node.name for node in layer.nodes),
        params=MappingProxyType({}),
    )


async def is_settled(layer: Layer, panel: Panel, turn_of: TurnOf) -> bool:
    """Sift what a layer gave; whether that agrees so far that no other layer is needed."""
    names = [node.name for node in layer.nodes]
    for gate in layer.gates:
        given = panel.of(names)
        assert isinstance(gate.kind, Chooser)  # noqa: S101 - so that mypy knows
        chosen = await gate.kind.choose(turn_of(gate, given))
        if gate is layer.stop:
            return bool(chosen)
        panel.keep_only(names, chosen)
    return False


def comparable(references: Sequence[Reference]) -> tuple[Reference, ...]:
    """Those that are answers: neither refusals nor words about answers."""
    return tuple(each for each in references if each.role == "response" and not each.refused)


def label_of(reference: Reference, turn: Turn) -> str:
    """Who wrote it, with the sample's number where there are several; as a layer's seats say it."""
    layer = turn.graph.layers[turn.step.layer - 1]
    sampled = {node.name for node in layer.nodes if node.samples > 1}
    number = f"#{reference.sample + 1}" if reference.node in sampled else ""
    return f"{reference.node}{number}"


async def likeness(
    by: Measure, references: Sequence[Reference], turn: Turn, deadline: float
) -> Similarity:
    """How alike the references are; raises a `MoaError` where there are no embeddings in time."""
    texts = [reference.text for reference in references]
    if by == "ngram":
        return similarity_of_texts(texts)
    embedder: object = turn.node.models[0] if turn.node.models else None
    if not isinstance(embedder, Embedder):
        raise InternalError("An internal error.", detail="an embedder that makes no embeddings")
    with anyio.move_on_after(patience(deadline, SHARE)):
        return similarity_of_vectors(await embedder.embed(texts, turn.step))
    raise DeadlineExceeded("There were no embeddings within the layer's deadline.")
