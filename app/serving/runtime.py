"""Everything compiled from one configuration: what is served under which name. Never changes.

A reload builds a new `Runtime` beside the old one and swaps them; running requests keep theirs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from types import MappingProxyType
from typing import Literal, TypeAlias

from app.access.caller import Caller
from app.config.schema import Config
from app.engine.bounds import Bounds
from app.engine.compile import compile_graphs
from app.engine.graph import Graph
from app.engine.graph_model import GraphModel
from app.engine.parts import Parts
from app.errors import Forbidden, ModelNotFound
from app.interfaces import Cache, ChatModel
from app.record import Price
from app.serving.reach import reachable
from app.store.memory import MemoryCache
from app.upstream.assembly import Assembly, ModelPool
from app.upstream.deployment import Deployment, Transports
from app.upstream.standing import Standings

POOL_DEADLINE = 300.0
"""Seconds one request to a plain pool may take; a graph has its own deadline."""

UnknownPrice: TypeAlias = Literal["allow", "deny", "assume_max"]
"""What the operator wants of a call whose price nobody knows, where a key has a budget."""
NOWHERE: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Served:
    """A public model name: a graph or a pool. `created` is in Unix seconds.

    `upstreams` are all that a request to it may reach.
    """

    name: str
    model: ChatModel
    created: int
    upstreams: frozenset[str] = NOWHERE

    def is_allowed(self, caller: Caller) -> bool:
        """Whether a caller may use it, and whatever it may reach."""
        return caller.may_use(self.name) and caller.may_reach(self.upstreams)

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
        if self.graph is not None:
            return self.graph.deadline
        own = self.model.deadline if isinstance(self.model, ModelPool) else None
        return own or POOL_DEADLINE


@dataclass(frozen=True)
class Runtime:
    """What is served: graphs first, then pools, and aliases for both."""

    served: Mapping[str, Served]
    aliases: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    _bounds: dict[tuple[str, UnknownPrice], Bounds] = field(
        default_factory=dict, init=False, repr=False
    )

    def names(self, caller: Caller | None = None) -> tuple[str, ...]:
        """What a caller may use as `model`; without one, all there is."""
        names = (*self.served, *self.aliases)
        if caller is None:
            return names
        return tuple(name for name in names if self._is_allowed(name, caller))

    def _is_allowed(self, name: str, caller: Caller) -> bool:
        served = self.served.get(self.aliases.get(name, name))
        return served is not None and served.is_allowed(caller)

    @cached_property
    def prices(self) -> Mapping[str, Price | None]:
        """Of each pool by its name: that of its dearest deployment, None if it is unknown."""
        models = (served.model for served in self.served.values())
        return {model.name: model.price for model in models if isinstance(model, ModelPool)}

    @cached_property
    def known_prices(self) -> Mapping[str, Price | None]:
        """The same as far as any is known: what a pool is sure to cost where it goes there."""
        models = (served.model for served in self.served.values())
        pools = {model.name: model.known_price for model in models if isinstance(model, ModelPool)}
        return {**pools, **{name: price for name, price in self.prices.items() if price}}

    @cached_property
    def dearest(self) -> Price | None:
        """The highest known price for each kind of token."""
        known = [price for price in self.known_prices.values() if price is not None]
        if not known:
            return None
        return Price(max(price.input for price in known), max(price.output for price in known))

    def bounds(self, served: Served, unknown: UnknownPrice = "allow") -> Bounds:
        """What requests to a model may cost, as far as it is known or assumed.

        With `deny`, a price that is known in part is unknown.
        """
        key = (served.name, unknown)
        if key not in self._bounds:
            assumed = self.dearest if unknown == "assume_max" else None
            prices = self.known_prices if unknown == "allow" else self.prices
            self._bounds[key] = Bounds(served.model, lambda name: prices.get(name) or assumed)
        return self._bounds[key]

    @property
    def deployments(self) -> tuple[Deployment, ...]:
        """Those of all pools, in the order of the configuration."""
        models = (served.model for served in self.served.values())
        return tuple(
            d for model in models if isinstance(model, ModelPool) for d in model.deployments
        )

    def resolve(self, name: str, caller: Caller | None = None) -> Served:
        """What answers to a name.

        Raises ModelNotFound, which tells the names that the caller may use, or Forbidden for a
        name that he may not.
        """
        found = self.served.get(self.aliases.get(name, name))
        if found is None:
            names = ", ".join(self.names(caller))
            raise ModelNotFound(
                f"The model '{name[:100]}' does not exist. There are: {names}.", param="model"
            )
        if caller is not None and not found.is_allowed(caller):
            raise Forbidden(
                f"This key may not use the model '{name}'", code="model_not_allowed", param="model"
            )
        return found


def build_runtime(
    config: Config,
    transports: Transports,
    addresses: Mapping[str, str],
    *,
    standings: Standings | None = None,
    cache: Cache | None = None,
    created: int = 0,
) -> Runtime:
    """Compile a configuration; `addresses` are the base URLs of embedded servers by upstream.

    `standings` and `cache` are the process's, and live longer than a runtime; without them it has
    its own. Raises `ConfigError` with the path of what is wrong.
    """
    assembly = Assembly(config.upstreams, transports, standings or Standings(), addresses)
    pools = assembly.pools(config.models)
    store = MemoryCache(time.monotonic) if cache is None else cache
    fingerprints = {name: _fingerprint(config, name) for name in config.models}
    graphs = compile_graphs(config.graphs, pools, config.limits, Parts(store, fingerprints))
    upstreams = reachable(config, graphs)
    return runtime_of({**graphs, **pools}, config.aliases, created=created, upstreams=upstreams)


def _fingerprint(config: Config, name: str) -> str:
    """Changes with anything that is set for a model or its upstreams, but for secrets."""
    model = config.models[name]
    upstreams = dict.fromkeys(entry.upstream for entry in model.entries())
    settings = [model, *(config.upstreams[each] for each in upstreams)]
    return sha256("".join(each.model_dump_json() for each in settings).encode()).hexdigest()


def runtime_of(
    models: Mapping[str, ChatModel],
    aliases: Mapping[str, str] | None = None,
    *,
    created: int = 0,
    upstreams: Mapping[str, frozenset[str]] = MappingProxyType({}),
) -> Runtime:
    """A runtime of ready models; `upstreams` are those that each may reach."""
    served = {
        name: Served(name, model, created, upstreams.get(name, NOWHERE))
        for name, model in models.items()
    }
    return Runtime(MappingProxyType(served), MappingProxyType(dict(aliases or {})))
