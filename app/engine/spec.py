"""The shape of a graph in the configuration. Checks across nodes are made by `compile`."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag, model_validator

from app.engine.gates import GateSpec
from app.engine.nodes import NodeSpec, OutputSpec
from app.engine.outliers import FilterSpec
from app.engine.stopping import StopSpec
from app.fields import Duration, Spec

PositiveSeconds = Annotated[Duration, Field(gt=0)]


def _form_of(value: object) -> str:
    return "short" if isinstance(value, str) else "long"


# Told apart before they are checked, so that what is wrong with one form is not told of both.
Sieve: TypeAlias = Annotated[
    Annotated[Literal["cluster"], Tag("short")] | Annotated[FilterSpec, Tag("long")],
    Discriminator(_form_of),
]


class LayerSpec(Spec):
    """Nodes that run at the same time: a list of models, or named nodes."""

    proposers: Annotated[tuple[str, ...], Field(min_length=1)] | None = Field(
        default=None, description="Short form: one `propose` node for each model named."
    )
    nodes: Annotated[dict[str, NodeSpec], Field(min_length=1)] | None = Field(
        default=None, description="Long form: nodes by name."
    )
    quorum: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Answers that are enough to go on; by default all of the layer."
    )
    grace: Annotated[Duration, Field(ge=0)] = Field(
        default=0.0, description="How much longer to wait for the rest once the quorum is in."
    )
    deadline: PositiveSeconds = Field(
        default=60.0, description="The longest the layer may take; what is late is cancelled."
    )
    filter: Sieve | None = Field(
        default=None,
        description="Let go of references that stand apart from a majority that agrees; "
        "`cluster` compares their words.",
    )
    stop: StopSpec | None = Field(
        default=None,
        description="When its references agree, skip the layers after it; the output node works "
        "on these.",
    )

    @model_validator(mode="after")
    def _one_form(self) -> LayerSpec:
        if (self.proposers is None) == (self.nodes is None):
            found = "neither" if self.nodes is None else "both"
            raise ValueError(f"has {found} of `proposers` and `nodes`: a layer has one of them")
        return self

    def gates(self) -> dict[str, GateSpec]:
        """What acts on its references once it has ended, by field, in that order."""
        sieve = FilterSpec() if self.filter == "cluster" else self.filter
        return {
            field: gate
            for field, gate in (("filter", sieve), ("stop", self.stop))
            if gate is not None
        }


class CapsSpec(Spec):
    """What one request may come to; a request and a key may ask for less, never for more."""

    max_calls: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="Upstream calls of one request; a layer begins only if its calls and the "
        "output node's fit.",
    )
    max_cost: Annotated[Decimal, Field(gt=0)] | None = Field(
        default=None,
        description="USD of one request, as far as prices are known; once they are spent no layer "
        "begins.",
    )
    on_cap: Literal["degrade", "error"] = Field(
        default="degrade",
        description="When calls, money or time run out: skip the layers that are left and answer "
        "with what there is, or fail.",
    )


class CacheSpec(Spec):
    """How the answers of nodes in layers are kept; the output node always answers anew.

    Only what is asked word for word again is found: references are shown in new fences and a new
    order in each run, so in effect the nodes that see none are cached.
    """

    ttl: PositiveSeconds = Field(default=600.0, description="How long an answer is kept.")
    scope: Literal["key", "all"] = Field(
        default="key",
        description="Who is given it: callers with the same key only, or all callers.",
    )


class GraphSpec(Spec):
    """A Mixture-of-Agents graph: layers, then one output node."""

    description: str = Field(default="", description="One line for people.")
    layers: tuple[LayerSpec, ...] = Field(
        default=(),
        description="The layers in order, one at least; each sees the references of the one "
        "before. A graph that routes has none.",
    )
    aggregator: str | None = Field(
        default=None, description="Short form of `output`: the model that writes the answer."
    )
    output: OutputSpec | None = Field(
        default=None, description="Long form: the node whose tokens the client gets."
    )
    deadline: PositiveSeconds = Field(
        default=300.0, description="The longest a whole request may take."
    )
    caps: CapsSpec = Field(default=CapsSpec(), description="What one request may come to.")
    min_references: Annotated[int, Field(ge=1)] = Field(
        default=1, description="With fewer references than this for the output, `on_empty` decides."
    )
    single_reference: Literal["aggregate", "return"] = Field(
        default="aggregate",
        description="With exactly one reference: let the output node work on it, or return it.",
    )
    on_empty: Literal["error", "answer"] = Field(
        default="error",
        description="A node that should see references and has none: fail, or answer alone.",
    )
    last_resort: Literal["none", "best_reference"] = Field(
        default="none",
        description="When the output node and its fallbacks fail before their first token: "
        "fail, or return the longest reference that is no refusal.",
    )
    usage: Literal["all", "answer"] = Field(
        default="all",
        description="`usage` in answers counts every call of the run, or the output node's only.",
    )
    progress: Literal["off", "reasoning"] = Field(
        default="off",
        description="Stream what the panel does as `reasoning_content`.",
    )
    instruction: str | None = Field(
        default=None,
        description="Wording that introduces the references for `propose` and `aggregate`, "
        "instead of ours; other kinds have their own.",
    )
    shuffle: bool = Field(
        default=True, description="Shuffle the references, by a seed kept with the run."
    )
    max_reference_tokens: Annotated[int, Field(ge=64)] = Field(
        default=8192, description="Longer references are cut in the middle and marked as cut."
    )
    reasoning_as_reference: bool = Field(
        default=False,
        description="Take the reasoning of a model that answered with nothing else as its answer.",
    )
    tools: Literal["advise", "bypass", "pick"] = Field(
        default="advise",
        description="A request with tools: the panel advises without them and the output node may "
        "use them; no panel; or each proposer of the first layer answers whole, tools and all, and "
        "the output node's model picks one of the answers.",
    )
    tool_turns: Literal["skip", "always"] = Field(
        default="skip",
        description="When the last message is a tool result: straight to the output node, or not.",
    )
    advice_ttl: Annotated[Duration, Field(ge=0)] = Field(
        default=600.0,
        description="How long after its last use a panel's advice is kept, for the tool results "
        "of the same user turn; 0 turns it off.",
    )
    cache: CacheSpec | None = Field(
        default=None,
        description="Keep what the nodes in layers answer, to the same question word for word; "
        "off by default.",
    )
    media: Literal["note", "skip"] = Field(
        default="note",
        description="For a model that cannot see images or hear audio: put a note in their place, "
        "or leave the model out.",
    )

    @model_validator(mode="after")
    def _one_output(self) -> GraphSpec:
        if (self.aggregator is None) == (self.output is None):
            found = "neither" if self.output is None else "both"
            raise ValueError(f"has {found} of `aggregator` and `output`: a graph has one of them")
        return self


class LimitsSpec(Spec):
    """What any graph may come to, nested graphs included."""

    max_depth: Annotated[int, Field(ge=1)] = Field(
        default=3, description="How deep graphs may nest."
    )
    max_calls: Annotated[int, Field(ge=1)] = Field(
        default=64, description="Upstream calls of one request in the worst case."
    )
