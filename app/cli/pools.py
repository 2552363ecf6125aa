"""What `moa check` finds out about pools: who serves them, at what price, with what oversight."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from app.access.pricing import cost_of
from app.cli.estimate import TYPICAL_ANSWER, TYPICAL_PROMPT
from app.config import Config
from app.protocol.json_types import JsonObject
from app.protocol.usage import Usage
from app.record import Price
from app.upstream.prices import Priced, TieredPrice, price_of, snapshot_name
from app.upstream.spec import DeploymentSpec, ModelSpec

_TYPICAL = Usage(TYPICAL_PROMPT, TYPICAL_ANSWER)
_KINDS = ("input", "output", "cached_input")


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """One pool: its deployments as `upstream/model` in the order of the file, and its fallbacks."""

    name: str
    deployments: tuple[str, ...]
    retries: int
    is_hedged: bool
    fallback: tuple[str, ...]
    priced: tuple[Priced, ...] = ()
    advice: tuple[str, ...] = ()

    def __str__(self) -> str:
        """`gpt (2 deployments, else gpt-mini)`, the name alone where there is no more to it."""
        number = len(self.deployments)
        parts = [f"{number} deployments"] if number > 1 else []
        parts += [f"else {', '.join(self.fallback)}"] if self.fallback else []
        return f"{self.name} ({', '.join(parts)})" if parts else self.name


def price_lines(pools: Iterable[PoolFacts]) -> Iterator[str]:
    """What each pool's tokens cost and who says so; `gpt[1]` for the second of several."""
    for pool in pools:
        for number, priced in enumerate(pool.priced):
            name = f"{pool.name}[{number}]" if len(pool.priced) > 1 else pool.name
            yield f"{name}: {_says(priced)}"


def pool_facts(config: Config) -> tuple[PoolFacts, ...]:
    """Look at every pool, in the order of the file."""
    return tuple(
        PoolFacts(
            name,
            tuple(f"{entry.upstream}/{entry.model}" for entry in spec.entries()),
            spec.retries_over(config.upstreams),
            spec.hedge_over(config.upstreams) is not None,
            spec.fallback,
            _priced(spec, config),
            tuple(_advice(name, spec, config)),
        )
        for name, spec in config.models.items()
    )


def prices(config: Config) -> Mapping[str, Price | None]:
    """By pool the price of its dearest deployment; None where one has no price."""
    return {name: _dearest(spec, config) for name, spec in config.models.items()}


def seeded(config: Config) -> frozenset[str]:
    """The pools that are always asked with a fixed seed, whichever deployment is."""
    return frozenset(
        name
        for name, spec in config.models.items()
        if all(_has_seed(entry, config) for entry in spec.entries())
    )


def to_json(pool: PoolFacts) -> JsonObject:
    """The same for programs."""
    return {
        "name": pool.name,
        "deployments": list(pool.deployments),
        "retries": pool.retries,
        "hedged": pool.is_hedged,
        "fallback": list(pool.fallback),
        "prices": [_price_json(*each) for each in zip(pool.deployments, pool.priced, strict=True)],
        "warnings": list(pool.advice),
    }


def _dearest(spec: ModelSpec, config: Config) -> Price | None:
    """Whichever is dearest for a typical request."""
    found = [each.price for each in _priced(spec, config)]
    known = [price for price in found if price is not None]
    if len(known) < len(found):
        return None
    return max(known, key=lambda price: cost_of(_TYPICAL, price))


def _priced(spec: ModelSpec, config: Config) -> tuple[Priced, ...]:
    return tuple(price_of(entry, config.upstreams[entry.upstream]) for entry in spec.entries())


def _says(priced: Priced) -> str:
    """`2 in, 0.2 cached, 10 out (genai-prices 0.2.3)`, in USD per million tokens."""
    price = priced.price
    if price is None:
        return "unknown"
    cached = "" if price.cached_input is None else f"{price.cached_input} cached, "
    source = snapshot_name() if priced.source == "snapshot" else priced.source
    up_to = "up to " if isinstance(price, TieredPrice) else ""
    return f"{up_to}{price.input} in, {cached}{price.output} out ({source})"


def _price_json(deployment: str, priced: Priced) -> JsonObject:
    price = priced.price
    numbers = {} if price is None else {name: getattr(price, name) for name in _KINDS}
    told = {name: None if each is None else float(each) for name, each in numbers.items()}
    source = snapshot_name() if priced.source == "snapshot" else priced.source
    return {"deployment": deployment, "source": source, "usd_per_million": told or None}


def _has_seed(entry: DeploymentSpec, config: Config) -> bool:
    return "seed" in entry.over(config.upstreams[entry.upstream]).extra_body


def _advice(name: str, spec: ModelSpec, config: Config) -> Iterator[str]:
    entries = spec.entries()
    if len(entries) > 1 and not spec.retries_over(config.upstreams):
        yield (
            f"{name} has {len(entries)} deployments and no retries, so a call that one of them "
            "fails is not tried with another: set `retries`"
        )
