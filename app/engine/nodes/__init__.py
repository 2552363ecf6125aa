"""The node kinds, one a file: what it may say in the configuration, and what it does."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, TypeAlias

from pydantic import Discriminator, Tag

from app.engine.graph import NodeKind
from app.engine.nodes.aggregate import AGGREGATE, AggregateSpec, OutputAggregateSpec
from app.engine.nodes.propose import PROPOSE, ProposeSpec

NODE_KINDS: Mapping[str, NodeKind] = MappingProxyType({"propose": PROPOSE, "aggregate": AGGREGATE})


def _kind_in_layer(value: object) -> object:
    if isinstance(value, Mapping):
        return value.get("kind", "propose")
    return getattr(value, "kind", None)


NodeSpec: TypeAlias = Annotated[
    Annotated[ProposeSpec, Tag("propose")] | Annotated[AggregateSpec, Tag("aggregate")],
    Discriminator(_kind_in_layer),
]
"""A node in a layer; `kind` is `propose` unless it says otherwise."""

OutputSpec: TypeAlias = OutputAggregateSpec
"""The output node."""
