"""A compiled graph as frozen data: what a node, a layer and a graph are. How they run: `run`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar, Literal, TypeAlias

from app.engine.advice import Advice
from app.engine.instructions import Wording
from app.engine.reference import Reference, Role
from app.interfaces import ChatModel, Emit
from app.protocol.chat import ChatRequest
from app.record import NO_CAPS, Caps, Step

OUTPUT = "output"
"""The name of the output node; no node of a layer may have it."""

_NOTHING_GIVEN: Mapping[str, tuple[Reference, ...]] = MappingProxyType({})


def _nothing_given() -> Mapping[str, tuple[Reference, ...]]:
    return _NOTHING_GIVEN


class Writer(ABC):
    """A kind that writes an answer of its own. `role` is what its text is to those who read it."""

    role: ClassVar[Role] = "response"

    @abstractmethod
    async def run(self, turn: Turn, emit: Emit) -> None:
        """Write this node's answer into `emit`.

        Raises a `MoaError` where there is none or it is not whole.
        """

    def asks(self, references: int) -> int:  # noqa: ARG002 - for kinds whose calls depend on them
        """How many questions it puts to its model at most, one after the other."""
        return 1


class Chooser(ABC):
    """A kind that hands on some of the references it sees, word for word."""

    @abstractmethod
    async def choose(self, turn: Turn) -> tuple[Reference, ...]:
        """The chosen references, best first; raises a `MoaError` where there is no choice."""

    def gives(self, references: int) -> int:
        """How many references it hands on at most."""
        return references

    def asks(self, references: int) -> int:  # noqa: ARG002 - for kinds whose calls depend on them
        """How many questions it puts to its model at most, one after the other."""
        return 0


NodeKind: TypeAlias = Writer | Chooser
"""What a node does with its turn."""


@dataclass(frozen=True, slots=True)
class Node:
    """One step.

    `models` is the model followed by its fallbacks, none for kinds that ask none; `targets` are
    models that may answer in its place; `params` are its own parameters. `word` is its kind's.
    """

    name: str
    word: str
    kind: NodeKind
    models: tuple[ChatModel, ...]
    inputs: tuple[str, ...]
    params: Mapping[str, object]
    targets: tuple[ChatModel, ...] = ()
    system: str | None = None
    instruction: str | None = None
    samples: int = 1
    required: bool = False

    @property
    def watches_time(self) -> bool:
        """Whether it shares the time it has among several things: a judge, a nested graph."""
        return isinstance(self.kind, Chooser) or any(isinstance(m, Nesting) for m in self.models)


@dataclass(frozen=True, slots=True)
class Layer:
    """Nodes that run at the same time; `quorum` counts answers, times are in seconds.

    `filter` chooses among what they gave, then `stop` all of it if no other layer is needed.
    """

    nodes: tuple[Node, ...]
    quorum: int
    grace: float
    deadline: float
    filter: Node | None = None
    stop: Node | None = None

    @property
    def gates(self) -> tuple[Node, ...]:
        """What acts on the layer's references once it has ended, in that order."""
        return tuple(gate for gate in (self.filter, self.stop) if gate is not None)

    @property
    def size(self) -> int:
        """How many answers the layer gives at most."""
        return sum(node.samples for node in self.nodes)


@dataclass(frozen=True, slots=True)
class Policy:
    """What a graph does when less than everything goes well, and how it shows references."""

    min_references: int = 1
    single_reference: Literal["aggregate", "return"] = "aggregate"
    on_empty: Literal["error", "answer"] = "error"
    last_resort: Literal["none", "best_reference"] = "none"
    shuffle: bool = True
    max_reference_tokens: int = 8192
    reasoning_as_reference: bool = False
    tools: Literal["advise", "bypass", "pick"] = "advise"
    tool_turns: Literal["skip", "always"] = "skip"
    media: Literal["note", "skip"] = "note"


@dataclass(frozen=True, slots=True)
class Graph:
    """Layers in order, then one output node; `deadline` in seconds for a whole request."""

    name: str
    layers: tuple[Layer, ...]
    output: Node
    deadline: float = 300.0
    policy: Policy = Policy()
    advice: Advice | None = None
    caps: Caps = NO_CAPS
    on_cap: Literal["degrade", "error"] = "degrade"
    usage: Literal["all", "answer"] = "all"
    progress: bool = False
    instruction: str | None = None
    description: str = ""


class Nesting:
    """A model that is a whole graph; how it answers is `run`'s."""

    graph: Graph


@dataclass(frozen=True, slots=True)
class Turn:
    """All a node needs to act once: the caller's request, the references it may see, its step.

    `nonce` is the run's random word for fences. `given` is what each input gave, by its name.
    `wording` is how a kind presents the references that does not answer as an aggregator does.
    """

    graph: Graph
    node: Node
    request: ChatRequest
    references: tuple[Reference, ...]
    step: Step
    nonce: str
    given: Mapping[str, tuple[Reference, ...]] = field(default_factory=_nothing_given)
    wording: Wording | None = None

    @property
    def is_output(self) -> bool:
        """Whether the client gets what is written."""
        return self.node is self.graph.output
