"""Everything compiled from one configuration: what is served under which name. Never changes.

A reload builds a new `Runtime` beside the old one and swaps them; running requests keep theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from app.config.schema import Config
from app.engine.compile import compile_graphs
from app.engine.graph import Graph
from app.engine.run import GraphModel
from app.errors import ModelNotFound
from app.interfaces import ChatModel
from app.upstream.deployment import Transports, build_deployment

POOL_DEADLINE = 300.0
"""Seconds one request to a plain pool may take; a graph has its own deadline."""


@dataclass(frozen=True, slots=True)
class Served:
    """A public model name: a graph or a pool. `created` is in Unix seconds."""

    name: str
    model: ChatModel
    created: int

    @property
    def graph(self) -> Graph | None:
        """The graph behind the name, if it is one."""
        return self.model.graph if isinstance(self.model, GraphModel) else None

    @property
    def kind(self) -> Literal["graph", "pool"]:
        """What stands behind the name."""
        return "pool" if self.graph is None else "graph"

    @property
    def deadline(self) -> float:
        """Seconds a request may take."""
        return POOL_DEADLINE if self.graph is None else self.graph.deadline


@dataclass(frozen=True, slots=True)
class Runtime:
    """What is served: graphs first, then pools, and aliases for both."""

    served: Mapping[str, Served]
    aliases: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def resolve(self, name: str) -> Served:
        """What answers to a name. Raises ModelNotFound, which tells the names there are."""
        found = self.served.get(self.aliases.get(name, name))
        if found is None:
            names = ", ".join([*self.served, *self.aliases])
            raise ModelNotFound(
                f"The model '{name[:100]}' does not exist. There are: {names}.", param="model"
            )
        return found


def build_runtime(
    config: Config, transports: Transports, addresses: Mapping[str, str], *, created: int = 0
) -> Runtime:
    """Compile a configuration; `addresses` are the base URLs of embedded servers by upstream.

    Raises `ConfigError` with the path of what is wrong.
    """
    pools: dict[str, ChatModel] = {
        name: build_deployment(
            name,
            spec,
            spec.upstream,
            config.upstreams[spec.upstream],
            transports,
            base_url=addresses.get(spec.upstream),
        )
        for name, spec in config.models.items()
    }
    graphs = compile_graphs(config.graphs, pools, config.limits)
    return runtime_of({**graphs, **pools}, config.aliases, created=created)


def runtime_of(
    models: Mapping[str, ChatModel],
    aliases: Mapping[str, str] | None = None,
    *,
    created: int = 0,
) -> Runtime:
    """A runtime of ready models."""
    served = {name: Served(name, model, created) for name, model in models.items()}
    return Runtime(MappingProxyType(served), MappingProxyType(dict(aliases or {})))
