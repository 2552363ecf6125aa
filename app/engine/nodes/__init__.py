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
from app.engine.nodes.analyse import AnalyseSpec
from app.engine.nodes.critique import CritiqueSpec
from app.engine.nodes.propose import ProposeSpec
from app.engine.nodes.reduce import OutputReduceSpec, ReduceSpec
from app.engine.nodes.refine import OutputRefineSpec, RefineSpec
from app.engine.nodes.revise import OutputReviseSpec, ReviseSpec
from app.engine.nodes.route import RouteSpec
from app.engine.nodes.select import OutputSelectSpec, SelectSpec
from app.engine.nodes.spec import BaseNodeSpec
from app.engine.nodes.vote import OutputVoteSpec, VoteSpec

NODE_KINDS: Mapping[str, type[BaseNodeSpec]] = MappingProxyType(
    {
        "propose": ProposeSpec,
        "aggregate": AggregateSpec,
        "select": SelectSpec,
        "vote": VoteSpec,
        "critique": CritiqueSpec,
        "revise": ReviseSpec,
        "refine": RefineSpec,
        "reduce": ReduceSpec,
        "analyse": AnalyseSpec,
    }
)
OUTPUT_KINDS: Mapping[str, type[BaseNodeSpec]] = MappingProxyType(
    {
        "aggregate": OutputAggregateSpec,
        "select": OutputSelectSpec,
        "vote": OutputVoteSpec,
        "revise": OutputReviseSpec,
        "refine": OutputRefineSpec,
        "reduce": OutputReduceSpec,
        "route": RouteSpec,
    }
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
    Annotated[ProposeSpec, Tag("propose")]
    | Annotated[AggregateSpec, Tag("aggregate")]
    | Annotated[SelectSpec, Tag("select")]
    | Annotated[VoteSpec, Tag("vote")]
    | Annotated[CritiqueSpec, Tag("critique")]
    | Annotated[ReviseSpec, Tag("revise")]
    | Annotated[RefineSpec, Tag("refine")]
    | Annotated[ReduceSpec, Tag("reduce")]
    | Annotated[AnalyseSpec, Tag("analyse")],
    Discriminator(_kind_in_layer),
]
"""A node in a layer; `kind` is `propose` unless it says otherwise."""

OutputSpec: TypeAlias = Annotated[
    Annotated[OutputAggregateSpec, Tag("aggregate")]
    | Annotated[OutputSelectSpec, Tag("select")]
    | Annotated[OutputVoteSpec, Tag("vote")]
    | Annotated[OutputReviseSpec, Tag("revise")]
    | Annotated[OutputRefineSpec, Tag("refine")]
    | Annotated[OutputReduceSpec, Tag("reduce")]
    | Annotated[RouteSpec, Tag("route")],
    Discriminator(_kind_of_output),
]
"""The output node; `kind` is `aggregate` unless it says otherwise."""
