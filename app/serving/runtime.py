"""Everything compiled from one configuration: what is served under which name. Never changes.

A reload builds a new `Runtime` beside the old one and swaps them; running requests keep theirs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from types import MappingProxyType
from typing import Literal

from app.config.schema import Config
from app.engine.compile import compile_graphs
from app.engine.graph import Graph
from app.engine.graph_model import GraphModel
from app.engine.parts import Parts
from app.errors import ModelNotFound
from app.interfaces import Cache, ChatModel
from app.store.memory import MemoryCache
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
    def context(self) -> int | None:
        """Tokens that fit into it, as far as it is known: of a graph, its output model's window."""
        if self.graph is None:
            return self.model.abilities.context
        output = self.graph.output
        windows = [each.abilities.context for each in output.targets or output.models]
        return None if None in windows else min(filter(None, windows), default=None)

    @property
    def deadline(self) -> float:
        """Seconds a request may take."""
        return POOL_DEADLINE if self.graph is None else self.graph.deadline


@dataclass(frozen=True, slots=True)
class Runtime:
    """What is served: graphs first, then pools, and aliases for both."""

    served: Mapping[str, Served]
    aliases: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def names(self, caller: str = "") -> tuple[str, ...]:
        """What a caller may use as `model`; so far everybody may use everything."""
        del caller
        return (*self.served, *self.aliases)

    def resolve(self, name: str) -> Served:
        """What answers to a name. Raises ModelNotFound, which tells the names there are."""
        found = self.served.get(self.aliases.get(name, name))
        if found is None:
            names = ", ".join(self.names())
            raise ModelNotFound(
                f"The model '{name[:100]}' does not exist. There are: {names}.", param="model"
            )
        return found


def build_runtime(
    config: Config,
    transports: Transports,
    addresses: Mapping[str, str],
    *,
    created: int = 0,
    cache: Cache | None = None,
) -> Runtime:
    """Compile a configuration; `addresses` are the base URLs of embedded servers by upstream.

    `cache` is the process's; without one the runtime has its own, in memory.

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
    store = MemoryCache(time.monotonic) if cache is None else cache
    fingerprints = {name: _fingerprint(config, name) for name in config.models}
    parts = Parts(store, fingerprints)
    graphs = compile_graphs(config.graphs, pools, config.limits, parts)
    return runtime_of({**graphs, **pools}, config.aliases, created=created)


def _fingerprint(config: Config, name: str) -> str:
    """Changes with anything that is set for a model or its upstream, but for secrets."""
    model = config.models[name]
    settings = model.model_dump_json() + config.upstreams[model.upstream].model_dump_json()
    return sha256(settings.encode()).hexdigest()


def runtime_of(
    models: Mapping[str, ChatModel],
    aliases: Mapping[str, str] | None = None,
    *,
    created: int = 0,
) -> Runtime:
    """A runtime of ready models."""
    served = {name: Served(name, model, created) for name, model in models.items()}
    return Runtime(MappingProxyType(served), MappingProxyType(dict(aliases or {})))
