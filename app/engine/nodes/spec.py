"""What every node kind may say in the configuration. A kind adds its own fields in its own file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, Literal

from pydantic import Field

from app.engine.graph import NodeKind
from app.fields import Spec

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]


class SamplingSpec(Spec):
    """Request parameters of a node's own; which of them yield to the caller's is `forwarding`."""

    temperature: Annotated[float, Field(ge=0, le=2)] | None = Field(
        default=None, description="Sampling temperature, 0 to 2."
    )
    top_p: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None, description="Nucleus sampling, above 0 up to 1."
    )
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = Field(
        default=None, description="Penalty on frequent tokens, -2 to 2."
    )
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = Field(
        default=None, description="Penalty on tokens already used, -2 to 2."
    )
    max_tokens: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Cap on the tokens this node writes."
    )
    reasoning_effort: Effort | None = Field(
        default=None, description="How long a reasoning model may think."
    )
    verbosity: Literal["low", "medium", "high"] | None = Field(
        default=None, description="How long the answer should be, for models that know this field."
    )
    service_tier: str | None = Field(
        default=None, description="The upstream's service tier for this node's calls."
    )

    def sampling(self) -> dict[str, object]:
        """The parameters that are set, under the wire's names."""
        return {
            name: value
            for name in SamplingSpec.model_fields
            if (value := getattr(self, name)) is not None
        }


class BaseNodeSpec(Spec, ABC):
    """The fields all kinds share. Each kind narrows `kind` to its own word."""

    kind: str
    inputs: tuple[str, ...] | None = Field(
        default=None,
        description="Nodes of earlier layers whose references it sees; "
        "by default all of the layer before.",
    )

    @abstractmethod
    def behaviour(self) -> NodeKind:
        """What a node of this spec does."""

    def models_asked(self) -> dict[str, str]:
        """The models it asks in turn, by the field that names them; many kinds ask none."""
        return {}

    def singled_out(self) -> dict[str, str]:
        """Inputs with a part of their own, by the field that names them."""
        return {}

    def targets(self) -> dict[str, str]:
        """Models that may answer in its place, by the field that names them."""
        return {}

    def needs_layers(self) -> bool:
        """Whether it works on what layers gave; an output that does not has none before it."""
        return True


class AskingNodeSpec(BaseNodeSpec, SamplingSpec):
    """The fields of kinds that ask a model."""

    model: str = Field(description="A model or a graph of this configuration.")
    fallback: tuple[str, ...] = Field(
        default=(), description="Models asked in turn when `model` fails before its first token."
    )
    system: str | None = Field(
        default=None,
        description="Role prompt, added after the caller's own: text, or the path of a file.",
    )
    instruction: str | None = Field(
        default=None,
        description="Wording that introduces the references, instead of the graph's or the kind's.",
    )

    def models_asked(self) -> dict[str, str]:
        """The model, then its fallbacks."""
        fallbacks = {f"fallback[{at}]": name for at, name in enumerate(self.fallback)}
        return {"model": self.model, **fallbacks}


class LayerNodeSpec(BaseNodeSpec):
    """The fields of nodes that stand in a layer."""

    required: bool = Field(
        default=False, description="Wait for this node until the layer's deadline."
    )


class InnerNodeSpec(LayerNodeSpec):
    """The fields of nodes of a layer that may answer more than once."""

    samples: Annotated[int, Field(ge=1)] = Field(
        default=1, description="How many independent answers it gives."
    )
