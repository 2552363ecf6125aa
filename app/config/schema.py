"""The configuration file as a whole: composes the specs of the packages that read them.

Names across sections are checked by `names`, graphs by the engine's compiler.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

from app.config.names import NAME_PATTERN
from app.engine.spec import GraphSpec, LimitsSpec
from app.fields import Spec
from app.protocol.json_types import JsonObject
from app.upstream.spec import ModelSpec, UpstreamSpec

Name: TypeAlias = Annotated[str, Field(pattern=NAME_PATTERN)]
"""A name of the operator's."""


class Config(Spec):
    """What the gateway serves, and by which servers."""

    include: tuple[str, ...] = Field(
        (),
        description="Further files, relative to this one; `*` and `**` match names, in sorted "
        "order. Their sections are merged with this file's.",
    )
    upstreams: dict[Name, UpstreamSpec] = Field(
        {}, description="Servers that speak OpenAI's API, by name."
    )
    models: dict[Name, ModelSpec] = Field(
        {}, description="Models of the upstreams, by the name that clients and graphs use."
    )
    graphs: dict[Name, GraphSpec] = Field(
        {}, description="Mixture-of-Agents graphs, by the model name that clients use."
    )
    aliases: dict[Name, Name] = Field(
        {}, description="Further names for models and graphs: alias on the left, target right."
    )
    limits: LimitsSpec = Field(
        LimitsSpec(), description="What any graph may come to; beyond it the start is refused."
    )


def config_schema() -> JsonObject:
    """The JSON Schema of `Config`, the same whatever else was imported before.

    Python keeps one `Literal["a", "b"] | None` for all: the first made in the process, which may
    be a library's with the words in another order. So those of a union are sorted.
    """
    schema: JsonObject = Config.model_json_schema()
    _sort_choices(schema)
    return schema


def _sort_choices(value: object) -> None:
    if isinstance(value, list):
        for item in value:
            _sort_choices(item)
    elif isinstance(value, dict):
        for member in value.get("anyOf", ()):
            if "enum" in member:
                member["enum"] = sorted(member["enum"])
        _sort_choices(list(value.values()))
