"""The node kinds, one a file: what it may say in the configuration, and what it does.

`NODE_KINDS` and `OUTPUT_KINDS` are the two lists: what may stand in a layer, and what may write
the client's answer. The configuration's union types are made of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, TypeAlias

from pydantic import Discriminator, Tag

from app.engine.nodes.aggregate import AggregateSpec, OutputAggregateSpec
from app.engine.nodes.propose import ProposeSpec
from app.engine.nodes.spec import BaseNodeSpec

NODE_KINDS: Mapping[str, type[BaseNodeSpec]] = MappingProxyType(
    {"propose": ProposeSpec, "aggregate": AggregateSpec}
)
OUTPUT_KINDS: Mapping[str, type[BaseNodeSpec]] = MappingProxyType(
    {"aggregate": OutputAggregateSpec}
)


def _kind_in_layer(value: object) -> object:
    return _kind(value, "propose")


def _kind_of_output(value: object) -> object:
    return _kind(value, "aggregate")


def _kind(value: object, default: str) -> object:
    if isinstance(value, Mapping):
        return value.get("kind", default)
    return getattr(value, "kind", None)


NodeSpec: TypeAlias = Annotated[
    Annotated[ProposeSpec, Tag("propose")] | Annotated[AggregateSpec, Tag("aggregate")],
    Discriminator(_kind_in_layer),
]
"""A node in a layer; `kind` is `propose` unless it says otherwise."""

OutputSpec: TypeAlias = OutputAggregateSpec
"""The output node; `kind` is `aggregate` unless it says otherwise."""
