"""From configured models to pools that answer: deployments, with everything that guards them.

The one place that knows the order of the wrappers; what each of them does is in its own file.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from app.interfaces import Abilities, ChatModel, Emit
from app.protocol.chat import ChatRequest
from app.protocol.json_types import JsonObject
from app.record import Price, Step
from app.upstream.breaker import Breaking
from app.upstream.deadline import Deadlined
from app.upstream.deployment import Deployment, Transports, build_deployment
from app.upstream.fallback import FallingBack
from app.upstream.hedge import Hedged
from app.upstream.limit import Limited
from app.upstream.pool import Member, Pool
from app.upstream.retry import Retrying
from app.upstream.spec import UpstreamSpec
from app.upstream.spec_guards import breaker_of, concurrency_of
from app.upstream.spec_model import DeploymentSpec, ModelSpec
from app.upstream.standing import Standing, Standings


@dataclass(frozen=True, slots=True)
class ModelPool:
    """A configured model: deployments behind one name. `model` is they with all that is around.

    Whether its upstreams make embeddings, only they know: any pool can be asked. `deadline` in
    seconds is the operator's for one answer, None where there is none. `stand_ins` are the
    deployments of its fallbacks.
    """

    name: str
    abilities: Abilities
    deployments: tuple[Deployment, ...]
    model: ChatModel = field(repr=False)
    embeddings: Retrying = field(repr=False)
    deadline: float | None = None
    stand_ins: tuple[Deployment, ...] = ()

    @property
    def reached(self) -> tuple[Deployment, ...]:
        """Every deployment that may answer."""
        return (*self.deployments, *self.stand_ins)

    @property
    def price(self) -> Price | None:
        """The dearest of all that may answer, kind by kind of token; None if one is unknown."""
        prices = [each.target.price for each in self.reached]
        return None if None in prices else self.known_price

    @property
    def known_price(self) -> Price | None:
        """The same of those whose price is known, None if there are none."""
        known = [price for each in self.reached if (price := each.target.price) is not None]
        return _dearest(known) if known else None

    async def answer(self, request: ChatRequest, step: Step, emit: Emit) -> None:
        """Answer, as every `ChatModel` does."""
        await self.model.answer(request, step, emit)

    async def embed(self, texts: Sequence[str], step: Step) -> list[list[float]]:
        """Turn texts into vectors, as every `Embedder` does."""
        return await self.embeddings.embed(texts, step)

    async def pass_on(self, params: Mapping[str, object], step: Step) -> list[JsonObject]:
        """Have a client's own request for embeddings answered, as every `EmbeddingServer` does."""
        return await self.embeddings.pass_on(params, step)


@dataclass(frozen=True, slots=True)
class Assembly:
    """What pools are built from; `addresses` are the base URLs of embedded servers by upstream."""

    upstreams: Mapping[str, UpstreamSpec]
    transports: Transports
    standings: Standings
    addresses: Mapping[str, str]

    def pools(self, models: Mapping[str, ModelSpec]) -> dict[str, ModelPool]:
        """All pools; raises ConfigError for what only shows when a connection is prepared."""
        deployments = {name: self._deployments(name, spec) for name, spec in models.items()}
        asked = {name: self._asked(name, models[name], each) for name, each in deployments.items()}
        return {
            name: ModelPool(
                name,
                replace(asked[name][0].abilities, strength=spec.strength),
                deployments[name],
                _wrapped(asked[name][1], [asked[each][1] for each in spec.fallback], spec.deadline),
                asked[name][0],
                spec.deadline,
                tuple(each for other in spec.fallback for each in deployments[other]),
            )
            for name, spec in models.items()
        }

    def _deployments(self, name: str, spec: ModelSpec) -> tuple[Deployment, ...]:
        return tuple(
            build_deployment(
                name,
                entry,
                entry.upstream,
                self.upstreams[entry.upstream],
                self.transports,
                base_url=self.addresses.get(entry.upstream),
            )
            for entry in spec.entries()
        )

    def _asked(
        self, name: str, spec: ModelSpec, deployments: Sequence[Deployment]
    ) -> tuple[Retrying, ChatModel]:
        """The pool with retries, and the same with hedges where there are any."""
        parts = zip(_names(deployments), deployments, spec.entries(), strict=True)
        members = [self._member(*each) for each in parts]
        pool = Pool(name, members, sticky=spec.sticky)
        retrying = Retrying(pool, retries=spec.retries_over(self.upstreams))
        hedge = spec.hedge_over(self.upstreams)
        return retrying, retrying if hedge is None else Hedged(retrying, pool, hedge)

    def _member(self, name: str, deployment: Deployment, entry: DeploymentSpec) -> Member:
        upstream = deployment.target.upstream
        settings = entry.over(self.upstreams[upstream])
        standing = self.standings.of(
            _identity(deployment, settings),
            breaker_of(settings.breaker),
            concurrency_of(settings.concurrency),
        )
        return Member(
            name,
            _guarded(deployment.model, standing, upstream),
            standing,
            self.standings.budget(upstream),
            upstream=upstream,
            weight=entry.weight,
            embeddings=deployment.embeddings,
        )


# The order: deadline(fallback(hedge(retry(pool[breaker(limit(call))])))).
#   limit and breaker  around each deployment: one may be full or dead while others are neither;
#                      the breaker outside, so that an open one takes no place
#   retry              around the pool: it can go to another deployment
#   hedge              around the retries: each of its legs may need one
#   fallback           around all of that: only when the pool as a whole has failed
#   deadline           outermost: for everything together


def _guarded(call: ChatModel, standing: Standing, upstream: str) -> ChatModel:
    guarded = call
    if standing.slots is not None:
        guarded = Limited(guarded, standing.slots, upstream)
    if standing.breaker is not None:
        guarded = Breaking(guarded, standing.breaker, upstream)
    return guarded


def _wrapped(asked: ChatModel, others: Sequence[ChatModel], deadline: float | None) -> ChatModel:
    model = FallingBack([asked, *others]) if others else asked
    return model if deadline is None else Deadlined(model, deadline)


def _dearest(prices: Sequence[Price]) -> Price:
    cached = [price.input if price.cached_input is None else price.cached_input for price in prices]
    return Price(
        max(price.input for price in prices), max(price.output for price in prices), max(cached)
    )


def _names(deployments: Sequence[Deployment]) -> list[str]:
    """Upstream and model id, with a number where others before have the same, as with two keys.

    Under one name all sticky calls would go to one of them.
    """
    names: list[str] = []
    counts = Counter[str]()
    for target in (each.target for each in deployments):
        name = f"{target.upstream}/{target.upstream_model}"
        counts[name] += 1
        names.append(name if counts[name] == 1 else f"{name}#{counts[name]}")
    return names


def _identity(deployment: Deployment, settings: UpstreamSpec) -> str:
    """The same over reloads as long as the same is called in the same way for the same pool.

    Headers hold the key; a project, a version or a route may be what is limited or broken.
    """
    target = deployment.target
    place = (target.model, target.upstream, deployment.address, target.upstream_model)
    way = (dict(deployment.headers), dict(settings.query), settings.extra_body)
    return hashlib.sha256(json.dumps([place, way], sort_keys=True).encode()).hexdigest()
