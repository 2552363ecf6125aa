"""The shape of a graph in the configuration. Checks across nodes are made by `compile`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from app.engine.nodes import NodeSpec, OutputSpec
from app.fields import Duration, Spec

PositiveSeconds = Annotated[Duration, Field(gt=0)]


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

    @model_validator(mode="after")
    def _one_form(self) -> LayerSpec:
        if (self.proposers is None) == (self.nodes is None):
            raise ValueError("a layer has either `proposers` or `nodes`")
        return self


class GraphSpec(Spec):
    """A Mixture-of-Agents graph: layers, then one output node."""

    description: str = Field(default="", description="One line for people.")
    layers: Annotated[tuple[LayerSpec, ...], Field(min_length=1)] = Field(
        description="The layers in order; each sees the references of the one before."
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
        default=None, description="Wording that introduces the references, instead of ours."
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
    tool_turns: Literal["skip", "always"] = Field(
        default="skip",
        description="When the last message is a tool result: straight to the output node, or not.",
    )
    media: Literal["note", "skip"] = Field(
        default="note",
        description="For a model that cannot see images or hear audio: put a note in their place, "
        "or leave the model out.",
    )

    @model_validator(mode="after")
    def _one_output(self) -> GraphSpec:
        if (self.aggregator is None) == (self.output is None):
            raise ValueError("a graph has either `aggregator` or `output`")
        return self


class LimitsSpec(Spec):
    """What any graph may come to, nested graphs included."""

    max_depth: Annotated[int, Field(ge=1)] = Field(
        default=3, description="How deep graphs may nest."
    )
    max_calls: Annotated[int, Field(ge=1)] = Field(
        default=64, description="Upstream calls of one request in the worst case."
    )
